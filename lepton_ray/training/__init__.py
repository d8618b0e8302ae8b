"""What training needs whichever the model: one loop, settings, checkpoints and metrics. Knows no model and no Ray."""
