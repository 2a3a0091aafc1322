"""What the cross-validated estimators share: a path on all samples, one for each fold, and the choice."""

import warnings
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from joblib import effective_n_jobs
from numpy.typing import ArrayLike, NDArray
from sklearn.base import clone, is_classifier
from sklearn.exceptions import ConvergenceWarning
from sklearn.utils.parallel import Parallel, delayed

from convexnn._random import as_seed
from convexnn._typing import FloatArray, HiddenBias, IntArray, MultiOutput, RandomState
from convexnn.activations import Activation
from convexnn.estimators._base import BaseNetworkEstimator
from convexnn.exceptions import PatternCountWarning
from convexnn.losses import Loss
from convexnn.paths import PathResult
from convexnn.paths.alpha_grid import check_attained, checked_alphas
from convexnn.paths.follow import follow, follow_to_end
from convexnn.paths.path_problem import PathProblem
from convexnn.paths.path_result import above_tolerance
from convexnn.patterns import PatternSet
from convexnn.problem import Problem, TrainingData, check_sample_weight
from convexnn.training import TrainingOptions
from convexnn_solvers import Status
from convexnn_solvers.clock import Clock

__all__ = ["BaseConvexMLPCV"]

Scorer = Callable[..., float]

# Of a limit of time, what the path on all samples may take; its networks are the answer, the folds only
# choose.
_WHOLE_SHARE = 0.4


class BaseConvexMLPCV(BaseNetworkEstimator):
    """Choice of `alpha` by cross-validation along warm-started paths; see the public subclasses."""

    # Set by `fit`, beside what the base class sets.
    alpha_: float
    alphas_: FloatArray
    scores_: FloatArray
    best_score_: float
    path_: PathResult

    def __init__(
        self,
        *,
        alphas: int | ArrayLike = 30,
        eps: float = 1e-3,
        loss: str | Loss = "squared_error",
        activation: str | Activation = "relu",
        patterns: str | int | PatternSet = "auto",
        multi_output: MultiOutput = "shared",
        hidden_bias: HiddenBias = "penalized",
        fit_intercept: bool = True,
        cv: Any = None,
        scoring: str | Scorer | None = None,
        solver: str = "auto",
        tol: float = 1e-4,
        max_iter: int | None = None,
        time_limit: float | None = None,
        random_state: RandomState = None,
        n_jobs: int | None = None,
        verbose: int = 0,
    ) -> None:
        self.alphas = alphas
        self.eps = eps
        self.loss = loss
        self.activation = activation
        self.patterns = patterns
        self.multi_output = multi_output
        self.hidden_bias = hidden_bias
        self.fit_intercept = fit_intercept
        self.cv = cv
        self.scoring = scoring
        self.solver = solver
        self.tol = tol
        self.max_iter = max_iter
        self.time_limit = time_limit
        self.random_state = random_state
        self.n_jobs = n_jobs
        self.verbose = verbose

    def _fit(self, X: ArrayLike, y: ArrayLike, sample_weight: ArrayLike | None) -> None:
        """Follow the path on all samples and on each fold's, choose, and set the fitted attributes."""
        options = replace(self._options(), random_state=as_seed(self.random_state))
        options.check()
        clock = options.clock()
        alphas, scorer = checked_alphas(self.alphas, self.eps), self._scorer()
        samples, y = self._validated(X, y)
        weight = check_sample_weight(sample_weight, len(samples))
        data = self._training_data(samples, y, weight)
        check_attained(alphas, data.loss)
        folds = [
            self._fold(samples, y, weight, data, *split, number)
            for number, split in enumerate(self._splits(samples, y))
        ]

        whole = clock.share(_WHOLE_SHARE)
        problem = PathProblem.of(Problem.of(data, self._kind(), 1.0), alphas, options, whole)
        points, grid = follow_to_end(problem, alphas, self.eps, whole)
        self.path_ = PathResult.of(points, grid)
        if self.path_.results[-1].status is Status.INTERRUPTED:
            raise KeyboardInterrupt
        self.alphas_ = np.array(self.path_.alphas)
        judge = _Judge(self._member(), scorer, weighted=sample_weight is not None)
        outcomes = self._followed(folds, options, judge, clock)
        self.scores_ = np.column_stack([outcome.scores for outcome in outcomes])
        best = _best(self.scores_)
        self.alpha_, self.best_score_ = float(self.alphas_[best]), float(self.scores_[best].mean())
        self._set_fitted(points[best])
        self.n_iter_ = sum(result.n_iter for result in self.path_.results)
        complaints = (points[best].complaint(self.tol), self._complaint_of_paths(outcomes))
        complaint = " ".join(part for part in complaints if part)
        if complaint:
            warnings.warn(complaint, ConvergenceWarning, stacklevel=3)

    def _followed(
        self, folds: "list[_Fold]", options: TrainingOptions, judge: "_Judge", clock: Clock
    ) -> "list[_FoldOutcome]":
        """Follow the paths of all folds, each with its share of the time that is left."""
        n_jobs, work = effective_n_jobs(self.n_jobs), delayed(_fold_path)
        return list(
            Parallel(n_jobs=self.n_jobs)(
                work(fold, fold.share * self.alphas_, options, judge, clock, min(1.0, n_jobs / n_left))
                for n_left, fold in zip(range(len(folds), 0, -1), folds, strict=True)
            )
        )

    def _splits(self, X: FloatArray, y: NDArray[Any]) -> list[tuple[IntArray, IntArray]]:
        # Slow to import, and not needed by the other estimators.
        from sklearn.model_selection import check_cv

        return list(check_cv(self.cv, y, classifier=is_classifier(self)).split(X, y))

    def _scorer(self) -> Scorer | None:
        from sklearn.metrics import get_scorer

        scorer: Scorer | None = get_scorer(self.scoring) if isinstance(self.scoring, str) else self.scoring
        if scorer is not None and not callable(scorer):
            raise ValueError(
                f"scoring must be None, a scorer's name or a callable. Got {self.scoring!r} instead."
            )
        return scorer

    def _fold(
        self,
        X: FloatArray,
        y: NDArray[Any],
        weight: FloatArray,
        data: TrainingData,
        train: IntArray,
        test: IntArray,
        number: int,
    ) -> "_Fold":
        """Prepare one split of the validated samples."""
        if not weight[test].any() or not weight[train].any():
            raise ValueError(
                f"In fold {number} no sample for {'training' if weight[test].any() else 'testing'} has a "
                "positive weight. Use fewer folds or another cv."
            )
        lacking = set(data.classes or ()) - set(np.unique(y[train][weight[train] > 0]).tolist())
        if lacking:
            raise ValueError(
                f"In fold {number} the classes {sorted(lacking)} are not among the training samples of "
                "positive weight. Use fewer folds, or a stratified cv."
            )
        patterns = self.patterns
        if isinstance(patterns, PatternSet):
            self._check_rows(patterns, len(X))
            patterns = patterns.restricted_to(train)
        fold_data = self._training_data(X[train], y[train], weight[train])
        share = float(fold_data.weight.sum() / data.weight.sum())
        problem = Problem.of(fold_data, self._kind(), 1.0)
        return _Fold(problem, patterns, share, X[test], y[test], data.targets[test], weight[test])

    @staticmethod
    def _check_rows(patterns: PatternSet, n_samples: int) -> None:
        if patterns.n_samples != n_samples:
            raise ValueError(
                f"The given patterns are of {patterns.n_samples} samples, but X has {n_samples}. Compute "
                "them on all training data; they are restricted to each fold's samples."
            )

    def _member(self) -> "BaseConvexMLPCV":
        """Return an estimator that predicts as this one will once it is given a network."""
        member: BaseConvexMLPCV = clone(self)
        for name in ("n_features_in_", "classes_", "_single_output"):
            if hasattr(self, name):
                setattr(member, name, getattr(self, name))
        return member

    def _complaint_of_paths(self, outcomes: "list[_FoldOutcome]") -> str:
        """Say which paths have points above `tol` or ended early; empty if none."""
        complaints = [above_tolerance(self.path_.results, self.path_.alphas, self.tol)]
        complaints += [outcome.complaint for outcome in outcomes]
        named = [
            f"{f'Fold {number - 1}' if number else 'All samples'}: {complaint}"
            for number, complaint in enumerate(complaints)
            if complaint
        ]
        if len(named) > 1:
            named = [f"{named[0]} So do paths of {len(named) - 1} other sets of samples."]
        n_asked = len(self.alphas_) + self.path_.alphas_left.size
        n_scored = int(np.isfinite(self.scores_).all(axis=1).sum())
        if n_scored < n_asked:
            named.append(f"Only {n_scored} of {n_asked} alphas have scores in every fold to choose by.")
        return " ".join(named)


