"""Convex losses with gradients, conjugates and optimal intercepts; everything is a sum over samples."""

from convexnn.losses._encoding import LOSSES, encode_targets, get_loss
from convexnn.losses.base import ElementwiseLoss, Loss
from convexnn.losses.margin import Hinge, LogLoss, SquaredHinge
from convexnn.losses.regression import AbsoluteError, Huber, SquaredError
from convexnn.losses.softmax import Softmax

__all__ = [
    "LOSSES",
    "AbsoluteError",
    "ElementwiseLoss",
    "Hinge",
    "Huber",
    "LogLoss",
    "Loss",
    "Softmax",
    "SquaredError",
    "SquaredHinge",
    "encode_targets",
    "get_loss",
]
