"""CRONOS: ADMM whose linear systems are solved by conjugate gradients with a Nystrom preconditioner.

It comes as a repository, not as a package: ``CONVEXNN_BENCH_CRONOS`` names the folder of a checkout. Its
`admm` needs validation data, so its step is driven here: the same operators, preconditioner and updates.
"""

import os
import sys
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np

from benchmark_utils.problems import Problem

sys.path.insert(0, os.environ.get("CONVEXNN_BENCH_CRONOS", ""))
MODULES = ("jax", "optimizers")
_RANK = 20
_PCG_STEPS = 32


def ladder(_problem: Problem, _options: dict[str, Any]) -> list[int]:
    """Numbers of iterations."""
    return [100, 1000, 10000]


def _import_parts() -> None:
    """Import the modules needed, past their packages' own initialisation, which wants a GPU and data."""
    folder = Path(os.environ["CONVEXNN_BENCH_CRONOS"])
    for name in ("models", "optimizers", "preconditioner", "utils"):
        package = ModuleType(name)
        package.__path__ = [str(folder / name)]
        sys.modules[name] = package
    operators = import_module("utils.linops_utils")
    sys.modules["utils"].__dict__.update(vars(operators))


def prepare(problem: Problem, options: dict[str, Any]) -> Any:
    """Build the model with the patterns given, and its preconditioner; the strength is a sum's, as here."""
    import jax
    import jax.numpy as jnp

    jax.config.update("jax_enable_x64", True)
    if "models" not in sys.modules:
        _import_parts()
    from models.cvx_relu_mlp import CVX_ReLU_MLP

    masks = jnp.asarray(problem.masks.T, dtype=jnp.float64)
    model = CVX_ReLU_MLP(
        jnp.asarray(problem.X),
        jnp.asarray(problem.y),
        len(problem.gates),
        problem.alpha,
        options["rho"],
        jax.random.PRNGKey(0),
        masks,
        2 * masks - 1,
    )
    return problem, model


def warm_up(prepared: Any, options: dict[str, Any]) -> None:
    """Compile for these shapes."""
    solve(prepared, 1, options)


def solve(prepared: Any, setting: int, options: dict[str, Any]) -> dict[str, np.ndarray]:
    """Iterate; of ADMM's two copies the one that is sparse is returned."""
    import jax
    import jax.numpy as jnp
    from optimizers.pcg import pcg
    from preconditioner.nystrom import Nys_Precond, rand_nys_appx
    from utils.proximal_utils import proxl2_tensor

    (problem, model), rho = prepared, options["rho"]
    n, d = problem.X.shape
    n_patterns = len(problem.gates)
    U, S, _ = rand_nys_appx(model, _RANK, "CReLU", jax.random.PRNGKey(0))
    precond = Nys_Precond(U, S, d, rho, n_patterns, "CReLU")
    v = lam = jnp.zeros((2, d, n_patterns))
    s = nu = jnp.zeros((2, n, n_patterns))
    constant = model.rmatvec_F(model.y) / rho
    for _ in range(setting):
        u, _, _ = pcg(constant + v - lam + model.rmatvec_G(s - nu), model, precond, _PCG_STEPS)
        v = jnp.stack([proxl2_tensor(u[k] + lam[k], beta=problem.alpha, gamma=1 / rho) for k in range(2)])
        inside = model.matvec_G(u)
        s = jax.nn.relu(inside + nu)
        lam = lam + u - v
        nu = nu + inside - s
    return {"blocks": np.asarray(v).transpose(0, 2, 1)}
