"""`double_descent_curve`: training with growing numbers of random Fourier features."""

import time
import warnings
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike
from sklearn.base import clone, is_classifier
from sklearn.exceptions import ConvergenceWarning

from convexnn._parameters import checked_count, checked_flag, checked_nonnegative, checked_time_limit
from convexnn._random import as_seed
from convexnn._typing import FloatArray, IntArray, RandomState
from convexnn.fourier._base import BaseRandomFourier, checked_samples, encoded_targets, training_inputs
from convexnn.fourier.bandwidth import kernel_gamma
from convexnn.fourier.curve import CurvePoint, DoubleDescentCurve
from convexnn.fourier.features import draw_features
from convexnn.fourier.least_squares import CentredRows, DistinctInputs
from convexnn.fourier.nested import NestedLeastSquares
from convexnn.labels import predicted_classes

__all__ = ["double_descent_curve"]


def double_descent_curve(
    estimator: BaseRandomFourier,
    X: ArrayLike,
    y: ArrayLike,
    X_test: ArrayLike,
    y_test: ArrayLike,
    *,
    n_frequencies: ArrayLike,
    n_repeats: int = 1,
    random_state: RandomState = None,
    time_limit: float | None = None,
    verbose: int = 0,
) -> DoubleDescentCurve:
    """Train with growing numbers of random Fourier features and measure the errors.

    The result for N frequencies in a repeat is that of
    ``clone(estimator).set_params(n_frequencies=N, random_state=seed).fit(X, y)``, up to rounding. The
    features of a repeat are nested and share factors, so that all sizes together take about as long as a few
    fits of the largest. Memory is that of the features of all training and test samples, ``16 N`` bytes each
    (three times that for training).

    Parameters
    ----------
    estimator : RandomFourierRegressor or RandomFourierClassifier
        Unfitted or fitted; its gamma, ridge, fit_intercept and class_weight are used.
    X : array-like of shape (n_samples, n_features)
    y : array-like of shape (n_samples,) or (n_samples, n_outputs)
    X_test : array-like of shape (n_test, n_features)
    y_test : array-like of shape (n_test,) or (n_test, n_outputs)
    n_frequencies : array-like of int
        Numbers of frequencies, in any order.
    n_repeats : int, default=1
        How many draws of frequencies.
    random_state : int, RandomState, Generator or None, default=None
        Repeat r has the seed ``random_state + r`` if it is an int; None means the estimator's.
    time_limit : float, default=None
        Seconds. When they are over, or on an interrupt from the keyboard, the repeats done so far are
        returned or, in the first one, the sizes done so far.
    verbose : int, default=0
        1 prints a line for each size.

    Returns
    -------
    DoubleDescentCurve

    Raises
    ------
    ValueError, TypeError
        For input or options that have no meaning.
    KeyboardInterrupt
        If it comes before the first size is done.

    Warns
    -----
    ConvergenceWarning
        If the curve ended early.

    References
    ----------
    Belkin, Hsu, Ma and Mandal, "Reconciling modern machine-learning practice and the classical
    bias-variance trade-off", PNAS 2019.

    Examples
    --------
    >>> import numpy as np
    >>> from convexnn import RandomFourierRegressor, double_descent_curve
    >>> rng = np.random.default_rng(0)
    >>> X, noise = rng.normal(size=(240, 5)), rng.normal(size=240)
    >>> y = np.sin(X.sum(axis=1)) + 0.3 * noise
    >>> data = X[:40], y[:40], X[40:], y[40:]
    >>> model = RandomFourierRegressor(random_state=0)
    >>> curve = double_descent_curve(model, *data, n_frequencies=[5, 20, 400])
    >>> curve.n_features.tolist(), int(curve.test_error[:, 0].argmax())
    ([10, 40, 800], 1)
    >>> bool(curve.train_error[1:].max() < 1e-12)
    True
    """
    if not isinstance(estimator, BaseRandomFourier):
        raise TypeError(
            "estimator must be a RandomFourierRegressor or RandomFourierClassifier. "
            f"Got {type(estimator).__name__} instead."
        )
    sizes = _checked_sizes(n_frequencies)
    seed = as_seed(estimator.random_state if random_state is None else random_state)
    seeds = seed + np.arange(checked_count("n_repeats", n_repeats))
    deadline = time.perf_counter() + checked_time_limit(time_limit)
    problem = _Problem.of(clone(estimator), X, y, X_test, y_test)
    curve = DoubleDescentCurve.of(
        _measured(problem, sizes, seeds, deadline, verbose),
        sizes,
        seeds,
        n_samples=len(problem.inputs.X),
        classification=is_classifier(estimator),
    )
    if curve.train_error.shape != (len(sizes), len(seeds)):
        warnings.warn(
            f"The curve ended early, with {len(curve.n_features)} of {len(sizes)} sizes in "
            f"{len(curve.seeds)} of {len(seeds)} repeats. Give it more time, fewer sizes or fewer repeats.",
            ConvergenceWarning,
            stacklevel=2,
        )
    return curve


