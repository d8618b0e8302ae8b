"""Four verbs for a model of anybody's: train, optimize, deploy, monitor. Knows no torch, no Ray and no HTTP server."""
