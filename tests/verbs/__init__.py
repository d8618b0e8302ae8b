"""The four verbs."""
