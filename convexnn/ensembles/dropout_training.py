"""Adam training of two-layer ReLU networks with inverted dropout."""

import math
import time
from collections.abc import Iterator
from dataclasses import dataclass
from enum import Enum
from itertools import pairwise
from numbers import Integral, Real
from typing import Any, Literal

import numpy as np
from sklearn.utils import check_scalar

from convexnn._jit import kernel
from convexnn._typing import FloatArray, FloatMatrix
from convexnn.ensembles.backpropagation import Backpropagation, Parameters
from convexnn.losses import Loss

__all__ = [
    "DropoutTraining",
    "Stop",
    "TrainingSettings",
    "check_rate",
    "check_real",
    "standardise",
    "train_with_dropout",
]

_MOMENTUM, _SQUARE_MOMENTUM, _EPS = 0.9, 0.999, 1e-8


def check_real(
    name: str,
    value: Any,
    low: float = 0.0,
    high: float = math.inf,
    bounds: Literal["left", "neither"] = "left",
) -> None:
    """Raise TypeError or ValueError unless `value` is a number in [low, high), or in (low, high)."""
    check_scalar(value, name, Real, min_val=low, max_val=high, include_boundaries=bounds)
    if math.isnan(value):
        raise ValueError(f"{name} must be a number from {low} to {high}. Got NaN instead.")


def check_rate(name: str, rate: Any) -> None:
    """Raise TypeError or ValueError unless `rate` is a probability of dropping, in [0, 1)."""
    check_real(name, rate, high=1.0)


class Stop(Enum):
    """Why training ended; the value is what to tell the user, empty if there is nothing to tell."""

    CONVERGED = ""
    MAX_ITER = "The training loss was still falling after max_iter={max_iter} epochs; raise max_iter."
    TIME_LIMIT = (
        "Training stopped at time_limit={time_limit} s, after {n_iter} whole epochs; the weights of that "
        "moment are kept. Raise time_limit."
    )
    INTERRUPTED = "Training was interrupted after {n_iter} whole epochs; the weights of that moment are kept."


