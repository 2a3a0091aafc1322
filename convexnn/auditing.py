"""`certify`: how far any trained network is from the best one of any width."""

import math
import time
from dataclasses import replace
from typing import Any, TypeVar

import numpy as np
from numpy.typing import ArrayLike
from sklearn.utils.class_weight import compute_sample_weight

from convexnn._typing import FloatArray, HiddenBias
from convexnn.certificates import Certificate, CertificationProblem
from convexnn.certificates.certify import Bound, assemble, best_bound, bound_from, gradient_guess
from convexnn.certificates.exact_dual import check_loss
from convexnn.certificates.pricing_methods import METHODS, Pricing
from convexnn.certificates.reading import Subject, read_subject
from convexnn.certificates.witnesses import gains, local_neurons
from convexnn.columns import SolverSettings
from convexnn.columns.convolution import train_convolution
from convexnn.losses import Loss, get_loss
from convexnn.networks import ConvNetwork, Network
from convexnn.patterns import PatternSet
from convexnn.programs import check_bias, layer_program, network_weights
from convexnn.programs.samples import Samples, check_sample_weight, merge_samples
from convexnn.programs.training import NetworkKind, TrainingData
from convexnn_solvers import SolverError, SolveResult, solve
from convexnn_solvers.result import relative_gap

__all__ = ["certify"]

_MAX_ROUNDS = 60
_FINEST = 1e-9
_FIRST_SHARE = 0.5
_SOLVER_SECONDS = 30.0

Option = TypeVar("Option")


