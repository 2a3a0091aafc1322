"""Convex losses with gradients, conjugates and optimal intercepts; everything is a sum over samples.

A loss is one class in one module: all modules of this folder are imported, and each registers its losses by
name. `register_loss` does so for a loss that lives elsewhere.
"""

from importlib import import_module
from pkgutil import iter_modules

from convexnn.losses._encoding import encode_targets
from convexnn.losses.base import Loss
from convexnn.losses.elementwise import ElementwiseLoss
from convexnn.losses.epigraph import Epigraph, Row, Rows, elementwise_epigraph
from convexnn.losses.kinks import without_kinks
from convexnn.losses.margin import Hinge, LogLoss, SquaredHinge
from convexnn.losses.registry import LOSSES, get_loss, register_loss
from convexnn.losses.regression import AbsoluteError, Huber, SquaredError
from convexnn.losses.softmax import Softmax

for _module in iter_modules(__path__):
    import_module(f"{__name__}.{_module.name}")

__all__ = [
    "LOSSES",
    "AbsoluteError",
    "ElementwiseLoss",
    "Epigraph",
    "Hinge",
    "Huber",
    "LogLoss",
    "Loss",
    "Row",
    "Rows",
    "Softmax",
    "SquaredError",
    "SquaredHinge",
    "elementwise_epigraph",
    "encode_targets",
    "get_loss",
    "register_loss",
    "without_kinks",
]
