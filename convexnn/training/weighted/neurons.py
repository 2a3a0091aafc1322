r"""Convolutional networks with weighted pooling: their objective, and the group lasso of fixed filters.

Sample i has K patches ``x_ik``. A neuron of filter ``u_j`` and amounts ``a_j`` in R^K adds
``sum_k phi(x_ik . u_j) a_jk`` to one output. With balanced weights the training objective is

.. math:: F = L(f) + \frac\alpha2 \sum_j (|u_j|^2 + |a_j|^2) = L(f) + \alpha \sum_j |u_j| |a_j|,

so that over filters of norm one it is a group lasso in the amounts.
"""

from dataclasses import dataclass, replace
from functools import cached_property
from typing import Self

import numpy as np

from convexnn._jit import kernel
from convexnn._typing import BoolArray, FloatArray, IntArray
from convexnn.activations import Activation
from convexnn.designs.explicit_design import ExplicitDesign
from convexnn.layers import WeightedLayer
from convexnn.losses import Loss
from convexnn.problem import Problem
from convexnn_solvers import ConvexProgram, SolveResult

__all__ = ["WeightedNeurons", "WeightedProblem"]

# Entries of the arrays of one batch of samples, which then stay in the cache.
_ENTRIES = 50_000


@dataclass(frozen=True, eq=False)
class WeightedNeurons:
    """A network whose neurons feed one output each.

    Attributes
    ----------
    weights : ndarray of shape (m, d)
        Filters ``u_j``.
    amounts : ndarray of shape (m, K)
        ``a_j``, one for each position.
    outputs : ndarray of int, shape (m,)
        Which output each neuron feeds.
    intercept : ndarray of shape (q,)
    """

    weights: FloatArray
    amounts: FloatArray
    outputs: IntArray
    intercept: FloatArray

    def __len__(self) -> int:
        """Return the number of neurons."""
        return len(self.weights)

    def take(self, which: IntArray | BoolArray) -> "WeightedNeurons":
        """Return some of the neurons."""
        return replace(
            self, weights=self.weights[which], amounts=self.amounts[which], outputs=self.outputs[which]
        )

    def sizes(self) -> FloatArray:
        """``|u_j| |a_j|``, (m,)."""
        sizes: FloatArray = np.linalg.norm(self.weights, axis=1) * np.linalg.norm(self.amounts, axis=1)
        return sizes

    def balanced(self) -> "WeightedNeurons":
        """Return the same network with ``|u_j| = |a_j|``, without neurons that are zero."""
        kept = self.take(self.sizes() > 0)
        scale = np.sqrt(np.linalg.norm(kept.amounts, axis=1) / np.linalg.norm(kept.weights, axis=1))
        return replace(kept, weights=kept.weights * scale[:, None], amounts=kept.amounts / scale[:, None])

    def directions(self) -> FloatArray:
        """``u_j / |u_j|``, (m, d)."""
        directions: FloatArray = self.weights / np.linalg.norm(self.weights, axis=1, keepdims=True)
        return directions

    def output_weights(self) -> FloatArray:
        """Amounts of every output, (m, K, q)."""
        full = np.zeros((*self.amounts.shape, len(self.intercept)))
        full[np.arange(len(self)), :, self.outputs] = self.amounts
        return full

    @classmethod
    def of(cls, weights: FloatArray, output_weights: FloatArray, intercept: FloatArray) -> "WeightedNeurons":
        """Return one neuron for each output that a filter feeds; arrays (m, d), (m, K, q) and (q,)."""
        fed, outputs = np.nonzero(output_weights.any(axis=1))
        amounts = output_weights[fed, :, outputs]
        return cls(weights[fed], amounts, outputs, intercept.copy()).balanced()


