"""Training of the estimators that an ensemble is made of."""

import math
import warnings
from collections.abc import Generator, Sequence
from dataclasses import dataclass
from time import perf_counter
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.base import clone
from sklearn.exceptions import ConvergenceWarning
from sklearn.frozen import FrozenEstimator
from sklearn.utils.parallel import Parallel, delayed

from convexnn._typing import BoolArray, FloatArray
from convexnn.ensembles.feature_masks import FeatureMaskSubModels, masked

__all__ = ["Clock", "TrainingSet", "fit_base", "fit_masked", "is_frozen"]

_SEEDS = 2**31 - 1


@dataclass(frozen=True)
class Clock:
    """Time limit of a fit that has several parts."""

    time_limit: float | None
    start: float

    @classmethod
    def started(cls, time_limit: float | None) -> "Clock":
        """Return a clock that starts now; raise ValueError for a limit without a meaning."""
        if time_limit is not None and not time_limit > 0:
            raise ValueError(f"time_limit must be None or positive. Got {time_limit!r} instead.")
        return cls(time_limit, perf_counter())

    @property
    def spent(self) -> float:
        """Seconds since the start."""
        return perf_counter() - self.start

    @property
    def left(self) -> float | None:
        """Seconds that are left, never zero, since parts that have begun want a positive limit."""
        if self.time_limit is None:
            return None
        return max(self.time_limit - self.spent, math.ulp(1.0))

    @property
    def left_for_weights(self) -> float | None:
        """Seconds for the program of the weights, at least a tenth of the limit.

        It is small, and without it all that was trained would be of little use.
        """
        return None if self.left is None or self.time_limit is None else max(self.left, 0.1 * self.time_limit)

    @property
    def expired(self) -> bool:
        """Whether nothing is left."""
        return self.time_limit is not None and self.spent >= self.time_limit


@dataclass(frozen=True, eq=False)
class TrainingSet:
    """Samples to train on; weights (n_samples,) are None for an estimator that takes none."""

    X: NDArray[Any]
    y: NDArray[Any]
    weight: FloatArray | None


def is_frozen(estimator: Any) -> bool:
    """Whether the estimator is fitted already and not to be fitted again."""
    return isinstance(estimator, FrozenEstimator)


def fit_base(estimator: Any, data: TrainingSet, seed: int, time_limit: float | None) -> Any:
    """Return a fitted clone of an estimator; a frozen one as it is.

    Random states and a time limit that are None become `seed` and what is left of the ensemble's limit.
    """
    if is_frozen(estimator):
        return estimator
    model = clone(estimator)
    parameters = model.get_params(deep=True)
    rng = np.random.default_rng(seed)
    settings: dict[str, Any] = {
        name: int(rng.integers(_SEEDS))
        for name in sorted(parameters)
        if name.split("__")[-1] == "random_state" and parameters[name] is None
    }
    if time_limit is not None and "time_limit" in parameters:
        given = parameters["time_limit"]
        settings["time_limit"] = time_limit if given is None else min(given, time_limit)
    model.set_params(**settings)
    options = {} if data.weight is None else {"sample_weight": data.weight}
    return model.fit(data.X, data.y, **options)


def fit_masked(
    estimator: Any,
    data: TrainingSet,
    masks: BoolArray,
    seeds: Sequence[int],
    clock: Clock,
    n_jobs: int | None,
) -> FeatureMaskSubModels:
    """Fit one clone for each mask of the features; fewer where time runs out or on Ctrl-C, at least one.

    Warns
    -----
    ConvergenceWarning
        If some were not fitted.
    """
    jobs = (
        delayed(_fit_one)(estimator, data, mask, seed, clock.left)
        for mask, seed in zip(masks, seeds, strict=True)
    )
    results: Generator[Any] = Parallel(n_jobs=n_jobs, return_as="generator")(jobs)
    models: list[Any] = []
    reason = "training was interrupted"
    try:
        for model in results:
            models.append(model)
            if clock.expired:
                reason = f"time_limit={clock.time_limit:g} was reached"
                break
    except KeyboardInterrupt:
        if not models:
            raise
    finally:
        with warnings.catch_warnings():
            # joblib warns of the fits that are given up; the warning below says more.
            warnings.simplefilter("ignore", UserWarning)
            results.close()
    if len(models) < len(masks):
        warnings.warn(
            f"Only {len(models)} of {len(masks)} sub-models were trained: {reason}. The ensemble consists of "
            "those. Try a larger time_limit, a smaller n_submodels or a faster base.",
            ConvergenceWarning,
            stacklevel=5,
        )
    return FeatureMaskSubModels(tuple(models), masks[: len(models)])


def _fit_one(estimator: Any, data: TrainingSet, mask: BoolArray, seed: int, time_limit: float | None) -> Any:
    """Fit a clone to the features of one mask."""
    return fit_base(estimator, TrainingSet(masked(data.X, mask), data.y, data.weight), seed, time_limit)
