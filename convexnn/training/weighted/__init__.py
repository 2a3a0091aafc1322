"""Training of networks with weighted pooling."""
