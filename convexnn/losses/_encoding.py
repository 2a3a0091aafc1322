"""From users' targets to the (n_samples, n_outputs) arrays that losses read."""

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from convexnn._typing import FloatArray
from convexnn.losses.base import Loss
from convexnn.losses.registry import get_loss

__all__ = ["encode_targets"]


def encode_targets(loss: str | Loss, y: ArrayLike, n_outputs: int = 1) -> FloatArray:
    """Return `y` as the float64 array of shape (n_samples, n_outputs) that `loss` is defined on.

    Parameters
    ----------
    loss : str or Loss
        As in :func:`get_loss`.
    y : array-like of shape (n_samples,) or (n_samples, n_outputs)
        Regression: real targets. Classification with one output: -1 or +1. With several: class indices
        ``0 .. n_outputs - 1`` of shape (n_samples,), or an array that is encoded already (one-hot
        for softmax, -1 and +1 for the margin losses).
    n_outputs : int
        Number of outputs of the network, >= 1.

    Returns
    -------
    ndarray of shape (n_samples, n_outputs), float64
        A new array. Class indices become one-hot rows for softmax, and rows with +1 at the class and -1
        elsewhere (one against the rest) for the margin losses.

    Raises
    ------
    ValueError
        If shape or values do not fit; the message says what was wanted.
    """
    loss = get_loss(loss, n_outputs)
    if loss.needs_several_outputs and n_outputs < 2:
        raise ValueError(
            f"The loss {loss.name!r} needs at least two outputs. Got n_outputs={n_outputs}; "
            "use 'log_loss' for one."
        )
    values = _as_real(y)
    is_index = loss.task == "classification" and n_outputs > 1 and values.ndim == 1
    if is_index:
        return _encode_indices(loss, values, n_outputs)
    if values.ndim == 1:
        values = values[:, None]
    if values.ndim != 2 or values.shape[1] != n_outputs:
        expected = "(n_samples,) or (n_samples, 1)" if n_outputs == 1 else f"(n_samples, {n_outputs})"
        raise ValueError(f"Targets must have shape {expected}. Got {np.shape(y)} instead.")
    loss.check_targets(values)
    return values


def _as_real(y: ArrayLike) -> FloatArray:
    array: NDArray[Any] = np.asarray(y)
    if array.dtype.kind not in "biuf":
        raise ValueError(
            f"Targets must be numbers. Got dtype {array.dtype} instead; map class labels to -1 and +1, or to "
            "indices, first (the classifiers do this themselves)."
        )
    values = np.array(array, dtype=np.float64)
    if not np.isfinite(values).all():
        raise ValueError("Targets must be finite. Got NaN or infinity; drop or impute those samples.")
    return values


def _encode_indices(loss: Loss, indices: FloatArray, n_outputs: int) -> FloatArray:
    valid = (indices >= 0) & (indices < n_outputs) & (indices == np.floor(indices))
    if not valid.all():
        wrong = np.unique(indices[~valid])[:5].tolist()
        raise ValueError(
            f"Class indices must be integers from 0 to {n_outputs - 1}. Got {wrong} instead; "
            "use np.unique(y, return_inverse=True) to obtain indices."
        )
    one_hot = np.eye(n_outputs)[indices.astype(np.intp)]
    return one_hot if loss.one_hot else 2.0 * one_hot - 1.0
