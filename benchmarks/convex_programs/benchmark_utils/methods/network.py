"""The training objective minimised over all networks of one width, by descent on the weights."""

from typing import Any

import numpy as np

from benchmark_utils.problems import Problem

MODULES = ("torch", "scipy")
_WIDTH = 100
_RATES = {"adam": 0.1, "sgd": 1.0, "lbfgs": 1.0}


def ladder(_problem: Problem, _options: dict[str, Any]) -> list[int]:
    """Numbers of steps."""
    return [50, 200, 1000, 4000]


def prepare(problem: Problem, _options: dict[str, Any]) -> tuple[Problem, Any, Any]:
    """Draw the first weights, such that the network's outputs have about the size of the targets."""
    rng = np.random.default_rng(0)
    hidden = rng.standard_normal((problem.X.shape[1], _WIDTH)) / np.sqrt(problem.X.shape[1])
    output = rng.standard_normal(_WIDTH) / np.sqrt(_WIDTH)
    scale = np.sqrt(np.std(problem.y) / np.std(np.maximum(problem.X @ hidden, 0) @ output))
    return problem, scale * hidden, scale * output


def solve(prepared: tuple[Problem, Any, Any], setting: int, options: dict[str, Any]) -> dict[str, np.ndarray]:
    """Descend from the first weights."""
    problem, hidden, output = prepared
    optimizer = options["optimizer"]
    if optimizer == "scipy_lbfgs":
        return _by_scipy(problem, hidden, output, setting)
    return _by_torch(problem, hidden, output, setting, optimizer)


def _by_torch(
    problem: Problem, hidden: np.ndarray, output: np.ndarray, n_steps: int, optimizer: str
) -> dict[str, np.ndarray]:
    """Adam and SGD with a rate that falls as a cosine, full batches; L-BFGS with strong Wolfe steps."""
    import torch

    data, targets = torch.from_numpy(problem.X), torch.from_numpy(problem.y)
    U = torch.tensor(hidden, requires_grad=True)
    a = torch.tensor(output, requires_grad=True)
    rate, scale = _RATES[optimizer], 1.0 / problem.objective_at_zero
    if optimizer == "adam":
        steps: Any = torch.optim.Adam([U, a], lr=rate)
    elif optimizer == "sgd":
        steps = torch.optim.SGD([U, a], lr=rate, momentum=0.9)
    else:
        steps = torch.optim.LBFGS([U, a], lr=rate, max_iter=n_steps, line_search_fn="strong_wolfe")

    def closure() -> Any:
        steps.zero_grad()
        outputs = torch.relu(data @ U) @ a
        fit = 0.5 * torch.sum((outputs - targets) ** 2)
        loss = scale * (fit + 0.5 * problem.alpha * (torch.sum(U**2) + torch.sum(a**2)))
        loss.backward()
        if optimizer == "sgd":
            torch.nn.utils.clip_grad_norm_([U, a], 1.0)
        return loss

    if optimizer == "lbfgs":
        steps.step(closure)
    else:
        falling = torch.optim.lr_scheduler.CosineAnnealingLR(steps, n_steps)
        for _ in range(n_steps):
            steps.step(closure)
            falling.step()
    return {"hidden": U.detach().numpy(), "output": a.detach().numpy()}


def _by_scipy(
    problem: Problem, hidden: np.ndarray, output: np.ndarray, n_steps: int
) -> dict[str, np.ndarray]:
    from scipy.optimize import minimize

    X, y, alpha = problem.X, problem.y, problem.alpha

    def split(weights: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        return weights[: hidden.size].reshape(hidden.shape), weights[hidden.size :]

    def objective(weights: np.ndarray) -> tuple[float, np.ndarray]:
        U, a = split(weights)
        layer = np.maximum(X @ U, 0)
        residual = layer @ a - y
        gradient_U = X.T @ ((layer > 0) * np.outer(residual, a)) + alpha * U
        gradient_a = layer.T @ residual + alpha * a
        value = 0.5 * float(residual @ residual) + 0.5 * alpha * float(weights @ weights)
        return value, np.concatenate([gradient_U.ravel(), gradient_a])

    start = np.concatenate([hidden.ravel(), output])
    options = {"maxiter": n_steps, "maxfun": 10 * n_steps, "ftol": 1e-14, "gtol": 1e-10}
    found = minimize(objective, start, jac=True, method="L-BFGS-B", options=options)
    hidden_found, output_found = split(found.x)
    return {"hidden": hidden_found, "output": output_found}