@dataclass(frozen=True, eq=False)
class _Problem:
    """Training and test data with encoded targets, and an estimator that has seen them."""

    estimator: BaseRandomFourier
    inputs: DistinctInputs
    gamma: float
    samples: tuple[FloatArray, FloatArray]
    targets: tuple[FloatArray, FloatArray]

    @classmethod
    def of(
        cls, estimator: BaseRandomFourier, X: ArrayLike, y: ArrayLike, X_test: ArrayLike, y_test: ArrayLike
    ) -> "_Problem":
        """Check and encode both sets."""
        inputs = training_inputs(estimator, X, y, None)
        checked = [checked_samples(estimator, *pair, reset=False) for pair in ((X, y), (X_test, y_test))]
        if is_classifier(estimator):
            unknown = np.setdiff1d(checked[1][1], estimator.classes_)
            if len(unknown):
                raise ValueError(
                    f"y_test must have labels of y only, {estimator.classes_.tolist()}. "
                    f"Got {unknown.tolist()} too; leave those samples out."
                )
        train, test = (encoded_targets(estimator, values) for _, values in checked)
        if train.shape[1] != test.shape[1]:
            raise ValueError(
                f"y_test must have as many outputs as y, {train.shape[1]}. Got {test.shape[1]} instead."
            )
        gamma = kernel_gamma(estimator.gamma, inputs.X, inputs.weight)
        return cls(estimator, inputs, gamma, (checked[0][0], checked[1][0]), (train, test))

    def points(self, sizes: IntArray, seed: int) -> Iterator[CurvePoint]:
        """Yield the figures of one repeat, size after size."""
        estimator, inputs = self.estimator, self.inputs
        features = draw_features(int(sizes[-1]), self.gamma, inputs.centre, seed)
        fit_intercept = checked_flag("fit_intercept", estimator.fit_intercept)
        rows = CentredRows.of(
            features.waves(inputs.X), inputs.targets, inputs.weight, fit_intercept=fit_intercept
        )
        nested = NestedLeastSquares(rows.design, rows.targets)
        ridge = checked_nonnegative("ridge", estimator.ridge)
        waves = [features.waves(samples) for samples in self.samples]
        train_targets, test_targets = self.targets
        for N in sizes.tolist():
            # Waves are features times sqrt(N), so that the ridge of their coefficients is N times as large.
            coef, rank = nested.solve(2 * N, ridge * N)
            intercept = rows.intercept(coef)
            train, test = (wave[:, : 2 * N] @ coef + intercept for wave in waves)
            yield CurvePoint(
                train_error=_squared_error(train, train_targets),
                test_error=_squared_error(test, test_targets),
                train_misclassified=_misclassified(train, train_targets),
                test_misclassified=_misclassified(test, test_targets),
                coef_norm=float(np.sqrt(N) * np.linalg.norm(coef)),
                rank=rank,
            )


def _measured(
    problem: _Problem, sizes: IntArray, seeds: IntArray, deadline: float, verbose: int
) -> list[list[CurvePoint]]:
    """Return the points of each repeat; fewer where time is up or on an interrupt."""
    done: list[list[CurvePoint]] = []
    try:
        for repeat, seed in enumerate(seeds.tolist(), start=1):
            done.append([])
            for N, point in zip(sizes.tolist(), problem.points(sizes, seed), strict=True):
                done[-1].append(point)
                if verbose:
                    print(f"repeat {repeat} of {len(seeds)}, {2 * N:6d} features: {point}")
                if time.perf_counter() > deadline:
                    return done
    except KeyboardInterrupt:
        if not (done and done[0]):
            raise
    return done


def _squared_error(outputs: FloatArray, targets: FloatArray) -> float:
    """Return the mean over samples and outputs."""
    return float(np.mean((outputs - targets) ** 2))


def _misclassified(outputs: FloatArray, targets: FloatArray) -> float:
    """Return the rate of wrong labels; of no meaning for regression."""
    return float(np.mean(predicted_classes(outputs) != predicted_classes(targets)))


def _checked_sizes(n_frequencies: ArrayLike) -> IntArray:
    """Return distinct numbers of frequencies in ascending order."""
    given = np.asarray(n_frequencies)
    if given.ndim != 1 or given.size == 0:
        raise ValueError(
            "n_frequencies must be a list of at least one number of frequencies. "
            f"Got shape {given.shape}; for one size pass [N]."
        )
    return np.unique([checked_count("n_frequencies", N) for N in given.tolist()])
