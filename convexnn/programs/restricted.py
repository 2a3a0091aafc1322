"""The program over the patterns found so far, and how it grows and shrinks."""

from dataclasses import dataclass
from typing import cast

import numpy as np

from convexnn._typing import FloatArray
from convexnn.patterns import PatternSet
from convexnn.pricing.hidden_layer import HiddenLayer
from convexnn.programs.masked_design import MaskedDesign
from convexnn.programs.samples import Samples, merge_samples
from convexnn.programs.training_data import NetworkKind, TrainingData
from convexnn.programs.two_layer import check_bias, check_size, layer_program
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
    layer : HiddenLayer
        Of the distinct samples.
    """

    data: TrainingData
    kind: NetworkKind
    alpha: float
    samples: Samples
    layer: HiddenLayer

    @classmethod
    def of(cls, data: TrainingData, kind: NetworkKind, alpha: float) -> "RestrictedPrograms":
        """Merge the samples.

        Raises
        ------
        ValueError
            If the modes of the biases do not fit or squares of the data overflow.
        """
        check_bias(kind.hidden_bias, kind.fit_intercept, kind.activation)
        samples = merge_samples(data.X, data.targets, data.weight)
        layer = kind.layer(samples.X)
        check_size(layer.rows)
        return cls(data, kind, alpha, samples, layer)

    def program(self, patterns: PatternSet) -> ConvexProgram:
        """Return the program over the given patterns of the layer's rows."""
        return layer_program(
            self.layer,
            patterns,
            self.samples,
            alpha=self.alpha,
            loss=self.data.loss,
            fit_intercept=self.kind.fit_intercept,
        )

    def patterns(self, weights: FloatArray) -> PatternSet:
        """Return the distinct patterns of hidden weights, shape (m, d)."""
        return self.layer.patterns(weights[weights.any(axis=1)])

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
