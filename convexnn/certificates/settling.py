"""Settle what is certified: what the object says and what the caller says, joined into one problem."""

import math
from dataclasses import dataclass, replace
from typing import Any, TypeVar

import numpy as np
from numpy.typing import ArrayLike
from sklearn.utils.class_weight import compute_sample_weight

from convexnn._typing import FloatArray, HiddenBias
from convexnn.activations import LINEAR
from convexnn.certificates.exact_dual import check_loss
from convexnn.certificates.reading import Subject
from convexnn.losses import Loss, get_loss
from convexnn.networks import ConvNetwork, Network
from convexnn.problem import NetworkKind, Problem, TrainingData, check_sample_weight

__all__ = ["Said", "settle"]

# Of strengths that are products of several numbers, multiplied in whatever order.
_SAME_STRENGTH = 1e-12

Option = TypeVar("Option")


@dataclass(frozen=True, eq=False)
class Said:
    """What the caller of `convexnn.certify` says about the training; None where nothing is said."""

    alpha: float | None = None
    loss: str | Loss | None = None
    hidden_bias: HiddenBias | None = None
    fit_intercept: bool | None = None
    sample_weight: ArrayLike | None = None


def settle(subject: Subject, X: ArrayLike, y: ArrayLike, said: Said) -> tuple[Problem, Network]:
    """Return the problem, and the network with its hidden biases counted as the problem does.

    Parameters
    ----------
    subject : Subject
    X, y : array-like
        As `convexnn.certify` takes them.
    said : Said

    Returns
    -------
    problem : Problem
    network : TwoLayerNetwork or ConvNetwork

    Raises
    ------
    ValueError
        If data or options do not fit, contradict one another, or alpha is missing.
    """
    network, K = subject.network, subject.network.n_outputs
    alpha = _strength(subject, said.alpha)
    loss = _settled(
        "loss",
        None if subject.loss is None else get_loss(subject.loss, K),
        None if said.loss is None else get_loss(said.loss, K),
        get_loss("squared_error"),
    )
    bias = _settled("hidden_bias", subject.hidden_bias, said.hidden_bias, "penalized")
    intercept = _settled("fit_intercept", subject.fit_intercept, said.fit_intercept, True)
    if not intercept and network.output_biases.any():
        raise ValueError("fit_intercept=False was asked for a network with output biases; drop it or them.")
    if network.hidden_bias != bias:
        network = replace(network, hidden_bias=bias)
    kind = _kind(network, bias, intercept)
    data = _data(network, kind, X, y, loss, said.sample_weight, subject.class_weight)
    problem = Problem.of(data, kind, alpha * subject.alpha_factor)
    check_loss(problem)
    return problem, network


def _settled(name: str, known: Option | None, given: Option | None, default: Option) -> Any:
    """Return what the object says, what the caller gives, or the default, if the first two agree."""
    if known is not None and given is not None and known != given:
        raise ValueError(
            f"The object says {name}={known!r}, so that another value would certify another problem. "
            f"Got {name}={given!r}; leave it out, or pass the network alone (network_ or a TwoLayerNetwork)."
        )
    return known if known is not None else given if given is not None else default


def _strength(subject: Subject, given: float | None) -> float:
    """Return the strength of regularisation that the object was trained with, or one that the caller says."""
    known = [alpha for alpha in (subject.alpha, subject.nominal_alpha) if alpha is not None]
    if given is None and not known:
        raise ValueError(
            "certify needs the regularisation strength, which this object does not know. Got alpha=None; "
            "pass alpha=..., the weight of half the sum of squares beside the sum (not mean) of the losses."
        )
    strength = known[0] if given is None else float(given)
    for alpha in known:
        if given is not None and math.isclose(strength, alpha, rel_tol=_SAME_STRENGTH):
            strength = alpha
    if known and strength not in known:
        said = f"alpha={known[0]!r}" + (f" ({subject.alpha_note})" if subject.alpha_note else "")
        raise ValueError(
            f"The object says {said}, so that another value would certify another problem. "
            f"Got alpha={given!r}; leave it out, or pass the network alone (network_ or a TwoLayerNetwork)."
        )
    if not 0 <= strength < math.inf:
        raise ValueError(f"alpha must be finite and >= 0. Got {strength!r} instead.")
    return strength


def _kind(network: Network, hidden_bias: HiddenBias, fit_intercept: bool) -> NetworkKind:
    """Return the kind of networks that a network competes with."""
    if not isinstance(network, ConvNetwork):
        return NetworkKind(network.activation, hidden_bias, fit_intercept)
    if hidden_bias == "free" and network.pooling in ("max", "weighted") and network.activation != LINEAR:
        raise ValueError(
            f"With pooling={network.pooling!r} certify bounds filters without a bias, or with one in their "
            "norm. Got hidden_bias='free'; choose 'penalized' or 'none'."
        )
    return NetworkKind(network.activation, hidden_bias, fit_intercept, network.geometry, network.pooling)


def _data(
    network: Network,
    kind: NetworkKind,
    X: ArrayLike,
    y: ArrayLike,
    loss: Loss,
    sample_weight: ArrayLike | None,
    class_weight: Any,
) -> TrainingData:
    """Check the samples; where each position has an output of its own, targets and weights are its."""
    data: FloatArray = np.asarray(X, dtype=np.float64)
    network.outputs(data)  # checks the shape and that all is finite
    targets = network.encoded_targets(loss, y)
    weight = check_sample_weight(sample_weight, len(data))
    flat = data.reshape(len(data), -1)
    n_samples = len(data)
    if kind.patches is not None and kind.pooling is None:
        n_samples *= kind.patches.n_positions
        weight = np.repeat(weight, kind.patches.n_positions)
    if len(targets) != n_samples:
        raise ValueError(f"y must have as many samples as X, {n_samples}. Got {len(targets)} instead.")
    if class_weight is not None:
        weight = weight * compute_sample_weight(class_weight, np.ravel(y))
    return TrainingData(flat, targets, weight, loss, network.classes)
