"""Data, kind of networks and strength of regularisation: one problem, in the coordinates that suit it."""

from collections.abc import Hashable
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np

from convexnn._typing import FloatArray, IntArray
from convexnn.layers import HiddenLayer
from convexnn.losses import Loss
from convexnn.networks import ConvNetwork, Network, TwoLayerNetwork
from convexnn.patterns import PatternSet, pack_bits
from convexnn.problem.data import TrainingData, check_size
from convexnn.problem.frame import Frame
from convexnn.problem.kind import NetworkKind
from convexnn.problem.neurons import Neurons
from convexnn.problem.samples import Samples, merge_samples

__all__ = ["Problem", "assemble_network", "network_weights"]


@dataclass(frozen=True, eq=False)
class Problem:
    """``min sum_i s_i loss(f(x_i), y_i) + alpha/2 sum_j (|u_j|^2 + |a_j|^2)`` over networks of a kind.

    Samples of weight zero are left out and equal ones are merged, once; then their rows are centred (where
    the bias has no norm), scaled and, where they have more columns than rows, turned into their own span. All
    that trains works on `layer` and `alpha_in_frame`; `network` and `neurons` lead back and forth. The data
    as they were given stay in `data`, and objectives and certificates are computed from those.

    Attributes
    ----------
    data : TrainingData
    kind : NetworkKind
    alpha : float
        As users give it, ``>= 0``.
    samples : Samples
        Distinct ones of positive weight.
    frame : Frame
    layer : HiddenLayer
        On the distinct samples, in the coordinates of the frame.
    """

    data: TrainingData
    kind: NetworkKind
    alpha: float
    samples: Samples
    frame: Frame
    layer: HiddenLayer

    @classmethod
    def of(cls, data: TrainingData, kind: NetworkKind, alpha: float) -> "Problem":
        """Check, merge and condition.

        Raises
        ------
        ValueError
            If the modes of the biases do not fit or squares of the data overflow.
        """
        kind.check()
        check_size(data.X)
        samples = merge_samples(kind.samples(data.X), data.targets, data.weight)
        rows = kind.rows(samples.X)
        frame = Frame.of(rows, kind.hidden_bias)
        return cls(data, kind, float(alpha), samples, frame, kind.layer(frame.rows(rows)))

    def at(self, alpha: float) -> "Problem":
        """Return the problem of the same data at another strength."""
        return replace(self, alpha=float(alpha))

    @property
    def alpha_in_frame(self) -> float:
        """Strength in the coordinates of the frame, where norms are larger by its scale."""
        return self.alpha / self.frame.scale

    @property
    def constant(self) -> FloatArray | None:
        """Weights in the frame that answer one to every row; None where hidden units have no bias."""
        if self.kind.hidden_bias == "none":
            return None
        bias = np.zeros((1, len(self.frame.centre)))
        bias[0, -1] = 1.0
        constant: FloatArray = self.frame.weights(bias)[0]
        return constant

    @property
    def loss(self) -> Loss:
        """Of the data."""
        return self.data.loss

    @property
    def targets(self) -> FloatArray:
        """Of the distinct samples, (n, K)."""
        return self.samples.targets

    @property
    def sample_weight(self) -> FloatArray:
        """Of the distinct samples, (n,)."""
        return self.samples.weight

    @property
    def fit_intercept(self) -> bool:
        """Whether networks have output intercepts."""
        return self.kind.fit_intercept

    @property
    def n_outputs(self) -> int:
        """Number K of outputs."""
        return int(self.targets.shape[1])

    @property
    def shared(self) -> bool:
        """Whether neurons feed several outputs.

        Without regularisation it makes no difference; with weighted pooling they have output weights of their
        own already, and feed one output each.
        """
        asked = self.kind.multi_output == "shared" and self.kind.pooling != "weighted"
        return asked and self.n_outputs > 1 and self.alpha > 0

    @cached_property
    def original_layer(self) -> HiddenLayer:
        """The hidden layer on all samples as they were given."""
        return self.kind.layer(self._original_rows)

    @property
    def _original_rows(self) -> FloatArray:
        return self.kind.rows(self.kind.samples(self.data.X))

    def scope(self, complete: bool) -> str:
        """Return what a bound holds for: "global" or "patterns".

        Parameters
        ----------
        complete : bool
            Whether it was computed over all activation patterns.
        """
        # With separate outputs the competitors are networks whose neurons feed one of them each.
        certified = complete and (self.n_outputs == 1 or self.shared) and not self.kind.activation.gated
        return "global" if certified else "patterns"

    def best_constant(self) -> FloatArray:
        """Return the intercepts of the best network without neurons, (K,)."""
        if not self.fit_intercept:
            return np.zeros(self.n_outputs)
        return self.loss.optimal_intercept(np.zeros(self.targets.shape), self.targets, self.sample_weight)

    def patterns_of(self, weights: FloatArray) -> PatternSet | None:
        """Return the distinct patterns of weights (m, d) that are not zero; None if there are none."""
        weights = weights[weights.any(axis=1)]
        return self.layer.patterns(weights) if len(weights) else None

    def no_patterns(self) -> PatternSet:
        """Return an empty set of patterns of the distinct samples."""
        n_rows = len(self.layer.rows)
        bits = pack_bits(np.zeros((0, n_rows), dtype=np.bool_))
        return PatternSet(bits, np.empty((0, self.layer.n_weights)), n_rows)

    def given_patterns(self, patterns: PatternSet) -> PatternSet:
        """Return a user's patterns, of all samples as given, on the distinct samples.

        Raises
        ------
        ValueError
            If they are not of these data.
        """
        original = self.original_layer
        if (patterns.n_samples, patterns.n_features) != original.rows.shape:
            raise ValueError(
                f"The given patterns are of data of shape ({patterns.n_samples}, {patterns.n_features}), but "
                f"the hidden layer sees data of shape {original.rows.shape}. Compute them on the training "
                "data, with a column of ones appended unless hidden_bias='none'."
            )
        if not original.has(patterns):
            raise ValueError(
                "The given patterns disagree with the signs of their generators on the training data. "
                "Compute them on the same data, in the same order of samples."
            )
        return self.layer.patterns(self.frame.weights(patterns.generators))

    def on_all_samples(self, patterns: PatternSet) -> PatternSet:
        """Return patterns of the distinct samples on all samples, in the coordinates of the data."""
        generators = self.frame.original_weights(patterns.generators)
        if not len(patterns):
            n_rows = len(self.data.targets) * self.kind.positions
            return PatternSet(pack_bits(np.zeros((0, n_rows), dtype=np.bool_)), generators, n_rows)
        layer = self.kind.layer(self.frame.rows(self._original_rows))
        own = layer.patterns(patterns.generators)
        return PatternSet(own.bits, self.frame.original_weights(own.generators), own.n_samples)

    def network(self, neurons: Neurons) -> Network:
        """Return the balanced network of neurons in the coordinates of the frame."""
        weights = self.frame.original_weights(neurons.weights)
        gates = None if neurons.gates is None else self.frame.original_weights(neurons.gates)
        moved = replace(neurons, weights=weights, gates=gates)
        return network_from_neurons(self.kind, moved, self.data.classes)

    def neurons(self, network: Network) -> Neurons:
        """Return the neurons of a network in the coordinates of the frame.

        Where outputs are separate there is one for each output that a neuron feeds.
        """
        network = network.balanced()
        if self.shared:
            sizes = np.linalg.norm(network.output_weights, axis=1)
            fed = np.flatnonzero(sizes)
            weights = sizes[fed, None] * self.frame.weights(network_weights(network))[fed]
            directions = network.output_weights[fed] / sizes[fed, None]
            gates = None
            if network.gates is not None:
                gates = self.frame.weights(network.gates.T[fed, : len(self.frame.centre)])
            return Neurons(weights, directions, network.output_biases.copy(), gates)
        fed, outputs = np.nonzero(network.output_weights)
        amounts = network.output_weights[fed, outputs]
        weights = np.abs(amounts)[:, None] * self.frame.weights(network_weights(network))[fed]
        return Neurons.separate(weights, np.sign(amounts), outputs, network.output_biases.copy())

    def admits(self, network: Network) -> bool:
        """Whether a network is one of those that compete, so that training may start from it."""
        kind = self.kind
        if isinstance(network, ConvNetwork):
            same = (network.geometry, network.pooling) == (kind.patches, kind.pooling)
        else:
            same = kind.patches is None and network.n_features == self.data.X.shape[1]
        return (
            same
            and not kind.activation.gated
            and (network.activation, network.hidden_bias, network.n_outputs)
            == (
                kind.activation,
                kind.hidden_bias,
                self.n_outputs,
            )
        )

    def objective(self, network: Network) -> float:
        """Return ``F`` of a network on all samples as they were given, recomputed from its weights."""
        data = self.data
        outputs = network.outputs(data.X).reshape(data.targets.shape)
        return data.loss.value(outputs, data.targets, data.weight) + self.alpha * network.regularizer()

    def spread(self, theta: FloatArray) -> FloatArray:
        """Share a dual point of the distinct samples among all, in proportion to their weights."""
        samples, kept = self.samples, self.data.weight > 0
        spread = np.zeros_like(self.data.targets)
        shares = self.data.weight[kept] / samples.weight[samples.group]
        spread[kept] = theta[samples.group] * shares[:, None]
        return spread


