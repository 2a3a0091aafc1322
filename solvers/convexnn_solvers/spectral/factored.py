"""Newton steps on the factors of a matrix of low rank, where a program with a nuclear norm is smooth.

With ``Z = U V'`` the program becomes ``min L(<X_i, U V'> + c) + alpha/2 (|U|^2 + |V|^2)``: its value is that
of the nuclear norm at balanced factors and nowhere below. It is not convex, but at an optimum of the program
its Hessian is positive semidefinite; elsewhere a shift by the excess of the gradient's norm over ``alpha``
makes it so.

References
----------
Burer and Monteiro, "A nonlinear programming algorithm for solving semidefinite programs via low-rank
factorization", Mathematical Programming 95, 2003; Abernethy, Bach, Evgeniou and Vert, "A new approach to
collaborative filtering", JMLR 10, 2009.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from scipy import linalg
from scipy.sparse.linalg import LinearOperator, minres

from convexnn_solvers._typing import FloatArray
from convexnn_solvers.curvature import Curvature
from convexnn_solvers.spectral.program import SpectralProgram, operator_norm
from convexnn_solvers.threads import in_parts

__all__ = ["FactoredModel", "Factors", "balanced"]


@dataclass(frozen=True, eq=False)
class Factors:
    """``Z = left right'`` and the intercept, or a step from such a point.

    Attributes
    ----------
    left : ndarray of shape (K m, r)
    right : ndarray of shape (h, r)
    intercept : ndarray of shape (K,)
    """

    left: FloatArray
    right: FloatArray
    intercept: FloatArray

    def moved(self, step: "Factors", length: float) -> "Factors":
        """Return the point `length` steps further."""
        return Factors(
            self.left + length * step.left,
            self.right + length * step.right,
            self.intercept + length * step.intercept,
        )

    def flat(self) -> FloatArray:
        """All numbers in a row."""
        return np.concatenate([self.left.ravel(), self.right.ravel(), self.intercept])

    def like(self, flat: FloatArray) -> "Factors":
        """Return the factors of these shapes whose numbers are `flat`."""
        left, right, intercept = np.split(flat, np.cumsum([self.left.size, self.right.size]))
        return Factors(left.reshape(self.left.shape), right.reshape(self.right.shape), intercept)


def balanced(matrix: FloatArray, intercept: FloatArray) -> Factors:
    """Return the factors ``(U sqrt(s), V sqrt(s))`` of all singular values above rounding."""
    U, s, Vt = linalg.svd(matrix, full_matrices=False)
    rounding = max(matrix.shape) * float(np.finfo(np.float64).eps) * s.max(initial=0.0)
    rank = int((s > rounding).sum())
    root = np.sqrt(s[:rank])
    return Factors(U[:, :rank] * root, Vt[:rank].T * root, intercept)


class FactoredModel:
    """Gradient and shifted Hessian of the factored program at a point.

    Parameters
    ----------
    program : SpectralProgram
        With a smooth loss.
    at : Factors
        Balanced.
    """

    def __init__(self, program: SpectralProgram, at: Factors) -> None:
        self.at, self._intercept = at, float(program.fit_intercept)
        n, m, h = program.design.matrices.shape
        blocks = (at.left @ at.right.T).reshape(program.block_shape)
        outputs = program.outputs(blocks, at.intercept)
        residual = program.loss.gradient(outputs, program.targets, program.sample_weight)
        self._curvature = Curvature(*program.loss.curvature(outputs, program.targets, program.sample_weight))
        self._slope = program.design.adjoint(residual).reshape(program.matrix_shape)
        self._shift = max(program.alpha, operator_norm(self._slope))
        # Derivatives of the outputs: in each output's left factor (n, m r), in the right one (n K, h r).
        self._on_left = (program.design.matrices.reshape(n * m, h) @ at.right).reshape(n, -1)
        lefts = at.left.reshape(program.n_outputs, m, -1)
        on_right = np.einsum("nmh,kmr->nkhr", program.design.matrices, lefts, optimize=True)
        self._on_right = on_right.reshape(n * program.n_outputs, -1)
        self.gradient = Factors(
            self._slope @ at.right + program.alpha * at.left,
            self._slope.T @ at.left + program.alpha * at.right,
            self._intercept * residual.sum(axis=0),
        )

    def _outputs(self, step: Factors) -> FloatArray:
        """Change of the outputs to first order, shape (n, K)."""
        n_samples, n_outputs = self._curvature.diagonal.shape
        columns = step.left.reshape(n_outputs, -1).T
        change = np.empty((n_samples, n_outputs))

        def work(part: slice) -> None:
            np.matmul(self._on_left[part], columns, out=change[part])

        in_parts(work, n_samples, 2.0 * self._on_left.size * n_outputs)
        change += (self._on_right @ step.right.ravel()).reshape(change.shape)
        return change + step.intercept

    def _adjoint(self, dual: FloatArray) -> Factors:
        """Transpose of `_outputs`."""
        left = np.empty((dual.shape[1], self._on_left.shape[1]))

        def work(part: slice) -> None:
            np.matmul(dual.T, self._on_left[:, part], out=left[:, part])

        in_parts(work, left.shape[1], 2.0 * self._on_left.size * dual.shape[1])
        right = (dual.ravel() @ self._on_right).reshape(self.at.right.shape)
        return Factors(left.reshape(self.at.left.shape), right, self._intercept * dual.sum(axis=0))

    def product(self, step: Factors) -> Factors:
        """Product of the shifted Hessian, positive semidefinite, with a step."""
        bent = self._curvature.times(self._outputs(step))
        curved = self._adjoint(bent)
        return Factors(
            curved.left + self._slope @ step.right + self._shift * step.left,
            curved.right + self._slope.T @ step.left + self._shift * step.right,
            curved.intercept,
        )

    def newton_step(
        self, accuracy: float, max_products: int, check: Callable[[], None]
    ) -> tuple[Factors, float]:
        """Return the Newton step and the slope of the factored objective along it, negative.

        Parameters
        ----------
        accuracy : float
            Residual that solves the Newton system well enough, relative to the gradient.
        max_products : int
        check : callable
            Called at each product with the Hessian; may raise to give up.
        """

        def apply(flat: FloatArray) -> FloatArray:
            check()
            return self.product(self.at.like(flat)).flat()

        right_side = -self.gradient.flat()
        hessian = LinearOperator((right_side.size, right_side.size), matvec=apply, dtype=np.float64)
        solution, _ = minres(hessian, right_side, rtol=accuracy, maxiter=max_products)
        return self.at.like(solution), -float(solution @ right_side)
