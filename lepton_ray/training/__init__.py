"""What training needs whichever the model: metrics and stopping. Knows no model and no Ray."""
