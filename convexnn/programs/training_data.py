"""What is trained on and which networks are trained."""

from dataclasses import dataclass
from typing import Any

from convexnn._typing import FloatArray, HiddenBias, IntArray
from convexnn.activations import Activation
from convexnn.losses import Loss, encode_targets
from convexnn.networks import Pooling
from convexnn.patches import PatchGeometry
from convexnn.patterns import PatternSet
from convexnn.pricing.hidden_layer import HiddenLayer, hidden_layer
from convexnn.programs.two_layer import augment, penalized_weights

__all__ = ["NetworkKind", "TrainingData", "encode_classes"]


@dataclass(frozen=True, eq=False)
class TrainingData:
    """Validated samples.

    Attributes
    ----------
    X : ndarray of shape (n_samples, n_features)
    targets : ndarray of shape (n_samples, K)
        Encoded.
    weight : ndarray of shape (n_samples,)
        Non-negative, not all zero.
    loss : Loss
    classes : tuple or None
        Labels of a classifier, sorted.
    """

    X: FloatArray
    targets: FloatArray
    weight: FloatArray
    loss: Loss
    classes: tuple[Any, ...] | None = None


@dataclass(frozen=True, eq=False)
class NetworkKind:
    """Which networks are trained; fields as the parameters of `convexnn.ConvexMLPRegressor`.

    A convolutional network has the geometry of its patches, and a way of pooling over these.
    """

    activation: Activation
    patterns: str | int | PatternSet
    hidden_bias: HiddenBias
    fit_intercept: bool
    patches: PatchGeometry | None = None
    pooling: Pooling = "average"

    @property
    def positions(self) -> int:
        """Rows of each sample that a hidden unit sees."""
        return 1 if self.patches is None else self.patches.n_positions

    def rows(self, X: FloatArray) -> FloatArray:
        """Return what hidden units see of samples (n, p): rows of shape (n K, d) with the column of ones."""
        if self.patches is None:
            return augment(X, self.hidden_bias)
        return self.patches.rows(X, bias=self.hidden_bias != "none")

    def layer(self, X: FloatArray) -> HiddenLayer:
        """Return the hidden layer on samples (n, p)."""
        rows = self.rows(X)
        penalized = penalized_weights(rows.shape[1], self.hidden_bias)
        return hidden_layer(rows, self.positions, self.activation, penalized, self.pooling)


def encode_classes(loss: Loss, indices: IntArray, n_classes: int) -> FloatArray:
    """Encode class indices, shape (n,), as targets: one output for two classes, else one for each."""
    if n_classes == 2:
        return encode_targets(loss, 2 * indices - 1, 1)
    return encode_targets(loss, indices, n_classes)
