"""`certify`: how far any trained network is from the best one of any width."""

import math
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from convexnn._parameters import checked_nonnegative
from convexnn._typing import FloatArray, HiddenBias
from convexnn.certificates.bounds import Bound, bound_from, gradient_guess
from convexnn.certificates.certificate import Certificate
from convexnn.certificates.pricing_methods import METHODS, Pricing
from convexnn.certificates.reading import read_subject
from convexnn.certificates.refining import refinement
from convexnn.certificates.settling import Said, settle
from convexnn.certificates.witnesses import find_witness
from convexnn.losses import Loss
from convexnn.networks import Network
from convexnn.problem import Problem
from convexnn_solvers.clock import Clock
from convexnn_solvers.result import relative_gap

__all__ = ["certify"]

# Relative improvement below which a neuron is not worth naming.
_WORTH = 1e-6
# Shares of a limit of time: all bounds, the rest being for a witness; and of these, where better dual points
# will be looked for, the bounds of those that are known from the start.
_SEARCHING_SHARE, _FIRST_SHARE = 0.85, 0.5
_GRADIENT = "network's gradient"


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
        - a fitted `sklearn.neural_network.MLPRegressor` or `MLPClassifier` with one hidden ReLU layer, whose
          hidden biases are free. With ``solver="lbfgs"`` (and one output) its ``F`` is ``n_samples`` times
          its own loss. "adam", the default, and "sgd" add the penalty to the mean over a batch, so that they
          minimise ``F`` with ``alpha * n_samples / batch_size`` for alpha (the smaller batch that an epoch
          may end with left aside), and that one is certified;
        - a ``torch.nn.Sequential(Linear, ReLU or LeakyReLU, Linear)``, its weights taken as they are;
        - a `TwoLayerNetwork` or `ConvNetwork`;
        - a ``torch.nn.Sequential`` as `ConvNetwork.to_torch` makes, or with a mean over all positions;
        - weights ``(U, a)``, ``(U, b, a)`` or ``(U, b, a, c)``: hidden weights (d, m), hidden biases (m,),
          output weights (m,) or (m, k), output biases (k,), where b and c may be None; the activation is
          ReLU.
    X : array-like of shape (n_samples, n_features) or (n_samples, ...)
        The training data; images with channels last. Columns of a frame must have the names, and the order,
        of those that an estimator was fitted on; objects of other kinds know no names.
    y : array-like of shape (n_samples,) or (n_samples, n_outputs)
        Targets or, for classifiers, labels. Where the object knows no classes: -1 and +1, or class indices
        for several outputs. Of convolutional networks without pooling one for each position, (n_samples, K).
    alpha : float, optional
        Regularisation strength. Estimators know theirs, other objects do not; what the object knows
        must not be contradicted, here and below. Of an MLP trained by "adam" or "sgd" its own parameter
        ``alpha`` may be asked for instead.
    loss : str or Loss, optional
        "squared_error" where the object knows none.
    hidden_bias : {"penalized", "free", "none"}, optional
        How ``F`` counts hidden biases: "penalized" where the object has biases and does not say.
    fit_intercept : bool, optional
        Whether networks with an output bias are competitors: True where the object does not say.
    sample_weight : array-like of shape (n_samples,), optional
        Non-negative; an estimator's `class_weight` multiplies them.
    method : {"auto", "enumeration", "branch_and_bound", "closed_form", "semidefinite"}, default="auto"
        How the maximum over u is bounded. "enumeration" and "branch_and_bound" are exact, for data of small
        rank; the other two are relaxations for data of any size. "auto" tries the closed form; branch and
        bound where the rank is at most 9 and there is time enough for a first pass; enumeration where there
        are at most a million cells, and time for them; and, where neither is completed, the semidefinite
        relaxation; and takes the best bound. Without a time limit each method does about a minute's work
        for a dual point, counted in operations. Networks with max or weighted pooling know branch and bound,
        which "auto" takes for filters of at most 9 weights, and the closed form.
    refine : bool, default=True
        Whether to look for a better dual point than the network's gradient by training a better network,
        where the gap is above `tol` and alpha is positive. Without it the bound of a network far from
        stationary is poor.
    tol : float, default=1e-6
        Relative gap at which the search ends.
    time_limit : float, optional
        Seconds; the best bound found until then is returned. Half of them at most go into training.

    Returns
    -------
    Certificate
        With scope "global".

    Raises
    ------
    ValueError, TypeError
        If the object, data or options do not fit, contradict one another, or alpha is missing; for columns
        that are not those of the fit what the estimator's `predict` raises.

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
    clock = Clock(None if time_limit is None else checked_nonnegative("time_limit", time_limit))
    if method not in METHODS:
        raise ValueError(f"method must be one of {list(METHODS)}. Got {method!r} instead.")
    subject = read_subject(network, X)
    said = Said(alpha, loss, hidden_bias, fit_intercept, sample_weight)
    problem, audited = settle(subject, X, y, said)
    searching = clock.share(_SEARCHING_SHARE)
    audit = _Audit(problem, audited, Pricing(problem, method), checked_nonnegative("tol", tol))
    refine = refine and problem.alpha > 0
    audit.bound_known_points(
        subject.dual_point, searching.share(_FIRST_SHARE) if refine else searching, refine
    )
    notes = [f"alpha = {problem.alpha:g}: {subject.alpha_note}."] if subject.alpha_note else []
    if refine and audit.relative_gap > tol and not searching.expired:
        notes.append(audit.refine(searching))
    return audit.certificate(notes, clock)


