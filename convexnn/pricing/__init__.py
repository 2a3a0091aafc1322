"""Pricing: the largest gain ``max |theta . phi(X u)|`` of a neuron, over all patterns at once."""
