"""How good an ensemble is by its number of sub-models, with uniform and with optimised weights."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from numbers import Integral
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn.base import BaseEstimator, ClassifierMixin, RegressorMixin, is_classifier
from sklearn.utils.validation import check_is_fitted

from convexnn._typing import FloatArray, IntArray
from convexnn.ensembles._base import BaseDropoutEnsemble, checked_inputs
from convexnn.ensembles.submodels import model_outputs
from convexnn.ensembles.torch_modules import TorchSubModels
from convexnn.ensembles.weights import CombinationSettings, normalised, shares
from convexnn_solvers import Status, solve_nonnegative_path

__all__ = ["SubModelCurve", "submodel_curve"]

Scorer: TypeAlias = Callable[..., float]

_DEFAULT_SIZES = 20
"""At most, so that a curve of many sub-models is no work to speak of."""


@dataclass(frozen=True, eq=False)
class SubModelCurve:
    """Scores of the combinations of the first sub-models of an ensemble.

    Attributes
    ----------
    sizes : ndarray of shape (n_sizes,), int
        Numbers of sub-models, ascending.
    uniform_scores : ndarray of shape (n_sizes,)
        Scores with equal weights that sum to one.
    optimised_scores : ndarray of shape (n_sizes,)
        Scores with the weights that are optimal for so many sub-models, on the samples that chose the
        ensemble's weights.
    base_score : float or None
        Score of the whole network; None where each sub-model was trained by itself.
    n_active : ndarray of shape (n_sizes,), int
        Number of weights that are not zero.
    optimality : ndarray of shape (n_sizes,)
        Optimality residual of the weights, see `convexnn_solvers.NonnegativeResult`.
    scoring : str
        Name of the score.
    """

    sizes: IntArray
    uniform_scores: FloatArray
    optimised_scores: FloatArray
    base_score: float | None
    n_active: IntArray
    optimality: FloatArray
    scoring: str

    def __post_init__(self) -> None:
        """Freeze the arrays."""
        for name in ("sizes", "uniform_scores", "optimised_scores", "n_active", "optimality"):
            getattr(self, name).flags.writeable = False

    def __len__(self) -> int:
        """Return the number of sizes."""
        return len(self.sizes)

    def __repr__(self) -> str:
        """One line: how many sizes, and the scores at the last."""
        base = "" if self.base_score is None else f", base {self.base_score:.4g}"
        return (
            f"SubModelCurve({len(self)} sizes up to {self.sizes[-1]}, {self.scoring} there: uniform "
            f"{self.uniform_scores[-1]:.4g}, optimised {self.optimised_scores[-1]:.4g}{base})"
        )


class _Predicted(BaseEstimator):
    """An estimator whose predictions are given, for scorers to look at."""

    def fit(self, _X: Any, _y: Any) -> "_Predicted":
        """Do nothing; scikit-learn takes only what can be fitted for an estimator."""
        return self

    def __sklearn_is_fitted__(self) -> bool:
        """Return that the predictions are there."""
        return True


class _PredictedTargets(RegressorMixin, _Predicted):
    """Targets that were predicted, shape (n_samples,) or (n_samples, n_outputs)."""

    def __init__(self, targets: FloatArray) -> None:
        self.targets = targets

    def predict(self, _X: Any) -> FloatArray:
        """Return the targets."""
        return self.targets


class _PredictedProbabilities(ClassifierMixin, _Predicted):
    """Class probabilities that were predicted, shape (n_samples, n_classes)."""

    def __init__(self, probabilities: FloatArray, classes: NDArray[Any]) -> None:
        self.probabilities = probabilities
        self.classes = classes
        self.classes_ = classes

    def predict_proba(self, _X: Any) -> FloatArray:
        """Return the probabilities."""
        return self.probabilities

    def predict(self, _X: Any) -> NDArray[Any]:
        """Return the labels of the largest probabilities."""
        labels: NDArray[Any] = self.classes_[self.probabilities.argmax(axis=1)]
        return labels


@dataclass(frozen=True, eq=False)
class _Judge:
    """How predictions for given samples are scored."""

    ensemble: BaseDropoutEnsemble
    X: NDArray[Any]
    y: NDArray[Any]
    scorer: Scorer

    def score(self, outputs: FloatArray) -> float:
        """Return the score of predictions (n_samples, K)."""
        if is_classifier(self.ensemble):
            predicted: Any = _PredictedProbabilities(normalised(outputs), self.ensemble.classes_)
        else:
            predicted = _PredictedTargets(outputs[:, 0] if self.y.ndim == 1 else outputs)
        return float(self.scorer(predicted, self.X, self.y))


def submodel_curve(
    ensemble: BaseDropoutEnsemble,
    X: ArrayLike,
    y: ArrayLike,
    *,
    sizes: ArrayLike | None = None,
    scoring: str | Scorer | None = None,
) -> SubModelCurve:
    """Score the first k sub-models of an ensemble for several k, with uniform and with optimised weights.

    The weights of k sub-models are those of the ensemble's own program with its first k columns, which needs
    no further pass over its samples; each solve starts from the weights before it. The sub-models predict
    the given samples once for all k; one combination for each size is held, and not all their predictions.

    Parameters
    ----------
    ensemble : DropoutEnsembleRegressor or DropoutEnsembleClassifier
        Fitted.
    X : array-like of shape (n_samples, n_features)
        Samples to score on; better not those that trained the ensemble.
    y : array-like of shape (n_samples,) or (n_samples, n_outputs)
    sizes : array-like of int, optional
        Numbers of sub-models, each from 1 to all; up to 20, geometrically spaced to all, unless given.
    scoring : str or callable, optional
        A scorer of scikit-learn's (`sklearn.metrics.get_scorer`) by name, or one; accuracy or R2 unless
        given. A scorer sees predictions and class probabilities, not the ensemble.

    Returns
    -------
    SubModelCurve

    Raises
    ------
    ValueError, TypeError
        If a size is out of range, or `scoring` is no scorer.
    NotFittedError
        If the ensemble is not fitted.
    KeyboardInterrupt
        On Ctrl-C.

    Examples
    --------
    >>> from convexnn.ensembles import DropoutEnsembleClassifier, submodel_curve
    >>> from sklearn.datasets import load_iris
    >>> from sklearn.naive_bayes import GaussianNB
    >>> X, y = load_iris(return_X_y=True)
    >>> model = DropoutEnsembleClassifier(GaussianNB(), n_submodels=16, random_state=0)
    >>> curve = submodel_curve(model.fit(X[::2], y[::2]), X[1::2], y[1::2], sizes=[1, 4, 16])
    >>> curve.optimised_scores.shape, curve.scoring
    ((3,), 'accuracy')
    """
    check_is_fitted(ensemble)
    checked = _checked_sizes(sizes, len(ensemble.submodels_))
    name, scorer = _scorer(scoring, is_classifier(ensemble))
    judge = _Judge(ensemble, checked_inputs(ensemble, X, reset=False), np.asarray(y), scorer)
    programs = [ensemble.program_.leading(k) for k in checked.tolist()]
    results = solve_nonnegative_path(programs, **replace(CombinationSettings.of(ensemble), verbose=0).options)
    if any(result.status is Status.INTERRUPTED for result in results):
        raise KeyboardInterrupt
    uniform, optimised = _scores(judge, [result.weights for result in results])
    return SubModelCurve(
        sizes=checked,
        uniform_scores=uniform,
        optimised_scores=optimised,
        base_score=_base_score(judge),
        n_active=np.array([result.n_active for result in results], dtype=np.intp),
        optimality=np.array([result.optimality for result in results]),
        scoring=name,
    )


def _checked_sizes(sizes: ArrayLike | None, n_submodels: int) -> IntArray:
    """Return the sizes, ascending and each once."""
    if sizes is None:
        return np.unique(np.geomspace(1, n_submodels, _DEFAULT_SIZES).round().astype(np.intp))
    given = np.atleast_1d(np.asarray(sizes))
    if given.ndim != 1 or given.size == 0 or not issubclass(given.dtype.type, Integral):
        raise TypeError(f"sizes must be a sequence of integers. Got {sizes!r} instead.")
    if given.min() < 1 or given.max() > n_submodels:
        raise ValueError(
            f"sizes must lie between 1 and the number of sub-models, {n_submodels}. Got {given.tolist()}; "
            "fit the ensemble with a larger n_submodels for more."
        )
    return np.unique(given).astype(np.intp)


def _scorer(scoring: str | Scorer | None, classifies: bool) -> tuple[str, Scorer]:
    """Return a scorer and its name."""
    from sklearn.metrics import get_scorer

    if scoring is None:
        scoring = "accuracy" if classifies else "r2"
    if isinstance(scoring, str):
        return scoring, get_scorer(scoring)
    if not callable(scoring):
        raise TypeError(f"scoring must be None, a scorer's name or a callable. Got {scoring!r} instead.")
    return getattr(scoring, "__name__", "score"), scoring


def _scores(judge: _Judge, weights: list[FloatArray]) -> tuple[FloatArray, FloatArray]:
    """Score uniform and optimised combinations in one pass over the sub-models."""
    sizes = np.array([len(values) for values in weights])
    padded = np.zeros((len(sizes), sizes.max()))
    for row, values in zip(padded, weights, strict=True):
        row[: len(values)] = shares(values) if is_classifier(judge.ensemble) else values
    uniform, total, combined = np.empty(len(sizes)), np.zeros(()), np.zeros(())
    for j, outputs in enumerate(judge.ensemble.submodels_.outputs(judge.X, np.arange(sizes.max()))):
        if j == 0:
            total, combined = np.zeros(outputs.shape), np.zeros((len(sizes), *outputs.shape))
        total += outputs
        for row in np.flatnonzero(padded[:, j]):
            combined[row] += padded[row, j] * outputs
        for row in np.flatnonzero(sizes == j + 1):
            uniform[row] = judge.score(total / (j + 1))
    return uniform, np.array([judge.score(outputs) for outputs in combined])


def _base_score(judge: _Judge) -> float | None:
    """Score the whole network, where there is one."""
    ensemble = judge.ensemble
    if ensemble.estimator_ is None:
        return None
    if isinstance(ensemble.submodels_, TorchSubModels):
        return judge.score(ensemble.submodels_.base_outputs(judge.X))
    return judge.score(model_outputs(ensemble.estimator_, judge.X))
