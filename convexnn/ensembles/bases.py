"""Bases of ensembles: what can be one, on which samples they are trained, and how limits end that."""

import math
import warnings
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from time import perf_counter
from typing import Any, Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray
from sklearn.base import clone, is_classifier, is_regressor
from sklearn.exceptions import ConvergenceWarning
from sklearn.frozen import FrozenEstimator
from sklearn.utils.parallel import Parallel, delayed
from sklearn.utils.validation import check_is_fitted

from convexnn._random import as_seed
from convexnn._typing import BoolArray, FloatArray, IntArray
from convexnn.ensembles.dense import is_sklearn_mlp
from convexnn.ensembles.submodels import FeatureMaskSubModels, masked
from convexnn.networks.torch_conversion import is_torch_module
from convexnn_solvers import Clock, Status

__all__ = [
    "NO_TIME",
    "Fit",
    "TrainingSet",
    "check_base",
    "check_names",
    "fit_base",
    "fit_masked",
    "fit_standardised",
    "interrupts_raised",
    "is_frozen",
    "is_trained",
    "validation_split",
    "was_interrupted",
]

# Seconds that are left when none are: estimators want a positive limit.
NO_TIME = math.ulp(1.0)

_BATCHES_PER_PART = 10
"""Between looks at the clock; a part takes a tenth of a second for 200 units and 3000 features."""


def is_frozen(estimator: Any) -> bool:
    """Whether the estimator is fitted already and not to be fitted again."""
    return isinstance(estimator, FrozenEstimator)


def is_trained(base: Any) -> bool:
    """Whether the base is fitted by the ensemble, and not given as it is to be."""
    return not (is_torch_module(base) or is_frozen(base))


def check_names(base: Any, ensemble: Any) -> None:
    """Raise ValueError if a fitted base has seen features of other names than the ensemble."""
    seen, given = (getattr(estimator, "feature_names_in_", None) for estimator in (base, ensemble))
    if seen is not None and given is not None and list(seen) != list(given):
        raise ValueError(
            f"The frozen estimator was fitted on features {list(seen)}, in this order. Got {list(given)}; "
            "give the same columns."
        )


def check_base(base: Any, drop: str, kind: Literal["classifier", "regressor"]) -> None:
    """Raise TypeError or ValueError if `base` cannot be the base of an ensemble of this kind."""
    name = type(base).__name__
    if is_torch_module(base):
        if drop == "inputs":
            raise ValueError(
                f"drop='inputs' is for estimators; the module {name} drops what its dropout layers see. "
                "Use drop='auto', and a dropout layer in front for inputs."
            )
        return
    if isinstance(base, type) or not (hasattr(base, "fit") and hasattr(base, "predict")):
        raise TypeError(
            "estimator must be None, an estimator with fit and predict, or a PyTorch module. "
            f"Got {base!r} instead."
        )
    if is_frozen(base):
        check_is_fitted(base)
    if not (is_classifier if kind == "classifier" else is_regressor)(base):
        raise ValueError(f"The base must be a {kind}. Got {name}; choose the ensemble of its kind.")
    if kind == "classifier" and not hasattr(base, "predict_proba"):
        raise ValueError(
            f"The base must have predict_proba, since class probabilities are combined. Got {name} without; "
            "try its option for probabilities, or sklearn.calibration.CalibratedClassifierCV."
        )


@dataclass(frozen=True, eq=False)
class TrainingSet:
    """Samples to train on; weights (n_samples,) are None for an estimator that takes none."""

    X: NDArray[Any]
    y: NDArray[Any]
    weight: FloatArray | None

    def __getitem__(self, rows: IntArray) -> "TrainingSet":
        """Return some of the samples."""
        weight = None if self.weight is None else self.weight[rows]
        return TrainingSet(self.X[rows], self.y[rows], weight)

    @property
    def weight_option(self) -> dict[str, Any]:
        """The weights as an argument of `fit`, where there are any."""
        return {} if self.weight is None else {"sample_weight": self.weight}


def validation_split(
    strata: IntArray, fraction: float, rng: np.random.Generator
) -> tuple[IntArray, IntArray]:
    """Split samples at random into those that train the base and those that choose the weights.

    Parameters
    ----------
    strata : ndarray of shape (n_samples,)
        Class indices ``0, 1, ...``; zeros for regression. Those of one sample train.
    fraction : float
        Share of the other strata that is set aside, in (0, 1); at least one sample for each of them and at
        most so that as many are left.
    rng : Generator

    Returns
    -------
    training, validation : ndarray of int
        Ascending indices, neither empty.

    Raises
    ------
    ValueError
        If no sample can be set aside, or a stratum would have none to train on.
    """
    from sklearn.model_selection import train_test_split

    sizes = np.bincount(strata)
    divided = np.flatnonzero(sizes[strata] > 1)
    if divided.size == 0:
        raise ValueError(
            f"validation_fraction={fraction!r} sets samples aside to choose weights, and each class keeps at "
            f"least one to train on. Got n_samples = {len(strata)} distinct samples of {len(sizes)} classes; "
            "give more samples, or validation_fraction=None to choose weights on the training samples."
        )
    fewest = np.count_nonzero(sizes > 1)
    n_chosen = np.clip(math.ceil(fraction * len(divided)), fewest, len(divided) - fewest)
    _, validation = train_test_split(
        divided, test_size=int(n_chosen), stratify=strata[divided], random_state=as_seed(rng)
    )
    training = np.setdiff1d(np.arange(len(strata)), validation)
    n_lost = len(np.setdiff1d(strata, strata[training]))
    if n_lost:
        raise ValueError(
            f"validation_fraction={fraction!r} leaves no sample of {n_lost} of the classes to train on. "
            "Give a smaller one, or more samples of the rare classes."
        )
    return training, np.sort(validation)


