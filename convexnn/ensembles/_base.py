"""What the two dropout ensembles share: sub-models are drawn, then weights chosen by a convex program."""

from abc import ABC, abstractmethod
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn.base import BaseEstimator, is_classifier
from sklearn.utils.validation import check_is_fitted, has_fit_parameter, validate_data

from convexnn._parameters import checked_count, checked_rate, checked_real, checked_time_limit
from convexnn._random import as_seed
from convexnn._typing import FloatArray, IntArray, RandomState
from convexnn.ensembles.bases import (
    NO_TIME,
    Fit,
    TrainingSet,
    check_base,
    check_names,
    fit_base,
    fit_masked,
    is_frozen,
    is_trained,
    validation_split,
    was_interrupted,
)
from convexnn.ensembles.dense import DenseSubModels, is_dense
from convexnn.ensembles.submodels import (
    FeatureMaskSubModels,
    SubModels,
    draw_masks,
    reduced_program,
    stacked_outputs,
)
from convexnn.ensembles.torch_modules import TorchSubModels, draw_seeds
from convexnn.ensembles.weights import CombinationSettings, choose_weights
from convexnn.networks.torch_conversion import is_torch_module
from convexnn.problem import check_sample_weight, merge_samples
from convexnn_solvers import Clock, NonnegativeProgram, NonnegativeResult

__all__ = ["DEFAULT_BASE", "BaseDropoutEnsemble", "checked_inputs"]

Drop = Literal["auto", "hidden", "inputs"]

# Of a limit of time; the rest is for predictions of the sub-models and for their weights.
_TRAINING_SHARE = 0.9

DEFAULT_BASE = {"hidden_layer_sizes": 200, "max_iter": 1000, "tol": 1e-3}
"""Of scikit-learn's networks: sub-models at dropout 1/2 keep its usual 100 units, and training settles.

Measured: with 100 units in all ensembles lost 0.6 +- 0.2 points of accuracy on digits (20 seeds); with its
tol of 1e-4 mostly at max_iter, and with a worse R2 on noisy data (diabetes -0.05), a better one on others.
"""


@dataclass(frozen=True, eq=False)
class _Samples:
    """Inputs, encoded targets (n, K) and weights; `group` says which of them each given sample became.

    It is -1 for what was left out.
    """

    X: NDArray[Any]
    targets: FloatArray
    weight: FloatArray
    group: IntArray

    def __getitem__(self, index: IntArray) -> "_Samples":
        """Return some of the samples."""
        return replace(self, X=self.X[index], targets=self.targets[index], weight=self.weight[index])


