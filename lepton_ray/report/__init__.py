"""What the run was worth, in words and pictures. Knows no Ray."""
