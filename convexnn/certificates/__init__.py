"""Certificates: bounds on the training objective that hold for networks of every width."""