class _Audit:
    """What is known of one network: its objective and the bounds proved so far."""

    def __init__(self, problem: Problem, network: Network, pricing: Pricing, tol: float) -> None:
        self._problem, self._network, self._pricing, self._tol = problem, network, pricing, tol
        self._objective = problem.objective(network)
        self._bounds: list[Bound] = []

    @property
    def _best(self) -> Bound:
        """The bound of the largest value, the first of equal ones."""
        return max(self._bounds, key=lambda bound: bound.value)

    @property
    def relative_gap(self) -> float:
        """Of the network's objective and the best bound."""
        return relative_gap(self._objective, self._best.value)

    def _bound(self, guess: FloatArray, source: str, clock: Clock, wanted: float = -math.inf) -> Bound:
        """Prove the bound of a guess and remember it."""
        bound = bound_from(self._problem, self._pricing, guess, source, clock, wanted=wanted)
        self._bounds.append(bound)
        return bound

    def bound_known_points(self, own: FloatArray | None, clock: Clock, refine: bool) -> None:
        """Bound from the network's gradient and, where it is of these samples, the estimator's dual point.

        Where better points will be looked for there is no use in tight bounds that leave a gap all the same.
        """
        problem = self._problem
        guesses = [(_GRADIENT, gradient_guess(problem, self._network))]
        if own is not None and own.shape == problem.targets.shape:
            guesses.append(("estimator's own program", problem.spread(own)))
        wanted = self._objective - self._tol * abs(self._objective) if refine else -math.inf
        for k, (source, guess) in enumerate(guesses):
            self._bound(guess, source, clock.share(1 / (len(guesses) - k)), wanted)

    def refine(self, clock: Clock) -> str:
        """Train for better dual points; returns why that was not possible, if so."""
        problem, network = self._problem, self._network

        def ask(theta: FloatArray, limit: Clock) -> Bound:
            return self._bound(problem.spread(theta), "training of a better network", limit)

        failure = refinement()(
            problem,
            network,
            ask,
            attained=self._objective,
            exact=self._pricing.may_be_exact(clock),
            tol=self._tol,
            clock=clock,
        )
        if failure:
            self._bound(gradient_guess(problem, network), _GRADIENT, clock)
        return failure

    def certificate(self, notes: list[str], clock: Clock) -> Certificate:
        """Look for a neuron that improves the network, and put together what is known."""
        best, objective = self._best, self._objective
        neurons = np.vstack([bound.price.neurons for bound in self._bounds])
        witness = find_witness(self._problem, self._network, neurons, objective, clock)
        if witness is not None and objective - witness.objective <= _WORTH * abs(objective):
            witness = None
        if not best.price.complete:
            notes = [
                "A limit cut the search for the largest gain; more time or another method may bound better.",
                *notes,
            ]
        return Certificate(
            objective=objective,
            lower_bound=best.value,
            alpha=self._problem.alpha,
            method=f"{best.price.method}, dual point from the {best.source}",
            complete=best.price.complete,
            largest_gain=best.largest_gain,
            dual_point=best.theta,
            witness=witness,
            message=" ".join(note for note in notes if note),
        )
