"""Training of two-layer convolutional networks: each kind of pooling by the program made for it."""

import math
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np

from convexnn._typing import FloatArray, RandomState
from convexnn.activations import ACTIVATIONS
from convexnn.columns.training import SolverSettings, Trained, train
from convexnn.columns.weighted import weighted_training
from convexnn.networks import ConvNetwork
from convexnn.patches import PatchGeometry
from convexnn.patterns import PatternSet, pack_bits
from convexnn.programs import network_weights
from convexnn.programs.linear_conv import (
    circular_blocks,
    circular_program,
    circular_weights,
    is_circular,
    linear_conv_blocks,
    linear_conv_program,
    linear_conv_weights,
)
from convexnn.programs.samples import merge_samples
from convexnn.programs.training import NetworkKind, TrainingData
from convexnn_solvers import Clock, SolveResult, solve, solve_spectral
from convexnn_solvers.options import SolveOptions
from convexnn_solvers.registry import get_backend

__all__ = ["TrainedConvolution", "check_convolution", "train_convolution"]


@dataclass(frozen=True, eq=False)
class TrainedConvolution:
    """A trained convolutional network and what its bound bounds.

    Attributes
    ----------
    network : ConvNetwork
    patterns : PatternSet
        Of the convex program, on the patches of all samples; those of the filters where the program is not
        over patterns, and none of linear filters.
    result : SolveResult
        Of the program, over the distinct samples.
    scope : {"global", "patterns"}
        See `Trained`.
    violation : float
        See `Trained`.
    """

    network: ConvNetwork
    patterns: PatternSet
    result: SolveResult
    scope: str
    violation: float

    @classmethod
    def of(cls, trained: Trained, network: ConvNetwork) -> "TrainedConvolution":
        """Return what a program over patterns gave."""
        return cls(network, trained.patterns, trained.result, trained.scope, trained.violation)


def check_convolution(kind: NetworkKind) -> None:
    """Raise ValueError for options that do not fit one another.

    Parameters
    ----------
    kind : NetworkKind
        With the geometry of its patches.
    """
    name = kind.activation.name
    if kind.activation.gated:
        raise ValueError(
            f"Filters need an activation without gates. Got {name!r}; choose 'relu', 'leaky_relu', "
            "'absolute_value' or 'linear'."
        )
    if kind.pooling == "max" and kind.activation != ACTIVATIONS["relu"]:
        raise ValueError(
            f"pooling='max' is for activation='relu'. Got {name!r}; choose another pooling or that."
        )
    if kind.pooling in ("max", "weighted") and name != "linear" and kind.hidden_bias == "free":
        raise ValueError(
            f"hidden_bias='free' is not supported with pooling={kind.pooling!r}; "
            "choose 'penalized' or 'none'."
        )
    if name == "linear" and kind.pooling != "weighted":
        raise ValueError(
            "activation='linear' is for pooling='weighted': with other poolings the network is linear in one "
            f"sum of the patches. Got pooling={kind.pooling!r}."
        )


def train_convolution(
    data: TrainingData,
    kind: NetworkKind,
    *,
    alpha: float,
    settings: SolverSettings,
    random_state: RandomState,
    previous: ConvNetwork | None = None,
) -> TrainedConvolution:
    """Train one network.

    Parameters
    ----------
    data : TrainingData
        With flat images of shape (n, p); without pooling the targets are those of all positions, shape
        (n K, q).
    kind : NetworkKind
        With the geometry of its patches. Where pooling is "weighted" its `patterns` do not matter.
    alpha : float
    settings : SolverSettings
    random_state : int, RandomState, Generator or None
    previous : ConvNetwork, optional
        A network of the same kind that the result shall not be worse than.

    Returns
    -------
    TrainedConvolution

    Raises
    ------
    PatternBudgetError
        See `train`.
    ValueError
        If ``alpha = 0`` is not supported.
    """
    SolveOptions(settings.tol, settings.max_iter, Clock.of(settings.time_limit))  # raises if wrong
    if settings.solver != "auto":
        get_backend(settings.solver)
    if kind.pooling == "weighted":
        if alpha == 0:
            raise ValueError(
                "pooling='weighted' needs regularisation: without it filters of any size fit alike. "
                "Got alpha=0; give a positive alpha."
            )
        if kind.activation.name == "linear":
            return _linear(data, kind, alpha, settings, previous)
        return _weighted(data, kind, alpha, settings, random_state, previous)
    if kind.pooling is None:
        return _separable(data, kind, alpha, settings, random_state, previous)
    trained = train(data, kind, alpha=alpha, settings=settings, random_state=random_state, previous=previous)
    network = trained.network
    if not isinstance(network, ConvNetwork):
        raise TypeError(f"A kind with patches makes a ConvNetwork. Got {type(network).__name__}.")
    return TrainedConvolution.of(trained, network)


def _geometry(kind: NetworkKind) -> PatchGeometry:
    if kind.patches is None:
        raise ValueError("A convolutional network needs the geometry of its patches. Got none.")
    return kind.patches


