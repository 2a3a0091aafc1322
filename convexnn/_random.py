"""Reading a `random_state` the one way."""

import numpy as np
from sklearn.utils import check_random_state

from convexnn._typing import RandomState

__all__ = ["as_generator", "as_seed"]


def as_seed(random_state: RandomState) -> int:
    """Return one integer for all that is to be drawn, so that order and processes do not matter."""
    if isinstance(random_state, int | np.integer):
        return int(random_state)
    if isinstance(random_state, np.random.Generator):
        return int(random_state.integers(2**31))
    return int(check_random_state(random_state).randint(2**31 - 1))


def as_generator(random_state: RandomState) -> np.random.Generator:
    """Return a NumPy Generator; a legacy RandomState seeds one by four of its draws."""
    if isinstance(random_state, np.random.RandomState):
        seeds = random_state.randint(0, 2**31 - 1, size=4)
        return np.random.default_rng([int(seed) for seed in seeds])
    return np.random.default_rng(random_state)