@dataclass(frozen=True, eq=False)
class _Fold:
    """Training samples of one split, the share of the total weight that they have, and test samples."""

    problem: Problem
    patterns: str | int | PatternSet
    share: float
    X: FloatArray
    y: NDArray[Any]
    targets: FloatArray
    weight: FloatArray


@dataclass(frozen=True, eq=False)
class _FoldOutcome:
    """Scores along a fold's path, NaN where it ended before, and what is to be said of it."""

    scores: FloatArray
    complaint: str


@dataclass(frozen=True, eq=False)
class _Judge:
    """How networks are scored on test samples."""

    member: BaseConvexMLPCV
    scorer: Scorer | None
    weighted: bool

    def score(self, network: Any, fold: _Fold) -> float:
        """Return the score of a network, by default minus the weighted mean loss."""
        if self.scorer is None:
            loss = fold.problem.loss.value(network.outputs(fold.X), fold.targets, fold.weight)
            return -loss / float(fold.weight.sum())
        self.member.network_ = network
        weights = {"sample_weight": fold.weight} if self.weighted else {}
        return float(self.scorer(self.member, fold.X, fold.y, **weights))


def _fold_path(
    fold: _Fold, alphas: FloatArray, options: TrainingOptions, judge: _Judge, clock: Clock, share: float
) -> _FoldOutcome:
    """Score the networks of the path on a fold's training samples, in a share of the time that is left."""
    own, options = clock.share(share), replace(options, patterns=fold.patterns)
    with warnings.catch_warnings():
        # The path on all samples has warned already.
        warnings.simplefilter("ignore", PatternCountWarning)
        problem = PathProblem.of(fold.problem, alphas, options, own)
    scores, results = np.full(len(alphas), np.nan), []
    for position, point in enumerate(follow(problem, alphas, own)):
        if point.result.status is Status.INTERRUPTED:
            raise KeyboardInterrupt
        scores[position] = judge.score(point.network, fold)
        results.append(replace(point.result, blocks=np.empty((0, 0, 0, 0))))
    return _FoldOutcome(scores, above_tolerance(results, alphas, options.tol))


def _best(scores: FloatArray) -> int:
    """Position of the largest mean score over all folds; of equal ones the largest alpha's."""
    means = scores.mean(axis=1)
    if not np.isfinite(means).any():
        raise ValueError(
            "No alpha has a finite score in every fold. Check scoring on the test samples of a fold."
        )
    return int(np.nanargmax(np.where(np.isfinite(means), means, np.nan)))