def _separable(
    data: TrainingData,
    kind: NetworkKind,
    alpha: float,
    settings: SolverSettings,
    random_state: RandomState,
    previous: ConvNetwork | None,
) -> TrainedConvolution:
    """Without pooling: a dense network on the patches, with a target for each."""
    geometry = _geometry(kind)
    rows = replace(data, X=geometry.rows(data.X))
    trained = train(
        rows,
        replace(kind, patches=None),
        alpha=alpha,
        settings=settings,
        random_state=random_state,
        previous=None if previous is None else previous.on_patches(),
    )
    found = trained.network
    weights, biases = found.hidden_weights, found.hidden_biases
    network = _network(data, kind, weights, biases, found.output_weights, found.output_biases)
    return TrainedConvolution.of(trained, network)


def _network(
    data: TrainingData,
    kind: NetworkKind,
    hidden_weights: FloatArray,
    hidden_biases: FloatArray,
    output_weights: FloatArray,
    intercept: FloatArray,
) -> ConvNetwork:
    return ConvNetwork(
        geometry=_geometry(kind),
        hidden_weights=hidden_weights,
        hidden_biases=hidden_biases,
        output_weights=output_weights,
        output_biases=intercept,
        pooling=kind.pooling,
        activation=kind.activation,
        hidden_bias=kind.hidden_bias,
        classes=data.classes,
    )


def _from_filters(
    data: TrainingData,
    kind: NetworkKind,
    filters: FloatArray,
    output_weights: FloatArray,
    intercept: FloatArray,
) -> ConvNetwork:
    """Return the network of filters (m, d) with the bias last where the patches have one."""
    h = _geometry(kind).patch_size
    biases = filters[:, h] if filters.shape[1] > h else np.zeros(len(filters))
    return _network(data, kind, filters[:, :h].T, biases, output_weights, intercept)


def _linear(
    data: TrainingData,
    kind: NetworkKind,
    alpha: float,
    settings: SolverSettings,
    previous: ConvNetwork | None,
) -> TrainedConvolution:
    """Weighted pooling of linear filters: a nuclear norm, or a group lasso over frequencies.

    With an intercept hidden biases have nothing to add: they are zero at the optimum.
    """
    geometry, samples = _geometry(kind), merge_samples(data.X, data.targets, data.weight)
    n, n_outputs = samples.targets.shape
    bias = kind.hidden_bias == "penalized" and not kind.fit_intercept
    limits = asdict(settings)
    solver = limits.pop("solver")
    common: dict[str, Any] = {
        "alpha": alpha,
        "loss": data.loss,
        "sample_weight": samples.weight,
        "fit_intercept": kind.fit_intercept,
    }
    if is_circular(geometry) and not bias and n_outputs == 1:
        program = circular_program(geometry.images(samples.X), samples.targets, **common)
        begin = None
        if previous is not None:
            spectra = circular_blocks(geometry, previous.hidden_weights, previous.output_weights)
            begin = spectra, previous.output_biases
        result = solve(program, solver=solver, start=begin, **limits)
        columns, amounts = circular_weights(geometry.image_shape, result.blocks)
    else:
        patches = geometry.rows(samples.X, bias=bias).reshape(n, geometry.n_positions, -1)
        spectral = linear_conv_program(patches, samples.targets, **common)
        start = None
        if previous is not None:
            columns = network_weights(previous)[:, : patches.shape[2]].T
            start = linear_conv_blocks(columns, previous.output_weights), previous.output_biases
        result = solve_spectral(spectral, solver=solver, start=start, **limits)
        columns, amounts = linear_conv_weights(spectral, result.blocks)
    network = _from_filters(data, kind, columns.T, amounts, result.intercept)
    return TrainedConvolution(network, _patterns(data, kind, columns.T[:0]), result, "global", math.nan)


def _weighted(
    data: TrainingData,
    kind: NetworkKind,
    alpha: float,
    settings: SolverSettings,
    random_state: RandomState,
    previous: ConvNetwork | None,
) -> TrainedConvolution:
    geometry, samples = _geometry(kind), merge_samples(data.X, data.targets, data.weight)
    rows = kind.rows(samples.X)
    start = None
    if previous is not None and previous.n_neurons:
        start = network_weights(previous), previous.output_weights, previous.output_biases
    fit = weighted_training(
        rows.reshape(len(samples.X), geometry.n_positions, -1),
        samples.targets,
        samples.weight,
        data.loss,
        alpha=alpha,
        activation=kind.activation,
        fit_intercept=kind.fit_intercept,
        random_state=random_state,
        start=start,
        **asdict(settings),
    )
    network = _from_filters(data, kind, fit.hidden_weights, fit.output_weights, fit.intercept)
    patterns = _patterns(data, kind, fit.hidden_weights)
    return TrainedConvolution(network, patterns, fit.result, fit.scope, fit.violation)


def _patterns(data: TrainingData, kind: NetworkKind, filters: FloatArray) -> PatternSet:
    """Patterns of filters (m, d), without those next to cells that float64 does not resolve."""
    n_rows = len(data.X) * kind.positions
    none = PatternSet(pack_bits(np.zeros((0, n_rows), dtype=np.bool_)), np.empty((0, _width(kind))), n_rows)
    if not len(filters):
        return none
    layer = kind.layer(data.X)
    kept = layer.resolved(filters)
    return layer.patterns(filters[kept]) if kept.any() else none


def _width(kind: NetworkKind) -> int:
    """Return the number of weights of a filter, its bias among them."""
    return _geometry(kind).patch_size + (kind.hidden_bias != "none")
