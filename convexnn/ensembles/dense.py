"""Sub-models of fitted dense networks: random subsets of their hidden units, as dropout trains them."""

import sys
from collections.abc import Iterator
from dataclasses import dataclass, fields
from typing import Any, Literal, TypeAlias

import numpy as np
from numpy.typing import ArrayLike
from scipy.special import expit
from sklearn.base import is_classifier
from sklearn.frozen import FrozenEstimator
from sklearn.utils import check_array, gen_batches
from sklearn.utils.validation import check_is_fitted

from convexnn._parameters import checked_count, checked_rate
from convexnn._typing import BoolArray, FloatMatrix, IntArray
from convexnn.activations import Activation
from convexnn.ensembles.submodels import MOST_BYTES, draw_masks
from convexnn.labels import class_probabilities
from convexnn.networks import TwoLayerNetwork

__all__ = ["DenseSubModels", "is_dense", "is_sklearn_mlp"]

Link: TypeAlias = Literal["identity", "exp", "probabilities"]

_WIDEST_PRODUCT = 512
"""Most columns, sub-models times outputs, of one matrix product: enough for its full speed."""


@dataclass(frozen=True, eq=False)
class _DenseLayers:
    """Weights of a dense network; `activation` is a name of scikit-learn's or one of this package's."""

    coefs: list[FloatMatrix]
    intercepts: list[FloatMatrix]
    activation: str | Activation
    link: Link
    gates: FloatMatrix | None = None

    @property
    def hidden_units(self) -> list[int]:
        """Number of units of each hidden layer."""
        return [len(bias) for bias in self.intercepts[:-1]]

    def first(self, X: FloatMatrix) -> FloatMatrix:
        """Return the units of the first hidden layer, (n_samples, n_units)."""
        values: Any = X @ self.coefs[0]
        values += self.intercepts[0]
        gate: Any = None if self.gates is None else X @ self.gates[:-1] + self.gates[-1]
        return self.activated(values, gate)

    def activated(self, values: Any, gate: Any = None) -> FloatMatrix:
        """Apply the activation; may overwrite the values."""
        if isinstance(self.activation, Activation):
            values = self.activation(values, gate)
        elif self.activation == "relu":
            np.maximum(values, 0, out=values)
        elif self.activation == "tanh":
            np.tanh(values, out=values)
        elif self.activation == "logistic":
            expit(values, out=values)
        return np.asarray(values)

    def linked(self, outputs: FloatMatrix) -> FloatMatrix:
        """Return raw outputs as predictions or class probabilities; may overwrite them."""
        if self.link == "probabilities":
            return class_probabilities(outputs)
        return np.exp(outputs, out=outputs) if self.link == "exp" else outputs


def _unfrozen(estimator: Any) -> Any:
    """Return what a FrozenEstimator holds, and other estimators as they are."""
    while isinstance(estimator, FrozenEstimator):
        estimator = estimator.estimator
    return estimator


def is_sklearn_mlp(estimator: Any) -> bool:
    """Whether an estimator is one of scikit-learn's networks, without importing them where none exists."""
    module = sys.modules.get("sklearn.neural_network")
    return module is not None and isinstance(estimator, module.MLPClassifier | module.MLPRegressor)


def is_dense(estimator: Any) -> bool:
    """Whether the weights of a fitted estimator can be read as those of a dense network.

    Parameters
    ----------
    estimator : object

    Returns
    -------
    bool
        True of scikit-learn's MLPRegressor and MLPClassifier with a hidden layer and of this package's
        estimators whose `network_` is a TwoLayerNetwork, once they are fitted, and of a FrozenEstimator that
        holds one of these.
    """
    estimator = _unfrozen(estimator)
    if is_sklearn_mlp(estimator):
        return hasattr(estimator, "coefs_") and len(estimator.coefs_) > 1
    return isinstance(getattr(estimator, "network_", None), TwoLayerNetwork)


