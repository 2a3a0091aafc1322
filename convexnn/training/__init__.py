"""The engine: from a problem to a trained network with its bound."""

from convexnn.training.fit import Fit
from convexnn.training.options import TrainingOptions
from convexnn.training.refinement import refine
from convexnn.training.train import check_exact, check_kind, train

__all__ = ["Fit", "TrainingOptions", "check_exact", "check_kind", "refine", "train"]