@dataclass(frozen=True)
class TrainingSettings:
    """Fields as the parameters of `DropoutMLPRegressor`; raises TypeError or ValueError if out of range."""

    hidden_units: int
    dropout: float
    input_dropout: float
    alpha: float
    learning_rate: float
    batch_size: int | Literal["auto"]
    max_iter: int
    tol: float
    n_iter_no_change: float
    time_limit: float | None
    verbose: int

    def __post_init__(self) -> None:
        """Check that all are in range."""
        check_scalar(self.hidden_units, "hidden_units", Integral, min_val=1)
        check_rate("dropout", self.dropout)
        check_rate("input_dropout", self.input_dropout)
        check_real("alpha", self.alpha)
        check_real("learning_rate", self.learning_rate, bounds="neither")
        if self.batch_size != "auto":
            check_scalar(self.batch_size, "batch_size", Integral, min_val=1)
        check_scalar(self.max_iter, "max_iter", Integral, min_val=1)
        check_real("tol", self.tol)
        if self.n_iter_no_change != math.inf:
            check_scalar(self.n_iter_no_change, "n_iter_no_change", Integral, min_val=1)
        if self.time_limit is not None:
            check_real("time_limit", self.time_limit)

    def batch_bounds(self, n_samples: int) -> list[int]:
        """Where batches of nearly equal size, none above `batch_size`, begin and end."""
        size = 200 if self.batch_size == "auto" else int(self.batch_size)
        n_batches = -(-n_samples // size)
        return [n_samples * k // n_batches for k in range(n_batches + 1)]


@kernel
def _adam_update(
    parameters: FloatMatrix,
    gradient: FloatMatrix,
    mean: FloatMatrix,
    square: FloatMatrix,
    rates: FloatMatrix,
) -> None:
    """Make one step of `_Adam` in one pass; its rates come in the parameters' own dtype."""
    keep, new, square_keep, square_new, step, correction, eps, decay = rates
    for i in range(parameters.size):
        slope = gradient[i] + decay * parameters[i]
        mean[i] = keep * mean[i] + new * slope
        square[i] = square_keep * square[i] + square_new * slope * slope
        parameters[i] -= step * mean[i] / (correction * np.sqrt(square[i]) + eps)


class _Adam:
    """Adam with the gradient of ``decay / 2 |weights|^2`` added, biases left out.

    References
    ----------
    Kingma and Ba, "Adam: a method for stochastic optimization", ICLR 2015, algorithm 1 with its defaults.
    """

    def __init__(self, parameters: Parameters, learning_rate: float, decay: float) -> None:
        self._mean, self._square = parameters.zeros().vector, parameters.zeros().vector
        self._n_steps = 0
        self._learning_rate, self._decay = learning_rate, decay

    @property
    def is_finite(self) -> bool:
        """Whether no gradient was too large to be squared; parameters with one would not move any more."""
        return bool(np.isfinite(self._square).all())

    def update(self, parameters: Parameters, gradient: Parameters) -> None:
        """Move the parameters by one step."""
        self._n_steps += 1
        keep, square_keep = _MOMENTUM, _SQUARE_MOMENTUM
        step = self._learning_rate / (1 - keep**self._n_steps)
        correction = 1 / math.sqrt(1 - square_keep**self._n_steps)
        common = (keep, 1 - keep, square_keep, 1 - square_keep, step, correction, _EPS)
        n = parameters.n_weights
        for part, decay in ((slice(n), self._decay), (slice(n, None), 0.0)):
            _adam_update(
                parameters.vector[part],
                gradient.vector[part],
                self._mean[part],
                self._square[part],
                np.array([*common, decay], parameters.vector.dtype),
            )


@dataclass(frozen=True, eq=False)
class DropoutTraining:
    """A trained network.

    Attributes
    ----------
    parameters : Parameters
    loss_curve : list of float
        Training objective under dropout, averaged over the batches of each whole epoch.
    loss : float
        Its last entry; of the unfinished first epoch if there is none.
    stop : Stop
    """

    parameters: Parameters
    loss_curve: list[float]
    loss: float
    stop: Stop


def standardise(targets: FloatArray, weight: FloatArray) -> tuple[FloatArray, FloatArray, FloatArray]:
    """Bring targets to weighted mean 0 and standard deviation 1.

    Parameters
    ----------
    targets : ndarray of shape (n, q)
    weight : ndarray of shape (n,)
        Positive.

    Returns
    -------
    standardised : ndarray of shape (n, q)
        Zero where all targets of an output are equal.
    mean, deviation : ndarray of shape (q,)
        ``standardised * deviation + mean`` are the targets; the deviation of constant ones is given as 1.
    """
    # From the first row on and in units of the largest entry: constants give zero exactly, squares cannot
    # overflow.
    size = np.abs(targets).max(axis=0)
    size[size == 0] = 1.0
    first = targets[0] / size
    scaled = targets / size - first
    share = weight / weight.max()
    offset = np.average(scaled, axis=0, weights=share)
    spread = np.sqrt(np.average((scaled - offset) ** 2, axis=0, weights=share))
    divisor = np.where(spread > 0, spread, 1.0)
    deviation = np.where(spread > 0, spread * size, 1.0)
    return (scaled - offset) / divisor, (first + offset) * size, deviation


def train_with_dropout(
    X: FloatMatrix,
    targets: FloatMatrix,
    weight: FloatMatrix,
    loss: Loss,
    settings: TrainingSettings,
    rng: np.random.Generator,
) -> DropoutTraining:
    """Minimise the mean loss under dropout, plus ``alpha / (2 S) |weights|^2``, S the sum of sample weights.

    Parameters
    ----------
    X : ndarray of shape (n, d), C-contiguous
        Its dtype, float32 or float64, is that of the whole training.
    targets : ndarray of shape (n, n_outputs)
        Encoded as the loss wants them.
    weight : ndarray of shape (n,)
        Positive.
    loss : Loss
    settings : TrainingSettings
    rng : Generator
        Of the first weights, the batches and the masks, drawn anew for each sample in each epoch.

    Returns
    -------
    DropoutTraining

    Raises
    ------
    ValueError
        If the weights grow beyond all bounds.

    References
    ----------
    Srivastava, Hinton, Krizhevsky, Sutskever and Salakhutdinov, "Dropout: a simple way to prevent neural
    networks from overfitting", JMLR 15 (2014), sections 4 and 5; units are scaled in training, as in section
    10, so that the whole network needs no other weights.
    """
    # Overflow shows in the loss, which is checked.
    with np.errstate(over="ignore", invalid="ignore"):
        run = _Run(X, targets, weight, loss, settings, rng)
        stop = run.train()
    if not run.is_finite:
        raise ValueError(
            f"Training diverged: weights, gradients or loss overflow in epoch {len(run.losses)}. Scale the "
            f"features, or lower learning_rate={settings.learning_rate}."
        )
    return DropoutTraining(run.parameters, run.losses, run.last_loss, stop)


class _Run:
    """The state of one training."""

    def __init__(
        self,
        X: FloatMatrix,
        targets: FloatMatrix,
        weight: FloatMatrix,
        loss: Loss,
        settings: TrainingSettings,
        rng: np.random.Generator,
    ) -> None:
        self.X, self.settings, self.rng = X, settings, rng
        self.targets = np.ascontiguousarray(targets, dtype=X.dtype)
        relative = weight / weight.max()
        self.weight = (relative / relative.mean()).astype(X.dtype)
        self.decay = settings.alpha / float(weight.max()) / float(relative.sum())
        self.parameters = Parameters.glorot(
            X.shape[1], int(settings.hidden_units), targets.shape[1], X.dtype, rng
        )
        self.bounds = settings.batch_bounds(len(X))
        largest = max(end - begin for begin, end in pairwise(self.bounds))
        self.backpropagation = Backpropagation(
            self.parameters, loss, largest, settings.dropout, settings.input_dropout
        )
        self.adam = _Adam(self.parameters, settings.learning_rate, self.decay)
        self.inputs = np.empty((largest, X.shape[1]), X.dtype)
        self.hidden_draws = self._draw_buffer(settings.dropout, (largest, self.parameters.n_hidden))
        self.input_draws = self._draw_buffer(settings.input_dropout, self.inputs.shape)
        self.losses: list[float] = []
        self.last_loss = math.nan

    @property
    def is_finite(self) -> bool:
        """Whether weights, squared gradients and losses are finite."""
        weights = bool(np.isfinite(self.parameters.vector).all())
        return weights and self.adam.is_finite and all(map(math.isfinite, self.losses))

    @staticmethod
    def _draw_buffer(rate: float, shape: tuple[int, ...]) -> FloatMatrix | None:
        return np.empty(shape, np.float32) if rate else None

    def train(self) -> Stop:
        """Run epochs until the loss stops falling or a limit is reached."""
        settings = self.settings
        until = math.inf if settings.time_limit is None else time.perf_counter() + settings.time_limit
        best, idle = math.inf, 0
        try:
            for _ in range(settings.max_iter):
                if not self._epoch(until):
                    return Stop.TIME_LIMIT
                idle = idle + 1 if self.last_loss > best - settings.tol else 0
                best = min(best, self.last_loss)
                if settings.verbose:
                    print(f"epoch {len(self.losses):4d}  loss {self.last_loss:.6g}")
                if not math.isfinite(self.last_loss) or idle >= settings.n_iter_no_change:
                    return Stop.CONVERGED
        except KeyboardInterrupt:
            return Stop.INTERRUPTED
        return Stop.MAX_ITER

    def _epoch(self, until: float) -> bool:
        """Take one step for each batch; False once time has run out."""
        value, n_seen = 0.0, 0
        for rows in self._batches():
            value += self._step(rows) * len(rows)
            n_seen += len(rows)
            if time.perf_counter() >= until and n_seen < len(self.X):
                break
        whole = n_seen == len(self.X)
        if whole or not self.losses:
            self.last_loss = value / n_seen + 0.5 * self.decay * self.parameters.squared_norm
        if whole:
            self.losses.append(self.last_loss)
        return whole and time.perf_counter() < until

    def _batches(self) -> Iterator[Any]:
        """Yield the rows of each batch, in random order."""
        order = self.rng.permutation(len(self.X))
        return (order[begin:end] for begin, end in pairwise(self.bounds))

    def _step(self, rows: Any) -> float:
        """Take one step and return the mean loss of the batch before it."""
        n = len(rows)
        inputs = np.take(self.X, rows, axis=0, out=self.inputs[:n], mode="clip")
        value = self.backpropagation(
            inputs,
            self.targets[rows],
            self.weight[rows] / n,
            self._drawn(self.hidden_draws, n),
            self._drawn(self.input_draws, n),
        )
        self.adam.update(self.parameters, self.backpropagation.gradient)
        return value

    def _drawn(self, buffer: FloatMatrix | None, n: int) -> FloatMatrix | None:
        """Fill the first rows of a buffer with draws from [0, 1)."""
        if buffer is None:
            return None
        return self.rng.random(dtype=np.float32, out=buffer[:n])