class BaseDropoutEnsemble(BaseEstimator, ABC):
    """Sub-models by dropout and their convex combination; see the public subclasses."""

    # Set by `fit`.
    weights_: FloatArray
    submodels_: SubModels
    estimator_: Any
    objective_: float
    uniform_objective_: float
    n_active_: int
    program_: NonnegativeProgram
    result_: NonnegativeResult
    validation_indices_: IntArray
    n_iter_: int
    n_features_in_: int
    _n_outputs: int

    def __init__(
        self,
        estimator: Any = None,
        n_submodels: int = 50,
        *,
        dropout: float = 0.5,
        drop: Drop = "auto",
        validation_fraction: float | None = 0.2,
        ridge: float = 0.0,
        sum_to_one: bool = False,
        solver: str = "auto",
        tol: float = 1e-8,
        max_iter: int | None = None,
        time_limit: float | None = None,
        random_state: RandomState = None,
        n_jobs: int | None = None,
        verbose: int = 0,
    ) -> None:
        self.estimator = estimator
        self.n_submodels = n_submodels
        self.dropout = dropout
        self.drop = drop
        self.validation_fraction = validation_fraction
        self.ridge = ridge
        self.sum_to_one = sum_to_one
        self.solver = solver
        self.tol = tol
        self.max_iter = max_iter
        self.time_limit = time_limit
        self.random_state = random_state
        self.n_jobs = n_jobs
        self.verbose = verbose

    @abstractmethod
    def _default_base(self) -> Any:
        """Return the unfitted network that is the base unless one is given."""

    def _fitting(self) -> Fit:
        """Return how bases are fitted."""
        return fit_base

    @abstractmethod
    def _validated(self, X: ArrayLike, y: ArrayLike) -> tuple[NDArray[Any], FloatArray]:
        """Check samples and targets, remember what prediction needs, return encoded targets (n, K)."""

    @abstractmethod
    def _check_weighted(self, targets: FloatArray) -> None:
        """Raise ValueError if samples of positive weight have not all the targets that are needed."""

    @abstractmethod
    def _labels(self, targets: FloatArray) -> NDArray[Any]:
        """Return encoded targets as an estimator takes them."""

    @abstractmethod
    def _strata(self, targets: FloatArray) -> IntArray:
        """Return what the validation split is stratified by."""

    @abstractmethod
    def _wanted(self, targets: FloatArray) -> FloatArray:
        """Return what sub-models should predict, shape (n, K), for encoded targets."""

    def _fit(self, X: ArrayLike, y: ArrayLike, sample_weight: ArrayLike | None) -> None:
        """Draw sub-models, choose their weights and set the fitted attributes."""
        self._check_parameters()
        training_clock = Clock(self.time_limit).share(_TRAINING_SHARE)
        settings = CombinationSettings.of(self)
        settings.check()
        base = self._default_base() if self.estimator is None else self.estimator
        check_base(base, self.drop, "classifier" if is_classifier(self) else "regressor")
        data, targets = self._validated(X, y)
        if is_frozen(base):
            check_names(base, self)
        samples = self._samples(base, data, targets, sample_weight)
        split_seed, base_seed, mask_seed = np.random.SeedSequence(as_seed(self.random_state)).spawn(3)
        training, validation = self._split(base, samples, np.random.default_rng(split_seed))
        mask_rng = np.random.default_rng(mask_seed)
        submodels, fitted = self._draw(base, samples[training], base_seed, mask_rng, training_clock)
        if self.verbose:
            print(f"[{type(self).__name__}] {len(submodels)} sub-models after {training_clock.elapsed:.1f} s")
        chosen = samples[validation]
        wanted = self._wanted(chosen.targets)
        program = reduced_program(submodels, chosen.X, wanted, chosen.weight, settings)
        choose_weights(self, program, settings)
        self.submodels_, self.estimator_, self.program_ = submodels, fitted, program
        self.validation_indices_ = np.flatnonzero(np.isin(samples.group, validation))
        self.n_active_, self.n_iter_ = self.result_.n_active, max(1, self.result_.n_iter)

    def _check_parameters(self) -> None:
        """Raise for parameters without a meaning; those of the solver are checked by it."""
        checked_count("n_submodels", self.n_submodels)
        checked_rate("dropout", self.dropout)
        checked_time_limit(self.time_limit)
        if self.drop not in ("auto", "hidden", "inputs"):
            raise ValueError(f"drop must be 'auto', 'hidden' or 'inputs'. Got {self.drop!r} instead.")
        fraction = self.validation_fraction
        if fraction is None:
            return
        if not 0 < checked_real("validation_fraction", fraction, "None or a real number") < 1:
            raise ValueError(
                f"validation_fraction must lie between 0 and 1. Got {fraction!r} instead; None chooses the "
                "weights on the training samples."
            )

    def _samples(
        self, base: Any, X: NDArray[Any], targets: FloatArray, sample_weight: ArrayLike | None
    ) -> _Samples:
        """Return the samples, equal ones merged where the base is trained here and takes weights."""
        weight = check_sample_weight(sample_weight, len(X))
        samples = _Samples(X, targets, weight, np.arange(len(X)))
        if is_trained(base) and has_fit_parameter(base, "sample_weight"):
            merged = merge_samples(X.astype(np.float64), targets, weight)
            group = np.full(len(X), -1)
            group[weight > 0] = merged.group
            samples = _Samples(merged.X.astype(X.dtype), merged.targets, merged.weight, group)
        elif is_trained(base) and sample_weight is not None:
            raise TypeError(f"Underlying estimator {type(base).__name__} does not support sample weights.")
        self._check_weighted(samples.targets[samples.weight > 0])
        return samples

    def _split(self, base: Any, samples: _Samples, rng: np.random.Generator) -> tuple[IntArray, IntArray]:
        """Return which samples train the base and which choose the weights."""
        if self.validation_fraction is None or not is_trained(base):
            everything = np.arange(len(samples.X))
            return everything, everything
        return validation_split(self._strata(samples.targets), self.validation_fraction, rng)

    def _draw(
        self,
        base: Any,
        samples: _Samples,
        base_seed: np.random.SeedSequence,
        rng: np.random.Generator,
        clock: Clock,
    ) -> tuple[SubModels, Any]:
        """Train what is to be trained; return sub-models and the one estimator that they are of, or None."""
        m, frozen = int(self.n_submodels), is_frozen(base)
        if is_torch_module(base):
            n_classes = self._n_outputs if is_classifier(self) else None
            return TorchSubModels(base, draw_seeds(m, rng), n_classes), base
        weight = samples.weight if has_fit_parameter(base, "sample_weight") else None
        data = TrainingSet(samples.X, self._labels(samples.targets), weight)
        seeds = base_seed.generate_state(m + 1).tolist()
        fit = self._fitting()
        if self.drop != "inputs":
            model = base if frozen else fit(base, data, seeds[0], clock.left or NO_TIME)
            if self.drop == "hidden" or is_dense(model):
                return DenseSubModels.draw(model, m, self.dropout, rng), model
            if was_interrupted(model):
                raise KeyboardInterrupt
        masks = draw_masks((m, samples.X.shape[1]), self.dropout, rng)
        if frozen:
            return FeatureMaskSubModels((base,) * m, masks), base
        return fit_masked(fit, base, data, masks, seeds[1:], clock, self.n_jobs), None

    def _inputs(self, X: ArrayLike) -> NDArray[Any]:
        """Check new inputs of a fitted ensemble."""
        check_is_fitted(self)
        inputs: NDArray[Any] = checked_inputs(self, X, reset=False)
        return inputs

    def _predictions(self, X: ArrayLike) -> FloatArray:
        """Return the predictions of all sub-models, shape (n_submodels, n_samples, K)."""
        inputs = self._inputs(X)
        return stacked_outputs(self.submodels_, inputs, self._n_outputs)

    def _combined(self, inputs: NDArray[Any], weights: FloatArray) -> FloatArray:
        """Return the weighted sum of the sub-models' predictions, shape (n_samples, K)."""
        active = np.flatnonzero(weights)
        total = np.zeros((len(inputs), self._n_outputs))
        if active.size == 0:
            return total
        for weight, outputs in zip(weights[active], self.submodels_.outputs(inputs, active), strict=True):
            total += weight * outputs
        return total


def checked_inputs(ensemble: BaseDropoutEnsemble, X: ArrayLike, **options: Any) -> Any:
    """Check inputs, of any number of axes for a PyTorch module; their precision is kept."""
    nd = is_torch_module(ensemble.estimator)
    return validate_data(ensemble, X, dtype=[np.float64, np.float32], allow_nd=nd, **options)
