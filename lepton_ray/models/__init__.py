"""One file per family behind one contract. Knows no search, no money and no Ray."""
