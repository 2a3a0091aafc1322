"""Accelerated proximal gradient steps on all blocks at once: the smallest solver that works.

Beck and Teboulle, "A fast iterative shrinkage-thresholding algorithm for linear inverse problems", SIAM
Journal on Imaging Sciences 2, 2009, with the restart of O'Donoghue and Candes, Foundations of Computational
Mathematics 15, 2015.
"""

import numpy as np

from convexnn_solvers import Backend, Candidate, Status

__all__ = ["ProximalGradient"]


class ProximalGradient(Backend):
    """FISTA for the squared error, the intercept minimised away."""

    name = "fista"
    losses = frozenset({"squared_error"})

    def run(self, program, options, start=None):
        """Iterate until steps are small; `solve` measures how good the point is."""
        point = program.zeros() if start is None else start[0].copy()
        ahead, momentum, step = point, 1.0, 1.0 / _lipschitz(program)
        slots, n_iter = np.arange(point[..., 0].size), 0
        stopped = Status.ITERATION_LIMIT
        while n_iter < (options.max_iter or 20_000):
            n_iter += 1
            moved = ahead - step * _gradient(program, ahead)
            flat = moved.reshape(len(slots), -1)
            shrunk = program.design.shrink(slots, flat, step * program.alpha, len(slots))
            previous, point = point, shrunk.reshape(point.shape)
            change = point - previous
            if np.linalg.norm(change) <= 1e-3 * options.tol * max(np.linalg.norm(point), 1e-300):
                stopped = Status.CONVERGED
                break
            if options.clock.expired:
                stopped = Status.TIME_LIMIT
                break
            # Steps that turn back against the momentum begin anew without it.
            momentum = 1.0 if np.vdot(ahead - point, change) > 0 else momentum
            following = 0.5 * (1 + np.sqrt(1 + 4 * momentum**2))
            ahead, momentum = point + (momentum - 1) / following * change, following
        return Candidate(point, _intercept(program, point), None, stopped, n_iter, "FISTA")


def _intercept(program, blocks):
    """Return the best intercept, (K,); `solve` ignores it where the program has none."""
    outputs = program.outputs(blocks, np.zeros(program.n_outputs))
    best = program.loss.optimal_intercept(outputs, program.targets, program.sample_weight)
    return best * program.fit_intercept


def _gradient(program, blocks):
    """Gradient of the loss in all blocks at the best intercept, (S, K, P, d)."""
    outputs = program.outputs(blocks, _intercept(program, blocks))
    pull = program.loss.gradient(outputs, program.targets, program.sample_weight)
    gradient = program.design.adjoint(pull)
    return np.stack([gradient, -gradient]) if program.n_signs == 2 else gradient[None]


def _lipschitz(program):
    """Upper bound of the gradient's Lipschitz constant, by power iterations on ``A A'``."""
    vector, size = np.ones((program.design.n_samples, 1)), 1.0
    for _ in range(50):
        vector = program.design.forward(program.design.adjoint(vector / np.linalg.norm(vector)))
        size = float(np.linalg.norm(vector))
    return 1.02 * program.n_signs * program.loss.smoothness * program.sample_weight.max() * size
