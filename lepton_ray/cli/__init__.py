"""One verb per file; main.py registers them."""
