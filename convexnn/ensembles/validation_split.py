"""The split into samples that train the base and samples that choose the weights."""

import math

import numpy as np

from convexnn._typing import IntArray

__all__ = ["validation_split"]


def validation_split(
    strata: IntArray, fraction: float, rng: np.random.Generator
) -> tuple[IntArray, IntArray]:
    """Split samples at random, so that each stratum keeps one for training at least.

    Parameters
    ----------
    strata : ndarray of shape (n_samples,)
        Class indices ``0, 1, ...``; zeros for regression.
    fraction : float
        Share of each stratum that is set aside, in (0, 1); over all strata at least one sample.
    rng : Generator

    Returns
    -------
    training, validation : ndarray of int
        Ascending indices, neither empty.

    Raises
    ------
    ValueError
        If no sample can be set aside.
    """
    sizes = np.bincount(strata)
    if sizes.max() < 2:
        raise ValueError(
            f"validation_fraction={fraction!r} sets samples aside to choose weights, and each class keeps at "
            f"least one to train on. Got n_samples = {len(strata)} distinct samples of {len(sizes)} classes; "
            "give more samples, or validation_fraction=None to choose weights on the training samples."
        )
    counts = _apportioned(sizes, fraction)
    validation = np.concatenate(
        [
            rng.permutation(np.flatnonzero(strata == stratum))[:count]
            for stratum, count in enumerate(counts.tolist())
        ]
    )
    validation.sort()
    return np.setdiff1d(np.arange(len(strata)), validation), validation


def _apportioned(sizes: IntArray, fraction: float) -> IntArray:
    """Return how many of each stratum are set aside: its share, rounded by largest remainders."""
    room = np.maximum(sizes - 1, 0)
    quotas = fraction * sizes
    counts: IntArray = np.minimum(np.floor(quotas).astype(np.intp), room)
    wanted = max(1, min(math.ceil(fraction * int(sizes.sum())), int(room.sum())))
    # Rounding leaves less than one sample per stratum to place, so one pass in this order mostly does.
    while counts.sum() < wanted:
        counts[np.argmax(np.where(counts < room, quotas - counts, -np.inf))] += 1
    return counts
