"""Checks of what users pass to networks."""

from typing import get_args

import numpy as np
from numpy.typing import ArrayLike

from convexnn._typing import FloatArray, HiddenBias
from convexnn.patches import PatchGeometry

__all__ = ["check_hidden_bias", "check_images", "check_samples", "frozen_array"]


def frozen_array(name: str, value: ArrayLike) -> FloatArray:
    """Return a finite float64 copy of `value` that cannot be written to."""
    # Adding zero copies, and turns -0.0 into 0.0, so that equal networks have equal bytes.
    array = np.ascontiguousarray(np.asarray(value, dtype=np.float64) + 0.0)
    if not np.isfinite(array).all():
        raise ValueError(f"{name} must be finite. Got NaN or infinity instead.")
    array.flags.writeable = False
    return array


def check_hidden_bias(mode: str) -> None:
    """Raise ValueError unless `mode` is a known way of counting hidden biases."""
    if mode not in get_args(HiddenBias):
        raise ValueError(f"hidden_bias must be one of {list(get_args(HiddenBias))}. Got {mode!r} instead.")


def check_samples(X: ArrayLike, n_features: int) -> FloatArray:
    """Return `X` as a finite float64 matrix with `n_features` columns."""
    samples = np.asarray(X, dtype=np.float64)
    if samples.ndim != 2 or samples.shape[1] != n_features:
        raise ValueError(f"X must have shape (n_samples, {n_features}). Got {samples.shape} instead.")
    return _finite(samples)


def check_images(X: ArrayLike, geometry: PatchGeometry) -> FloatArray:
    """Return `X` as finite float64 images, (n_samples, ...)."""
    return _finite(geometry.images(X))


def _finite(samples: FloatArray) -> FloatArray:
    """Return `samples`, which must be finite."""
    if not np.isfinite(samples).all():
        raise ValueError("X must be finite. Got NaN or infinity; drop or impute those samples.")
    return samples
