"""A business table as facts: what is in it, how it will be cleaned, how it is split. Knows no model and no Ray."""