@dataclass(frozen=True, eq=False)
class WeightedProblem:
    """Data of the objective.

    Attributes
    ----------
    patches : ndarray of shape (n, K, d)
        As the filters see them; all coordinates are penalised.
    targets : ndarray of shape (n, q)
    sample_weight : ndarray of shape (n,)
    loss : Loss
    alpha : float
        Positive.
    activation : Activation
        Not gated.
    fit_intercept : bool
    """

    patches: FloatArray
    targets: FloatArray
    sample_weight: FloatArray
    loss: Loss
    alpha: float
    activation: Activation
    fit_intercept: bool

    @classmethod
    def of(cls, problem: Problem) -> Self:
        """Return the objective of a problem with weighted pooling, in the coordinates of its frame."""
        layer = problem.layer
        patches = layer.rows.reshape(layer.n_samples, layer.positions, layer.n_weights)
        return cls(
            patches,
            problem.targets,
            problem.sample_weight,
            problem.loss,
            problem.alpha_in_frame,
            problem.kind.activation,
            problem.fit_intercept,
        )

    def __post_init__(self) -> None:
        """Check shapes, alpha and activation."""
        n = len(self.patches)
        if self.patches.ndim != 3 or self.targets.shape[:1] != (n,) or self.targets.ndim != 2:
            raise ValueError(
                "Weighted pooling takes patches of shape (n, K, d) and targets of shape (n, q). "
                f"Got {self.patches.shape} and {self.targets.shape}; stack the patches of each sample."
            )
        if not self.alpha > 0:
            raise ValueError(f"Weighted pooling needs a positive alpha. Got {self.alpha!r}; try 1e-6.")
        if self.activation.gated:
            raise ValueError(
                f"Weighted pooling has no gated form. Got the activation {self.activation.name!r}; "
                "choose 'relu', 'leaky_relu' or 'absolute_value'."
            )

    @property
    def rows(self) -> FloatArray:
        """All patches, sample after sample, (n * K, d)."""
        return self.patches.reshape(-1, self.patches.shape[2])

    @cached_property
    def layer(self) -> WeightedLayer:
        """The filters' layer, all of whose weights are penalised."""
        _, n_positions, d = self.patches.shape
        return WeightedLayer(self.rows, n_positions, self.activation, np.ones(d, dtype=np.bool_))

    @cached_property
    def lengths(self) -> FloatArray:
        """Norms of the rows, (n * K,)."""
        return np.asarray(np.linalg.norm(self.rows, axis=1))

    def empty(self) -> WeightedNeurons:
        """Return the best network without neurons."""
        _, n_positions, d = self.patches.shape
        intercept = np.zeros(self.targets.shape[1])
        if self.fit_intercept:
            zero = np.zeros(self.targets.shape)
            intercept = self.loss.optimal_intercept(zero, self.targets, self.sample_weight)
        return WeightedNeurons(
            np.zeros((0, d)), np.zeros((0, n_positions)), np.zeros(0, dtype=np.intp), intercept
        )

    def layer_outputs(self, neurons: WeightedNeurons) -> FloatArray:
        """``f`` of shape (n, q)."""
        n, n_positions, _ = self.patches.shape
        outputs = np.tile(neurons.intercept, (n, 1))
        feeds = np.eye(len(neurons.intercept))[neurons.outputs]
        step = max(1, _ENTRIES // max(1, n_positions * len(neurons)))
        for low in range(0, n, step):
            layer = self.activation(self.patches[low : low + step] @ neurons.weights.T)
            outputs[low : low + step] += (layer * neurons.amounts.T).sum(axis=1) @ feeds
        return outputs

    def value(self, neurons: WeightedNeurons) -> float:
        """``F``, from the weights as they are."""
        fit = self.loss.value(self.layer_outputs(neurons), self.targets, self.sample_weight)
        return fit + 0.5 * self.alpha * float(np.sum(neurons.weights**2) + np.sum(neurons.amounts**2))

    def value_and_gradient(
        self, neurons: WeightedNeurons, width: FloatArray
    ) -> tuple[float, FloatArray, FloatArray, FloatArray]:
        """``F`` with kinks rounded off, and its gradients in weights, amounts and intercept.

        The kink of neuron ``j`` at the patch ``x`` is a parabola within ``width[j] |x|``.
        """
        n, n_positions, _ = self.patches.shape
        m, feeds = len(neurons), np.eye(len(neurons.intercept))[neurons.outputs].T
        value = 0.5 * self.alpha * float(np.sum(neurons.weights**2) + np.sum(neurons.amounts**2))
        by_weights, by_amounts = self.alpha * neurons.weights, self.alpha * neurons.amounts
        by_intercept = np.zeros(len(neurons.intercept))
        step = max(1, _ENTRIES // max(1, n_positions * m))
        for low in range(0, n, step):
            part = slice(low, low + step)
            rows = slice(low * n_positions, (low + step) * n_positions)
            layer, slopes = self.rounded(rows, neurons.weights, width)
            layer = layer.reshape(m, -1, n_positions)
            outputs = (feeds @ (layer @ neurons.amounts[:, :, None])[:, :, 0]).T + neurons.intercept
            value += self.loss.value(outputs, self.targets[part], self.sample_weight[part])
            pull = self.loss.gradient(outputs, self.targets[part], self.sample_weight[part])
            by_intercept += pull.sum(axis=0)
            pulls = pull.T[neurons.outputs]
            by_amounts += (pulls[:, None, :] @ layer)[:, 0, :]
            slopes *= (pulls[:, :, None] * neurons.amounts[:, None, :]).reshape(m, -1)
            by_weights += slopes @ self.rows[rows]
        return value, by_weights, by_amounts, by_intercept * self.fit_intercept

    def rounded(self, rows: slice, weights: FloatArray, width: FloatArray) -> tuple[FloatArray, FloatArray]:
        """Activation and its slope, (m, N), at N of the rows, with kinks rounded off within widths (m,)."""
        layer: FloatArray = weights @ self.rows[rows].T
        slopes = np.empty_like(layer)
        _bend(layer, slopes, self.lengths[rows], width, self.activation.on, self.activation.off)
        return layer, slopes

    def program(self, directions: FloatArray) -> ConvexProgram:
        """Return the group lasso over filters of norm one, (P, d)."""
        features = self.activation(self.patches @ directions.T)
        design = ExplicitDesign(np.ascontiguousarray(features.transpose(0, 2, 1)))
        return ConvexProgram(
            design, self.targets, self.loss, self.alpha, self.sample_weight, self.fit_intercept
        )

    def point(self, program: ConvexProgram, neurons: WeightedNeurons) -> tuple[FloatArray, FloatArray]:
        """Return the point of a program whose first directions are those of the neurons."""
        blocks = program.zeros()
        scale = np.linalg.norm(neurons.weights, axis=1)
        blocks[0, neurons.outputs, np.arange(len(neurons))] = scale[:, None] * neurons.amounts
        return blocks, neurons.intercept

    @staticmethod
    def neurons(directions: FloatArray, result: SolveResult) -> WeightedNeurons:
        """Return the balanced neurons of a program's solution."""
        output_weights = result.blocks[0].transpose(1, 2, 0)
        return WeightedNeurons.of(directions, output_weights, result.intercept)


@kernel
def _bend(
    products: FloatArray, slopes: FloatArray, lengths: FloatArray, width: FloatArray, on: float, off: float
) -> None:
    """Replace products by the activation's values, and fill in its slopes.

    Within ``width[j] * lengths[i]`` of zero the kink is a parabola.
    """
    bend = on - off
    for j in range(products.shape[0]):
        for i in range(products.shape[1]):
            t, reach = products[j, i], width[j] * lengths[i]
            if t >= reach and t > 0:
                products[j, i], slopes[j, i] = on * t, on
            elif t <= -reach:
                products[j, i], slopes[j, i] = off * t, off
            else:
                share = (t + reach) / (2 * reach)
                products[j, i], slopes[j, i] = off * t + bend * reach * share * share, off + bend * share
