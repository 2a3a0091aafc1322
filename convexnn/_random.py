"""Random states as users give them, read in one way by the whole package."""

import numpy as np
from sklearn.utils import check_random_state

from convexnn._typing import RandomState

__all__ = ["as_generator", "as_seed"]

_SEEDS = 2**31 - 1
"""Legacy seeds are drawn below the largest 32-bit integer, which every platform's default integer holds."""


def as_seed(random_state: RandomState) -> int:
    """Return one integer for all that is to be drawn, so that neither order nor processes matter.

    An integer is returned as it is; other states are advanced by one draw, None being NumPy's global state.
    """
    if isinstance(random_state, int | np.integer):
        return int(random_state)
    if isinstance(random_state, np.random.Generator):
        return int(random_state.integers(2**31))
    return int(check_random_state(random_state).randint(_SEEDS))


def as_generator(random_state: RandomState) -> np.random.Generator:
    """Return a NumPy Generator; a legacy RandomState seeds one by four of its draws.

    A Generator is returned as it is, and None gives one seeded by the operating system.
    """
    if isinstance(random_state, np.random.RandomState):
        return np.random.default_rng(random_state.randint(0, _SEEDS, size=4).tolist())
    return np.random.default_rng(random_state)
