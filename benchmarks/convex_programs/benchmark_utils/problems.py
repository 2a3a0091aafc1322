"""The problems: data with a column of ones, gates that stand for the patterns, and alpha."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

__all__ = ["Problem", "all_patterns", "distinct_gates", "planted", "standardised"]

Array = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Problem:
    """One training problem, for both programs.

    Attributes
    ----------
    name : str
        Its letter.
    X : ndarray of shape (n, d)
        The column of ones, which stands for the penalised hidden bias, included.
    y : ndarray of shape (n,)
    gates : ndarray of shape (P, d)
        The patterns are ``1[X g >= 0]``: distinct and not zero.
    alpha : float
        Of ``1/2 |sum_i D_i X (v_i - w_i) - y|^2 + alpha sum_i (|v_i| + |w_i|)``.
    program : {"relu", "gated"}
        With cones, or without them and without the ``w_i``.
    """

    name: str
    X: Array
    y: Array
    gates: Array
    alpha: float
    program: str = "relu"

    @property
    def masks(self) -> NDArray[np.bool_]:
        """The patterns, shape (P, n)."""
        masks: NDArray[np.bool_] = self.gates @ self.X.T >= 0
        return masks

    @property
    def signs(self) -> int:
        """Number of blocks for each pattern: 2 for relu, 1 for gated."""
        return 2 if self.program == "relu" else 1

    @property
    def objective_at_zero(self) -> float:
        """Value of the program where all blocks are zero."""
        return 0.5 * float(self.y @ self.y)

    @property
    def size(self) -> int:
        """Entries of the constraint matrix of the relu program, or of the features of the gated one."""
        return self.signs * len(self.gates) * self.X.size


def standardised(X: Array) -> Array:
    """Centre and scale the columns, drop the constant ones and append a column of ones."""
    centred = X - X.mean(axis=0)
    deviation = centred.std(axis=0)
    varying = deviation > 1e-12
    return np.hstack([centred[:, varying] / deviation[varying], np.ones((len(X), 1))])


def planted(n: int, d: int, *, seed: int) -> tuple[Array, Array]:
    """Five neurons with random signs on Gaussian data, with noise of a tenth of the outputs' deviation."""
    rng = np.random.default_rng(seed)
    X = standardised(rng.standard_normal((n, d - 1)))
    outputs = np.maximum(X @ rng.standard_normal((d, 5)), 0) @ rng.choice([-1.0, 1.0], 5)
    return X, outputs + 0.1 * outputs.std() * rng.standard_normal(n)


def distinct_gates(X: Array, n_patterns: int, *, seed: int) -> Array:
    """Draw Gaussian gates until `n_patterns` of them have distinct patterns that are not zero."""
    rng = np.random.default_rng(seed)
    gates: list[Array] = []
    seen = {bytes(X.shape[0])}
    while len(gates) < n_patterns:
        for gate in rng.standard_normal((n_patterns, X.shape[1])):
            pattern = (X @ gate >= 0).tobytes()
            if pattern not in seen and len(gates) < n_patterns:
                seen.add(pattern)
                gates.append(gate)
    return np.array(gates)


def all_patterns(X: Array) -> Array:
    """Witnesses of all patterns of `X` but the zero one."""
    from convexnn import enumerate_patterns

    gates = enumerate_patterns(X).generators
    return gates[(X @ gates.T >= 0).any(axis=0)]
