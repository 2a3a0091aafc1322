"""Every loss with data it is defined on, for tests that hold for all of them."""

import numpy as np

from convexnn._typing import FloatArray
from convexnn.losses import (
    AbsoluteError,
    Hinge,
    Huber,
    LogLoss,
    Loss,
    Softmax,
    SquaredError,
    SquaredHinge,
    encode_targets,
)

ALL_LOSSES: list[Loss] = [
    SquaredError(),
    Huber(),
    Huber(0.25),
    AbsoluteError(),
    LogLoss(),
    Hinge(),
    SquaredHinge(),
    Softmax(),
]
ELEMENTWISE = [loss for loss in ALL_LOSSES if loss.name != "softmax"]
SMOOTH = [loss for loss in ALL_LOSSES if loss.is_smooth]


def draw_data(
    loss: Loss, rng: np.random.Generator, n_samples: int = 12, n_outputs: int = 3, scale: float = 1.0
) -> tuple[FloatArray, FloatArray, FloatArray]:
    """Random outputs, encoded targets and positive weights; regression targets scale with the outputs."""
    outputs = scale * rng.normal(size=(n_samples, n_outputs))
    if loss.task == "regression":
        targets = scale * rng.normal(size=(n_samples, n_outputs))
    elif isinstance(loss, Softmax):
        targets = encode_targets(loss, rng.integers(0, n_outputs, n_samples), n_outputs)
    else:
        targets = rng.choice([-1.0, 1.0], size=(n_samples, n_outputs))
    return outputs, targets, rng.uniform(0.1, 3.0, n_samples)
