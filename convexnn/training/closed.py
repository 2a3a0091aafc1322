"""Training of linear convolutional networks: convex programs that need no patterns."""

from typing import Any

import numpy as np

from convexnn._typing import FloatArray
from convexnn.networks import ConvNetwork, Network
from convexnn.patches import PatchGeometry
from convexnn.problem import Problem, assemble_network, network_weights
from convexnn.programs.linear_conv import (
    circular_blocks,
    circular_program,
    circular_weights,
    is_circular,
    linear_conv_blocks,
    linear_conv_program,
    linear_conv_weights,
)
from convexnn.training.fit import Fit
from convexnn.training.options import TrainingOptions
from convexnn_solvers import SolveResult, solve, solve_spectral
from convexnn_solvers.clock import Clock

__all__ = ["train_linear"]


def train_linear(
    problem: Problem, options: TrainingOptions, clock: Clock, previous: Network | None = None
) -> Fit:
    """Train linear filters with weighted pooling: a nuclear norm, or a group lasso over frequencies.

    Parameters
    ----------
    problem : Problem
        Of a convolutional kind with the activation "linear".
    options : TrainingOptions
    clock : Clock
    previous : ConvNetwork, optional
        A network of the same kind that the result shall not be worse than.

    Returns
    -------
    Fit
        Of scope "global": both programs are over networks of any width.
    """
    geometry = problem.kind.patches
    if geometry is None:
        raise ValueError("A linear network needs the geometry of its patches. Got a dense kind.")
    # With an intercept hidden biases have nothing to add: they are zero at the optimum.
    bias = problem.kind.hidden_bias == "penalized" and not problem.fit_intercept
    before = previous if isinstance(previous, ConvNetwork) else None
    if is_circular(geometry) and not bias and problem.n_outputs == 1:
        filters, output_weights, result = _in_frequencies(problem, geometry, options, clock, before)
    else:
        filters, output_weights, result = _nuclear(problem, geometry, bias, options, clock, before)
    weights = np.zeros((len(filters), len(problem.frame.centre)))
    weights[:, : filters.shape[1]] = filters
    network = assemble_network(
        problem.kind, weights, output_weights, result.intercept, classes=problem.data.classes
    )
    return Fit(problem, network, result, problem.no_patterns(), "global")


def _arguments(problem: Problem) -> dict[str, Any]:
    return {
        "alpha": problem.alpha,
        "loss": problem.loss,
        "sample_weight": problem.sample_weight,
        "fit_intercept": problem.fit_intercept,
    }


def _limits(options: TrainingOptions, clock: Clock) -> dict[str, Any]:
    return {
        "tol": options.tol,
        "max_iter": options.max_iter,
        "time_limit": clock,
        "verbose": options.verbose,
    }


def _in_frequencies(
    problem: Problem,
    geometry: PatchGeometry,
    options: TrainingOptions,
    clock: Clock,
    previous: ConvNetwork | None,
) -> tuple[FloatArray, FloatArray, SolveResult]:
    """Return filters (m, h), output weights (m, K, q) and result of the group lasso over frequencies."""
    program = circular_program(geometry.images(problem.samples.X), problem.targets, **_arguments(problem))
    start = None
    if previous is not None:
        spectra = circular_blocks(geometry, previous.hidden_weights, previous.output_weights)
        start = spectra, previous.output_biases
    result = solve(program, solver=options.solver, start=start, **_limits(options, clock))
    filters, output_weights = circular_weights(geometry.image_shape, result.blocks)
    return filters.T, output_weights, result


def _nuclear(
    problem: Problem,
    geometry: PatchGeometry,
    bias: bool,
    options: TrainingOptions,
    clock: Clock,
    previous: ConvNetwork | None,
) -> tuple[FloatArray, FloatArray, SolveResult]:
    """Return the same of the program with a nuclear norm."""
    patches = geometry.rows(problem.samples.X, bias=bias)
    patches = patches.reshape(len(problem.targets), geometry.n_positions, -1)
    program = linear_conv_program(patches, problem.targets, **_arguments(problem))
    start = None
    if previous is not None:
        filters = network_weights(previous)[:, : patches.shape[2]].T
        start = linear_conv_blocks(filters, previous.output_weights), previous.output_biases
    result = solve_spectral(program, start=start, **_limits(options, clock))
    filters, output_weights = linear_conv_weights(program, result.blocks)
    return filters.T, output_weights, result
