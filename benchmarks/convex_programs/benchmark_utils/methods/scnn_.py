"""pyscnn: augmented Lagrangian for relu, R-FISTA for gated, in float64 (Mishkin et al., ICML 2022)."""

from typing import Any

import numpy as np

from benchmark_utils.problems import Problem

MODULES = ("scnn", "torch")


def ladder(problem: Problem, _options: dict[str, Any]) -> list[float]:
    """Tolerances on squared norms of the minimum-norm subgradient; 1e-6 is pyscnn's own."""
    return [1e-6, 1e-9, 1e-12] if problem.program == "relu" else [1e-6, 1e-8, 1e-10, 1e-12, 1e-14]


def prepare(problem: Problem, _options: dict[str, Any]) -> tuple[Problem, np.ndarray]:
    """Find the order in which pyscnn will put the patterns."""
    _, order = np.unique(problem.masks, axis=0, return_index=True)
    return problem, order


def solve(
    prepared: tuple[Problem, np.ndarray], setting: float, _options: dict[str, Any]
) -> dict[str, np.ndarray]:
    """Solve; the loss of pyscnn is a mean, so that its strength is alpha / n."""
    from scnn.metrics import Metrics
    from scnn.models import ConvexGatedReLU, ConvexReLU
    from scnn.optimize import optimize_model
    from scnn.regularizers import NeuronGL1
    from scnn.solvers import AL, RFISTA

    problem, order = prepared
    n = len(problem.y)
    if problem.program == "relu":
        model = ConvexReLU(problem.gates.T)
        solver = AL(model, tol=setting, constraint_tol=setting)
    else:
        model = ConvexGatedReLU(problem.gates.T)
        solver = RFISTA(model, tol=setting, max_iters=100_000)
    fitted, _ = optimize_model(
        model,
        solver,
        Metrics(),
        problem.X,
        problem.y[:, None],
        regularizer=NeuronGL1(problem.alpha / n),
        return_convex=True,
        unitize_data=False,
        dtype="float64",
    )
    blocks = np.zeros((problem.signs, *problem.gates.shape))
    for own, found in zip(blocks, fitted.get_parameters(), strict=True):
        own[order] = np.asarray(found)[0]
    return {"blocks": blocks}