Fit: TypeAlias = Callable[[Any, TrainingSet, int, float], Any]
"""``fit(estimator, data, seed, seconds)`` returns a fitted clone."""


def fit_base(estimator: Any, data: TrainingSet, seed: int, seconds: float) -> Any:
    """Return a fitted clone of an estimator.

    Random states that are None become `seed`, time limits at most `seconds`. Networks of scikit-learn's,
    which have no time limit, are trained in parts.
    """
    model = clone(estimator)
    parameters = model.get_params(deep=True)
    rng = np.random.default_rng(seed)
    settings: dict[str, Any] = {
        name: as_seed(rng)
        for name in sorted(parameters)
        if name.split("__")[-1] == "random_state" and parameters[name] is None
    }
    if seconds < math.inf and "time_limit" in parameters:
        given = parameters["time_limit"]
        settings["time_limit"] = seconds if given is None else min(given, seconds)
    model.set_params(**settings)
    if seconds < math.inf and is_sklearn_mlp(model) and model.solver == "adam" and not model.early_stopping:
        return _fit_by_parts(model, data, rng, seconds)
    return model.fit(data.X, data.y, **data.weight_option)


def _fit_by_parts(model: Any, data: TrainingSet, rng: np.random.Generator, seconds: float) -> Any:
    """Train a network of scikit-learn's as its `fit` does, but look at the clock between parts of a pass."""
    start, ended = perf_counter(), f"at max_iter={model.max_iter}"
    options = {"classes": np.unique(data.y)} if is_classifier(model) else {}
    n, batch = len(data.X), 200 if model.batch_size == "auto" else model.batch_size
    n_parts = -(-n // (_BATCHES_PER_PART * batch))
    parts = (part for _ in range(model.max_iter) for part in np.array_split(rng.permutation(n), n_parts))
    losses = np.empty(0)
    for number, rows in enumerate(parts, start=1):
        part = data[rows]
        model.partial_fit(part.X, part.y, **part.weight_option, **options)
        n_passes = len(model.loss_curve_) // n_parts
        losses = np.reshape(model.loss_curve_[: n_passes * n_parts], (n_passes, n_parts)).mean(axis=1)
        if len(model.loss_curve_) < number or (number % n_parts == 0 and _has_settled(losses, model)):
            # An interrupted part adds no loss; scikit-learn has warned of it.
            ended = ""
            break
        if perf_counter() - start >= seconds:
            ended = "at the time limit"
            break
    model.loss_curve_, model.n_iter_ = losses.tolist(), len(losses)
    if ended:
        warnings.warn(
            f"The training of {type(model).__name__} ended {ended}, after {len(losses)} whole passes over "
            "the data and before its loss had settled; these weights are kept. Raise that limit.",
            ConvergenceWarning,
            stacklevel=2,
        )
    return model


def _has_settled(losses: FloatArray, model: Any) -> bool:
    """Whether the loss has not fallen by `tol` below the least for more than `n_iter_no_change` passes."""
    least_before = np.minimum.accumulate(np.append(np.inf, losses[:-1]))
    patience = model.n_iter_no_change
    return len(losses) > patience and bool((losses > least_before - model.tol)[-patience - 1 :].all())


def fit_standardised(estimator: Any, data: TrainingSet, seed: int, seconds: float) -> Any:
    """Fit a clone of an MLPRegressor to targets of mean 0 and standard deviation 1, as it needs them.

    The output layer is then brought to the units of the targets.
    """
    from sklearn.preprocessing import StandardScaler

    scaler = StandardScaler().fit(data.y.reshape(len(data.y), -1), sample_weight=data.weight)
    targets = ((data.y.reshape(len(data.y), -1) - scaler.mean_) / scaler.scale_).reshape(data.y.shape)
    model = fit_base(estimator, replace(data, y=targets), seed, seconds)
    model.coefs_[-1] *= scaler.scale_
    model.intercepts_[-1] *= scaler.scale_
    model.intercepts_[-1] += scaler.mean_
    return model


@contextmanager
def interrupts_raised() -> Iterator[None]:
    """Raise KeyboardInterrupt also where an estimator ends at Ctrl-C by itself and only warns of it.

    Scikit-learn's networks and this package's estimators do so; of several fits the next would begin then.
    """
    with warnings.catch_warnings():
        warnings.filterwarnings("error", message=r"[\s\S]*interrupted")
        try:
            yield
        except Warning as warning:
            if "interrupted" in str(warning).lower():
                raise KeyboardInterrupt from warning
            raise


def was_interrupted(model: Any) -> bool:
    """Whether a fitted estimator of this package ended at Ctrl-C."""
    return getattr(getattr(model, "result_", None), "status", None) is Status.INTERRUPTED


def fit_masked(
    fit: Fit,
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
        delayed(_fit_one)(fit, estimator, data, mask, seed, clock.left or NO_TIME)
        for mask, seed in zip(masks, seeds, strict=True)
    )
    results: Generator[Any] = Parallel(n_jobs=n_jobs, return_as="generator")(jobs)
    models: list[Any] = []
    reason = "training was interrupted"
    try:
        for model in results:
            models.append(model)
            if clock.expired:
                reason = "the time limit was reached"
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


def _fit_one(fit: Fit, estimator: Any, data: TrainingSet, mask: BoolArray, seed: int, seconds: float) -> Any:
    """Fit a clone to the features of one mask."""
    with interrupts_raised():
        return fit(estimator, replace(data, X=masked(data.X, mask)), seed, seconds)