def network_weights(network: Network) -> FloatArray:
    """Weights of the hidden units, shape (m, d), in the coordinates of the rows that they see."""
    rows = network.hidden_weights.T
    if network.hidden_bias == "none":
        return np.ascontiguousarray(rows)
    return np.hstack([rows, network.hidden_biases[:, None]])


def network_from_neurons(
    kind: NetworkKind, neurons: Neurons, classes: tuple[Hashable, ...] | None
) -> Network:
    """Return neurons as a balanced network: ``(u / sqrt|u|, sqrt|u| g)``, the norm over penalised weights."""
    penalized = neurons.weights[:, :-1] if kind.hidden_bias == "free" else neurons.weights
    root = np.sqrt(np.linalg.norm(penalized, axis=1))
    used: IntArray = np.flatnonzero(root > 0)
    scale = root[used, None]
    return assemble_network(
        kind,
        neurons.weights[used] / scale,
        scale * neurons.directions[used],
        neurons.intercept,
        classes=classes,
        gates=neurons.gates[used] if neurons.gates is not None and kind.activation.gated else None,
    )


def assemble_network(
    kind: NetworkKind,
    weights: FloatArray,
    output_weights: FloatArray,
    intercept: FloatArray,
    *,
    classes: tuple[Hashable, ...] | None,
    gates: FloatArray | None = None,
) -> Network:
    """Return the network of a kind with given weights.

    Parameters
    ----------
    kind : NetworkKind
    weights : ndarray of shape (m, d)
        Of the hidden units, the bias last where there is one.
    output_weights : ndarray of shape (m, K), or (m, positions, K) with weighted pooling
    intercept : ndarray of shape (K,)
    classes : tuple or None
        Class labels of a classifier.
    gates : ndarray of shape (m, d), optional
        Of gated units.

    Returns
    -------
    TwoLayerNetwork or ConvNetwork
    """
    has_bias = kind.hidden_bias != "none"
    slopes = weights[:, :-1] if has_bias else weights
    biases = weights[:, -1] if has_bias else np.zeros(len(weights))
    if kind.patches is not None:
        return ConvNetwork(
            geometry=kind.patches,
            hidden_weights=slopes.T,
            hidden_biases=biases,
            output_weights=output_weights,
            output_biases=intercept,
            pooling=kind.pooling,
            activation=kind.activation,
            hidden_bias=kind.hidden_bias,
            classes=classes,
        )
    if gates is not None and not has_bias:
        gates = np.hstack([gates, np.zeros((len(gates), 1))])
    return TwoLayerNetwork(
        hidden_weights=slopes.T,
        hidden_biases=biases,
        output_weights=output_weights,
        output_biases=intercept,
        activation=kind.activation,
        hidden_bias=kind.hidden_bias,
        gates=None if gates is None else gates.T,
        classes=classes,
    )
