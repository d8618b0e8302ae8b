"""Steps that turn a clean table into matrices: three pure functions each (init, merge, apply). Knows no model."""