def certify(
    network: Any,
    X: ArrayLike,
    y: ArrayLike,
    *,
    alpha: float | None = None,
    loss: str | Loss | None = None,
    hidden_bias: HiddenBias | None = None,
    fit_intercept: bool | None = None,
    sample_weight: ArrayLike | None = None,
    method: str = "auto",
    refine: bool = True,
    tol: float = 1e-6,
    time_limit: float | None = None,
) -> Certificate:
    r"""Bound how far a trained two-layer network is from the best one, whatever has trained it.

    For ``F = sum_i s_i loss(f(x_i), y_i) + (alpha / 2) * sum_j (|u_j|^2 + a_j^2)``, a sum and not a mean,
    every ``theta`` with ``max_{|u| <= 1} |sum_i theta_i phi(u . x~_i)| <= alpha`` (and ``sum_i theta_i = 0``
    with an intercept) gives ``F >= -sum_i s_i loss*(-theta_i / s_i)`` for networks of every width. The bound
    is proved: rounding errors are accounted for.

    Parameters
    ----------
    network : object
        One of

        - a fitted estimator of this package;
        - a fitted `sklearn.neural_network.MLPRegressor` or `MLPClassifier` with one hidden ReLU layer: its
          ``F`` is ``n_samples`` times its own loss, hidden biases are free;
        - a ``torch.nn.Sequential(Linear, ReLU or LeakyReLU, Linear)``, its weights taken as they are;
        - a `TwoLayerNetwork` or `ConvNetwork`;
        - a ``torch.nn.Sequential`` as `ConvNetwork.to_torch` makes, or with a mean over all positions;
        - weights ``(U, a)``, ``(U, b, a)`` or ``(U, b, a, c)``: hidden weights (d, m), hidden biases (m,),
          output weights (m,) or (m, k), output biases (k,), where b and c may be None; the activation is
          ReLU.
    X : array-like of shape (n_samples, n_features) or (n_samples, ...)
        The training data; images with channels last.
    y : array-like of shape (n_samples,) or (n_samples, n_outputs)
        Targets or, for classifiers, labels. Where the object knows no classes: -1 and +1, or class indices
        for several outputs. Of convolutional networks without pooling one for each position, (n_samples, K).
    alpha : float, optional
        Regularisation strength. Estimators know theirs, other objects do not; what the object knows
        must not be contradicted, here and below.
    loss : str or Loss, optional
        "squared_error" where the object knows none.
    hidden_bias : {"penalized", "free", "none"}, optional
        How ``F`` counts hidden biases: "penalized" where the object has biases and does not say.
    fit_intercept : bool, optional
        Whether networks with an output bias are competitors: True where the object does not say.
    sample_weight : array-like of shape (n_samples,), optional
        Non-negative; an estimator's `class_weight` multiplies them.
    method : {"auto", "enumeration", "branch_and_bound", "closed_form", "semidefinite"}, default="auto"
        How the maximum over u is bounded. The first two are exact, for small rank; the other two are
        relaxations for data of any size. "auto" tries the exact ones for at most half a minute each where
        the rank allows, and takes the best of what it has.
    refine : bool, default=True
        Whether to look for a better dual point than the network's gradient by training a better network,
        where the gap is above `tol`. Without it the bound of a network far from stationary is poor.
    tol : float, default=1e-6
        Relative gap at which the search ends.
    time_limit : float, optional
        Seconds; the best bound found until then is returned.

    Returns
    -------
    Certificate
        With scope "global".

    Raises
    ------
    ValueError, TypeError
        If the object, data or options do not fit, contradict one another, or alpha is missing.

    References
    ----------
    Pilanci and Ergen, "Neural networks are convex regularizers", ICML 2020, equation 5.

    Examples
    --------
    >>> import numpy as np
    >>> from convexnn import certify
    >>> X = np.array([[-1.0], [-5.0], [2.0], [0.0], [3.0]])
    >>> y = np.array([1.0, -1.0, 1.0, -1.0, 1.0])
    >>> zero = (np.zeros((1, 1)), np.zeros(1), np.zeros(1))
    >>> certificate = certify(zero, X, y, alpha=0.1)
    >>> round(certificate.objective, 4), round(certificate.lower_bound, 4), certificate.scope
    (2.5, 0.6577, 'global')
    >>> certificate.witness.objective < 2.5
    True
    """
    began = time.perf_counter()
    if method not in METHODS:
        raise ValueError(f"method must be one of {list(METHODS)}. Got {method!r} instead.")
    shape = np.shape(X)[1:]
    subject = read_subject(network, shape if len(shape) > 1 else None)
    problem, audited = _problem(subject, X, y, alpha, loss, hidden_bias, fit_intercept, sample_weight)
    deadline = math.inf if time_limit is None else began + float(time_limit)
    pricing = Pricing(problem, method)
    first = began + _FIRST_SHARE * (deadline - began) if refine else deadline
    bounds = [bound_from(problem, pricing, gradient_guess(problem, audited), "gradient", first)]
    if subject.dual_point is not None and len(subject.dual_point) == len(_merged(problem).weight):
        own = _spread(problem, subject.dual_point)
        bounds.append(bound_from(problem, pricing, own, "solver", first))
    certificate = assemble(problem, audited, bounds)
    if refine and problem.alpha > 0 and certificate.relative_gap > tol and time.perf_counter() < deadline:
        bounds += _improved_bounds(problem, pricing, audited, certificate, tol, deadline)
        certificate = assemble(problem, audited, bounds)
    return certificate


