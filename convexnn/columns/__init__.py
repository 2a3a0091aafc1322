"""Column generation: finding the patterns that the optimum needs."""
