"""The program over the patterns found so far, and how it grows and shrinks."""

from dataclasses import dataclass
from typing import cast

import numpy as np

from convexnn._typing import BoolArray, FloatArray
from convexnn.networks import TwoLayerNetwork
from convexnn.patterns import PatternSet
from convexnn.programs.masked_design import MaskedDesign
from convexnn.programs.reconstruct import blocks_from_network
from convexnn.programs.samples import Samples, merge_samples
from convexnn.programs.training_data import NetworkKind, TrainingData
from convexnn.programs.two_layer import augment, two_layer_program
from convexnn_solvers import ConvexProgram, SolveResult

__all__ = ["RestrictedPrograms"]


@dataclass(frozen=True, eq=False)
class RestrictedPrograms:
    """Programs over the same distinct samples that differ in their patterns.

    Attributes
    ----------
    data : TrainingData
    kind : NetworkKind
    alpha : float
    samples : Samples
    inputs : ndarray of shape (n, d)
        Distinct samples as the hidden layer sees them.
    penalized : ndarray of bool, shape (d,)
    """

    data: TrainingData
    kind: NetworkKind
    alpha: float
    samples: Samples
    inputs: FloatArray
    penalized: BoolArray

    @classmethod
    def of(cls, data: TrainingData, kind: NetworkKind, alpha: float) -> "RestrictedPrograms":
        """Merge the samples."""
        samples = merge_samples(data.X, data.targets, data.weight)
        inputs = augment(samples.X, kind.hidden_bias)
        penalized = np.ones(inputs.shape[1], dtype=bool)
        penalized[-1] = kind.hidden_bias != "free"
        return cls(data, kind, alpha, samples, inputs, penalized)

    def program(self, patterns: PatternSet) -> ConvexProgram:
        """Return the program over the given patterns of `inputs`."""
        return two_layer_program(
            self.samples.X,
            self.samples.targets,
            patterns,
            alpha=self.alpha,
            loss=self.data.loss,
            activation=self.kind.activation,
            hidden_bias=self.kind.hidden_bias,
            fit_intercept=self.kind.fit_intercept,
            sample_weight=self.samples.weight,
        )

    def patterns(self, weights: FloatArray) -> PatternSet:
        """Return the distinct patterns of hidden weights, shape (m, d)."""
        return PatternSet.from_weights(self.inputs, weights[weights.any(axis=1)])

    def grown(
        self, program: ConvexProgram, result: SolveResult, weights: FloatArray
    ) -> tuple[PatternSet, tuple[FloatArray, FloatArray]]:
        """Drop a program's patterns that its solution does not use, add those of `weights` (m, d).

        Returns
        -------
        patterns : PatternSet
        start : tuple of ndarrays
            The solution as a point of the program over these.
        """
        patterns = cast(MaskedDesign, program.design).patterns
        used = np.flatnonzero(result.blocks.any(axis=(0, 1, 3)))
        larger = patterns.take(used)
        if weights.any():
            larger = larger.union(self.patterns(weights))
        if not len(larger):
            larger = patterns.take([0])
        signs, outputs, _, d = result.blocks.shape
        blocks = np.zeros((signs, outputs, len(larger), d))
        blocks[:, :, : len(used)] = result.blocks[:, :, used]
        return larger, (blocks, result.intercept)

    def gain(self, theta: FloatArray) -> tuple[FloatArray, FloatArray]:
        """Return t (n,) and g0 (d,) with ``theta . phi(X u) = g0 . u + sum_i t_i max(x_i . u, 0)``.

        The sum of theta (n,) is taken as zero where the bias has no norm.
        """
        phi = self.kind.activation
        linear = np.where(self.penalized, phi.off * (theta @ self.inputs), 0.0)
        return (phi.on - phi.off) * theta, linear

    def start(self, program: ConvexProgram, network: TwoLayerNetwork) -> tuple[FloatArray, FloatArray]:
        """Return the point of a program that has all patterns of a network."""
        return blocks_from_network(program, network)