def _problem(
    subject: Subject,
    X: ArrayLike,
    y: ArrayLike,
    alpha: float | None,
    loss: str | Loss | None,
    hidden_bias: HiddenBias | None,
    fit_intercept: bool | None,
    sample_weight: ArrayLike | None,
) -> tuple[CertificationProblem, Network]:
    """Settle what is certified; also the network with the hidden bias counted as settled.

    Without pooling a convolutional network is a dense one on the patches.
    """
    network = subject.network
    strength = _settled("alpha", subject.alpha, None if alpha is None else float(alpha), None)
    if strength is None:
        raise ValueError(
            "certify needs the regularisation strength, which this object does not know. Got alpha=None; "
            "pass alpha=..., the weight of half the sum of squares beside the sum (not mean) of the losses."
        )
    if not 0 <= strength < math.inf:
        raise ValueError(f"alpha must be finite and >= 0. Got {strength!r} instead.")
    K = network.n_outputs
    said_loss = None if subject.loss is None else get_loss(subject.loss, K)
    chosen = _settled(
        "loss", said_loss, None if loss is None else get_loss(loss, K), get_loss("squared_error")
    )
    bias = _settled("hidden_bias", subject.hidden_bias, hidden_bias, "penalized")
    intercept = _settled("fit_intercept", subject.fit_intercept, fit_intercept, True)
    if not intercept and network.output_biases.any():
        raise ValueError("fit_intercept=False was asked for a network with output biases; drop it or them.")
    check_bias(bias, intercept, network.activation)
    if network.hidden_bias != bias:
        network = replace(network, hidden_bias=bias)

    data = np.asarray(X, dtype=np.float64)
    network.outputs(data)  # checks the shape and that all is finite
    targets = network.encoded_targets(chosen, y)
    weight = check_sample_weight(sample_weight, len(data))
    patches, pooling = None, None
    if isinstance(network, ConvNetwork):
        data = data.reshape(len(data), -1)
        patches, pooling = network.geometry, network.pooling
        if network.pooling is None:
            data, weight = patches.rows(data), np.repeat(weight, patches.n_positions)
            network, patches = network.on_patches(), None
    if len(targets) != len(data):
        raise ValueError(f"y must have as many samples as X, {len(data)}. Got {len(targets)} instead.")
    if subject.class_weight is not None:
        weight = weight * compute_sample_weight(subject.class_weight, np.ravel(y))
    problem = CertificationProblem(
        data,
        targets,
        weight,
        chosen,
        strength * subject.alpha_factor,
        network.activation,
        bias,
        intercept,
        patches,
        pooling,
    )
    check_loss(problem)
    return problem, network


def _settled(name: str, said: Option | None, given: Option | None, default: Option | None) -> Any:
    """Return what the object says, what the caller gives, or the default, if the first two agree."""
    if said is not None and given is not None and said != given:
        raise ValueError(
            f"The object says {name}={said!r}, so that another value would certify another problem. "
            f"Got {name}={given!r}; leave it out, or pass the network alone (network_ or a TwoLayerNetwork)."
        )
    return said if said is not None else given if given is not None else default


def _merged(problem: CertificationProblem) -> Samples:
    return merge_samples(problem.X, problem.targets, problem.sample_weight)


def _spread(problem: CertificationProblem, theta: FloatArray) -> FloatArray:
    """Share the dual point of distinct samples among their copies, in proportion to the weights."""
    samples, kept = _merged(problem), problem.sample_weight > 0
    spread = np.zeros_like(problem.targets)
    shares = problem.sample_weight[kept] / samples.weight[samples.group]
    spread[kept] = theta[samples.group] * shares[:, None]
    return spread


def _improved_bounds(
    problem: CertificationProblem,
    pricing: Pricing,
    network: Network,
    certificate: Certificate,
    tol: float,
    deadline: float,
) -> list[Bound]:
    """Train by column generation, from the network's own patterns, and return the best dual point's bound.

    The optimum over more and more patterns falls towards the optimum over all of them, and the dual points of
    these programs towards the best dual point. Local ascents look for the patterns that are missing; a dual
    point is priced where they find none.
    """
    if problem.pooling == "weighted":
        return _retrained(problem, pricing, network, tol, deadline)
    frame = _Frame(problem)
    neurons = np.vstack([network_weights(network), local_neurons(problem, gradient_guess(problem, network))])
    patterns = frame.extended(None, neurons)
    best: list[Bound] = []
    local_deadline = _halfway(deadline)
    for _ in range(_MAX_ROUNDS if patterns is not None else 0):
        result = frame.trained(patterns, tol, deadline)
        if result is None:
            break
        theta = _spread(problem, result.dual_point)
        found = local_neurons(problem, theta)
        found = found[gains(problem, theta, found).max(axis=1) > problem.alpha * (1 + 0.1 * tol)]
        larger = frame.extended(patterns, found)
        if larger == patterns or time.perf_counter() > local_deadline:
            bound = bound_from(problem, pricing, theta, "retrained network", deadline)
            best = [best_bound([*best, bound])]
            attainable = min(certificate.objective, result.objective)
            if relative_gap(attainable, best[0].value) <= tol or time.perf_counter() > local_deadline:
                break
            larger = frame.extended(larger, bound.price.neurons)
            if larger == patterns:
                break
        patterns = larger
    return best