def _read_layers(estimator: Any) -> _DenseLayers:
    """Copy the weights of a fitted estimator; raise ValueError where it has none to read."""
    estimator = _unfrozen(estimator)
    name = type(estimator).__name__
    if is_sklearn_mlp(estimator):
        check_is_fitted(estimator)
    if not is_dense(estimator):
        raise ValueError(
            "Sub-models by hidden units need a fitted MLPRegressor, MLPClassifier or an estimator of this "
            f"package, with hidden units. Got {name}; drop inputs instead."
        )
    if is_classifier(estimator) and not hasattr(estimator, "predict_proba"):
        raise ValueError(
            "Sub-models of a classifier give class probabilities. "
            f"Got {name} with loss={estimator.loss!r}, which has none; use loss='log_loss'."
        )
    network = getattr(estimator, "network_", None)
    coefs = [np.array(weights) for weights in estimator.coefs_]
    return _DenseLayers(
        coefs,
        [np.array(bias) for bias in estimator.intercepts_],
        estimator.activation if network is None else network.activation,
        _read_link(estimator, coefs[-1].shape[1]),
        None if network is None else network.gates,
    )


def _read_link(estimator: Any, n_outputs: int) -> Link:
    """Return what turns the outputs of an estimator into its predictions or probabilities."""
    if not is_classifier(estimator):
        return "exp" if getattr(estimator, "out_activation_", "identity") == "exp" else "identity"
    if n_outputs > 1 and getattr(estimator, "out_activation_", "softmax") != "softmax":
        raise ValueError(
            f"{type(estimator).__name__} must have exclusive classes. Got {n_outputs} labels per sample; fit "
            "one classifier per label instead."
        )
    return "probabilities"


