"""Descents of the training objective as a non-convex problem."""