def _retrained(
    problem: CertificationProblem, pricing: Pricing, network: Network, tol: float, deadline: float
) -> list[Bound]:
    """Train a network with weighted pooling from this one, for half of the time, and return its bound."""
    left = _SOLVER_SECONDS if math.isinf(deadline) else _halfway(deadline) - time.perf_counter()
    kind = NetworkKind(
        problem.activation,
        "auto",
        problem.hidden_bias,
        problem.fit_intercept,
        problem.patches,
        problem.pooling,
    )
    trained = train_convolution(
        TrainingData(problem.X, problem.targets, problem.sample_weight, problem.loss),
        kind,
        alpha=problem.alpha,
        settings=SolverSettings(tol=max(_FINEST, tol), time_limit=max(1e-3, left)),
        random_state=0,
        previous=network if isinstance(network, ConvNetwork) and network.n_neurons else None,
    )
    theta = _spread(problem, trained.result.dual_point)
    return [bound_from(problem, pricing, theta, "retrained network", deadline)]


def _halfway(deadline: float) -> float:
    """Leave half of the remaining time for pricing."""
    now = time.perf_counter()
    return deadline if math.isinf(deadline) else now + 0.5 * (deadline - now)


class _Frame:
    """Distinct samples in the coordinates in which the programs of a problem are solved.

    With a free bias rows can be centred and scaled, ``u . x + b = (c u) . (x - m) / c + (b + u . m)``;
    alpha becomes ``alpha / c``. So the programs are the same and far better conditioned.
    """

    def __init__(self, problem: CertificationProblem) -> None:
        self.problem = problem
        self.samples = _merged(problem)
        layer = replace(problem, X=self.samples.X).layer
        rows, d = layer.rows.copy(), layer.n_weights
        self.centre, self.scale = np.zeros(d), 1.0
        if problem.hidden_bias == "free":
            self.centre[:-1] = rows[:, :-1].mean(axis=0)
            rows -= self.centre
            self.scale = float(np.abs(rows[:, :-1]).max(initial=0.0)) or 1.0
            rows[:, :-1] /= self.scale
        self.layer = replace(layer, rows=rows)

    def extended(self, patterns: PatternSet | None, neurons: FloatArray) -> PatternSet | None:
        """Add the patterns of neurons, those of weight zero left out."""
        neurons = neurons[neurons.any(axis=1)]
        if not len(neurons):
            return patterns
        if self.problem.hidden_bias == "free":
            slopes = neurons[:, :-1]
            neurons = np.column_stack([self.scale * slopes, neurons[:, -1] + slopes @ self.centre[:-1]])
        found = self.layer.patterns(neurons)
        return found if patterns is None else patterns.union(found)

    def trained(self, patterns: PatternSet | None, tol: float, deadline: float) -> SolveResult | None:
        """Solve the program over some patterns; None if there are none or no solver can."""
        if patterns is None:
            return None
        problem = self.problem
        program = layer_program(
            self.layer,
            patterns,
            self.samples,
            alpha=problem.alpha / self.scale,
            loss=problem.loss,
            fit_intercept=problem.fit_intercept,
        )
        left = min(_SOLVER_SECONDS, max(1e-3, deadline - time.perf_counter()))
        try:
            return solve(program, tol=max(_FINEST, 0.1 * tol), time_limit=left)
        except SolverError:
            return None