@dataclass(frozen=True, eq=False)
class DenseSubModels:
    """Sub-models of one dense network: each keeps a random subset of the hidden units.

    What is kept is scaled by ``1 / (1 - dropout)``, as in training by inverted dropout, so that the mean of
    many sub-models is near the whole network. Inputs and output units are all kept. The weights are a copy,
    so that the sub-models stay what they are when the estimator is fitted again.

    Attributes
    ----------
    layers : object
        The weights of the whole network.
    masks : list of ndarray of shape (n_submodels, n_units), bool
        For each hidden layer, the units that each sub-model keeps: at least one of each layer.
    dropout : float
        Share of the hidden units that is dropped, in expectation.

    References
    ----------
    Srivastava, Hinton, Krizhevsky, Sutskever and Salakhutdinov, "Dropout: a simple way to prevent neural
    networks from overfitting", JMLR 15 (2014), sections 4 and 10.
    """

    layers: _DenseLayers
    masks: list[BoolArray]
    dropout: float

    def __post_init__(self) -> None:
        """Make weights and masks read-only."""
        for array in (*self.layers.coefs, *self.layers.intercepts, *self.masks):
            array.flags.writeable = False

    def __reduce__(self) -> tuple[Any, ...]:
        """Rebuild through the constructor, so that copies and unpickled sub-models are read-only too."""
        return type(self), tuple(getattr(self, field.name) for field in fields(self))

    @classmethod
    def draw(
        cls, estimator: Any, n_submodels: int, dropout: float, rng: np.random.Generator
    ) -> "DenseSubModels":
        """Draw sub-models of a fitted estimator.

        Parameters
        ----------
        estimator : object
            Fitted, one that `is_dense` accepts.
        n_submodels : int
            At least 1.
        dropout : float
            Probability of dropping a hidden unit, in [0, 1). Zero gives copies of the whole network.
        rng : Generator

        Returns
        -------
        DenseSubModels

        Raises
        ------
        ValueError, TypeError
            If an argument is out of range, the estimator has no dense layers to read, or it is a classifier
            without probabilities or of several labels per sample.
        NotFittedError
            If it is a scikit-learn network that is not fitted.
        """
        m, rate = checked_count("n_submodels", n_submodels), checked_rate("dropout", dropout)
        layers = _read_layers(estimator)
        return cls(layers, [draw_masks((m, units), rate, rng) for units in layers.hidden_units], rate)

    def __len__(self) -> int:
        """Return the number of sub-models."""
        return len(self.masks[0])

    @property
    def n_features(self) -> int:
        """Number of inputs of the network."""
        return len(self.layers.coefs[0])

    def outputs(self, X: ArrayLike, which: ArrayLike | None = None) -> Iterator[FloatMatrix]:
        """Yield the predictions of one sub-model after another.

        The first layer of the whole network is computed once for all of them where it takes up to 256 MB;
        above that, samples are taken in blocks.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
        which : array-like of int, optional
            Indices of the sub-models wanted, in this order; all unless given.

        Yields
        ------
        ndarray of shape (n_samples, K)
            Outputs of a regressor (K of them), or the probabilities of the K classes, also for two.

        Raises
        ------
        ValueError
            If X is not a finite matrix with n_features columns.
        IndexError
            If there is no sub-model of some index.
        """
        samples: FloatMatrix = check_array(X, dtype=[np.float64, np.float32], input_name="X")
        if samples.shape[1] != self.n_features:
            raise ValueError(
                f"X must have {self.n_features} columns, one for each input of the network. "
                f"Got shape {samples.shape} instead."
            )
        indices = np.arange(len(self))
        return self._outputs(samples, indices if which is None else indices[np.asarray(which, dtype=np.intp)])

    def _outputs(self, X: FloatMatrix, indices: IntArray) -> Iterator[FloatMatrix]:
        """Yield predictions; sub-models in groups, so that blocks of samples are visited once per group."""
        coefs = self.layers.coefs
        widest = max(1, *(weights.shape[1] for weights in coefs))
        dtype = np.result_type(X, coefs[0])
        blocks = list(gen_batches(len(X), max(1, MOST_BYTES // (widest * dtype.itemsize))))
        n_outputs = coefs[-1].shape[1]
        group = max(1, min(_WIDEST_PRODUCT // n_outputs, MOST_BYTES // (len(X) * n_outputs * dtype.itemsize)))
        whole = self.layers.first(X) if len(blocks) == 1 else None
        for first in range(0, len(indices), group):
            members = indices[first : first + group]
            results = np.empty((len(members), len(X), n_outputs), dtype)
            for block in blocks:
                units = self.layers.first(X[block]) if whole is None else whole
                results[:, block] = self._from_first_layer(units, members)
            for outputs in results:
                yield self.layers.linked(outputs)

    def _from_first_layer(self, units: FloatMatrix, members: IntArray) -> Any:
        """Return raw outputs (members, n_samples, K) from the first layer of the whole network."""
        if len(self.masks) == 1:
            return self._by_one_product(units, members)
        return [self._layer_by_layer(units, j) for j in members]

    def _layer_by_layer(self, units: FloatMatrix, j: int) -> FloatMatrix:
        """Return raw outputs of sub-model j, computing the units only that it keeps."""
        kept = [np.flatnonzero(mask[j]) for mask in self.masks]
        kept.append(np.arange(self.layers.coefs[-1].shape[1]))
        units = units.take(kept[0], axis=1)
        for layer in range(1, len(kept)):
            weights = self.layers.coefs[layer][kept[layer - 1]][:, kept[layer]]
            units = units @ (weights / (1 - self.dropout)) + self.layers.intercepts[layer][kept[layer]]
            if layer < len(self.masks):
                units = self.layers.activated(units)
        return units

    def _by_one_product(self, units: FloatMatrix, members: IntArray) -> FloatMatrix:
        """Return raw outputs of networks with one hidden layer."""
        weights, bias = self.layers.coefs[1], self.layers.intercepts[1]
        masks = self.masks[0][members].T / (1 - self.dropout)
        stack = masks.astype(weights.dtype)[:, :, None] * weights[:, None, :]
        products: FloatMatrix = units @ stack.reshape(len(weights), len(members) * len(bias))
        products = products.reshape(len(units), len(members), len(bias))
        products += bias
        return products.transpose(1, 0, 2)
