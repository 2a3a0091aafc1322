"""What networks with one hidden layer share: values, objective, rewriting neuron by neuron."""

import math
from abc import ABC, abstractmethod
from collections.abc import Hashable
from dataclasses import Field, fields, replace
from typing import Any, ClassVar, Self

import numpy as np
from numpy.typing import ArrayLike

from convexnn._parameters import checked_weights
from convexnn._typing import FloatArray, HiddenBias
from convexnn.activations import Activation
from convexnn.losses import Loss, encode_targets, get_loss
from convexnn.networks import neurons, prune
from convexnn.networks._validation import check_hidden_bias, frozen_array

__all__ = ["BaseNetwork"]


class BaseNetwork(ABC):
    """A network with one hidden layer, as an immutable value.

    Subclasses are frozen dataclasses with these attributes among their fields. Column j of `hidden_weights`
    and entry j of `hidden_biases` are one neuron, and so is what `output_weights` holds at its first index j.
    Networks compare and hash by content, and pickle.
    """

    __dataclass_fields__: ClassVar[dict[str, Field[Any]]]

    hidden_weights: FloatArray
    hidden_biases: FloatArray
    output_weights: FloatArray
    output_biases: FloatArray
    activation: Activation
    hidden_bias: HiddenBias
    classes: tuple[Hashable, ...] | None

    def __post_init__(self) -> None:
        """Copy and freeze the arrays, then validate."""
        for name in ("hidden_weights", "hidden_biases", "output_weights", "output_biases", "gates"):
            value = getattr(self, name)
            if value is not None:
                object.__setattr__(self, name, frozen_array(name, value))
        if self.classes is not None:
            labels = tuple(c.item() if isinstance(c, np.generic) else c for c in self.classes)
            object.__setattr__(self, "classes", labels)
        self._check_shapes()
        self._check_options()

    @abstractmethod
    def _check_shapes(self) -> None:
        """Raise ValueError unless the arrays fit one another."""

    def _check_shape(self, name: str, shape: tuple[int, ...]) -> None:
        """Raise ValueError unless that array is absent or of that shape."""
        value = getattr(self, name)
        if value is not None and value.shape != shape:
            raise ValueError(
                f"{name} must have shape {shape} to match hidden_weights of shape "
                f"{self.hidden_weights.shape} and {self.n_outputs} outputs. Got {value.shape} instead."
            )

    def _check_options(self) -> None:
        """Raise ValueError if biases or classes contradict the options."""
        check_hidden_bias(self.hidden_bias)
        if self.hidden_bias == "none" and self.hidden_biases.any():
            raise ValueError(
                "hidden_bias='none' needs hidden_biases of zero. Got non-zero ones; "
                "use 'penalized' or 'free'."
            )
        if self.activation.gated != (self.gates is not None):
            wanted, got = ("gates", "none") if self.activation.gated else ("no gates", "some")
            raise ValueError(f"The activation {self.activation.name!r} needs {wanted}. Got {got}.")
        if self.classes is None:
            return
        n_classes = len(self.classes)
        if n_classes < 2 or n_classes != (2 if self.n_outputs == 1 else self.n_outputs):
            raise ValueError(
                f"A classifier with {self.n_outputs} output(s) needs {max(2, self.n_outputs)} classes. "
                f"Got {n_classes}."
            )
        labels: list[Any] = list(self.classes)
        if labels != sorted(set(labels)):
            raise ValueError(f"classes must be distinct and sorted. Got {labels}; order outputs accordingly.")

    def _description(self) -> dict[str, object]:
        """Return what `repr` shows: sizes and options, not the arrays."""
        shown: dict[str, object] = {
            "n_features": self.n_features,
            "n_neurons": self.n_neurons,
            "n_outputs": self.n_outputs,
            "activation": self.activation.name,
            "hidden_bias": self.hidden_bias,
        }
        return shown if self.classes is None else {**shown, "classes": self.classes}

    def __repr__(self) -> str:
        """Return the sizes and options, not the arrays."""
        shown = ", ".join(f"{name}={value!r}" for name, value in self._description().items())
        return f"{type(self).__name__}({shown})"

    def _content(self) -> tuple[Hashable, ...]:
        values = (getattr(self, field.name) for field in fields(self))
        return tuple((v.shape, v.tobytes()) if isinstance(v, np.ndarray) else v for v in values)

    def __eq__(self, other: object) -> bool:
        """Whether all arrays and options are equal."""
        return isinstance(other, BaseNetwork) and (type(self), self._content()) == (
            type(other),
            other._content(),
        )

    def __hash__(self) -> int:
        """Hash of all arrays and options."""
        return hash(self._content())

    def __reduce__(self) -> tuple[Any, ...]:
        """Rebuild through the constructor, so that copies and unpickled networks are frozen too."""
        return type(self), tuple(getattr(self, field.name) for field in fields(self))

    @property
    def gates(self) -> FloatArray | None:
        """Gates of a gated activation, one column per neuron; None where the class has none."""
        return None

    @property
    def coefs(self) -> list[FloatArray]:
        """``[hidden_weights, output_weights]``, the layout of scikit-learn's ``coefs_``."""
        return [self.hidden_weights, self.output_weights]

    @property
    def intercepts(self) -> list[FloatArray]:
        """``[hidden_biases, output_biases]``, the layout of scikit-learn's ``intercepts_``."""
        return [self.hidden_biases, self.output_biases]

    @property
    @abstractmethod
    def n_features(self) -> int:
        """Number of inputs."""

    @property
    def n_neurons(self) -> int:
        """Number of hidden neurons."""
        return int(self.hidden_weights.shape[1])

    @property
    def n_outputs(self) -> int:
        """Number of outputs."""
        return int(self.output_weights.shape[-1])

    @property
    def output_rows(self) -> FloatArray:
        """All output weights of a neuron in one row, shape (n_neurons, ...)."""
        return self.output_weights.reshape(self.n_neurons, math.prod(self.output_weights.shape[1:]))

    @abstractmethod
    def _checked(self, X: ArrayLike) -> FloatArray:
        """Return samples as a finite array, one per index of its first axis; raise ValueError otherwise."""

    @abstractmethod
    def hidden(self, X: ArrayLike) -> FloatArray:
        """Return the hidden layer, neurons last."""

    @abstractmethod
    def outputs(self, X: ArrayLike) -> FloatArray:
        """Return ``f(X)``, samples first and outputs last."""

    def contributions(self, X: ArrayLike) -> FloatArray:
        """Return what each neuron adds to the outputs.

        Parameters
        ----------
        X : array-like
            Samples.

        Returns
        -------
        ndarray of shape (number of entries of f(X), n_neurons)
            Column j is ``phi(X u_j) a_j``, flattened over samples (and positions) and outputs.
        """
        products = self.hidden(X)[..., None, :] * self.output_weights.T
        return products.reshape(math.prod(products.shape[:-1]), self.n_neurons)

    def predict(self, X: ArrayLike) -> FloatArray:
        """Return the raw outputs ``f(X)``, also of a classifier.

        Parameters
        ----------
        X : array-like
            Samples, as :meth:`hidden` takes them.

        Returns
        -------
        ndarray of shape (n_samples, ..., n_outputs)
            As :meth:`outputs`, without the last axis where there is one output.
        """
        outputs = self.outputs(X)
        return outputs[..., 0] if self.n_outputs == 1 else outputs

    def regularizer(self, hidden_bias: HiddenBias | None = None) -> float:
        """Return ``1/2 sum_j (|u_j|^2 + [b_j^2] + |a_j|^2)``, to be multiplied by alpha.

        Parameters
        ----------
        hidden_bias : {"penalized", "free", "none"}, optional
            The network's own unless given.

        Returns
        -------
        float

        Raises
        ------
        ValueError
            If `hidden_bias` is "none" and there are non-zero hidden biases.
        """
        mode = self.hidden_bias if hidden_bias is None else hidden_bias
        check_hidden_bias(mode)
        if mode == "none" and self.hidden_biases.any():
            raise ValueError("hidden_bias='none' was asked of a network that has non-zero hidden biases.")
        squares = float(np.sum(self.hidden_weights**2) + np.sum(self.output_weights**2))
        if mode == "penalized":
            squares += float(np.sum(self.hidden_biases**2))
        return 0.5 * squares

    def objective(
        self,
        X: ArrayLike,
        y: ArrayLike,
        *,
        alpha: float,
        loss: str | Loss = "squared_error",
        sample_weight: ArrayLike | None = None,
        hidden_bias: HiddenBias | None = None,
    ) -> float:
        """Return the training objective F of the class docstring, recomputed from the weights.

        Parameters
        ----------
        X : array-like
            Samples, as :meth:`hidden` takes them.
        y : array-like of shape (n_samples,) or (n_samples, n_outputs)
            Targets as :func:`convexnn.losses.encode_targets` takes them; when the network has `classes`, a
            vector holds labels out of these. A network with outputs at every position takes one target
            per position, (n_samples, K) or (n_samples, K, n_outputs).
        alpha : float
            Weight of the regulariser, >= 0: the beta of the papers.
        loss : str or Loss
        sample_weight : array-like of shape (n_samples,), optional
            Weights ``s_i >= 0``; one each unless given.
        hidden_bias : {"penalized", "free", "none"}, optional
            The network's own unless given.

        Returns
        -------
        float

        Raises
        ------
        ValueError
            If shapes, labels, weights or alpha are not as described.
        """
        if not (np.isfinite(alpha) and alpha >= 0):
            raise ValueError(f"alpha must be finite and >= 0. Got {alpha!r} instead.")
        loss = get_loss(loss, self.n_outputs)
        outputs = self.outputs(X)
        n_samples = len(outputs)
        outputs = outputs.reshape(-1, self.n_outputs)
        targets = self.encoded_targets(loss, self._stacked(y, n_samples))
        if len(targets) != len(outputs):
            raise ValueError(
                f"y must have as many samples as X, {n_samples}. Got {len(np.asarray(y))} instead."
            )
        weight = checked_weights(sample_weight, n_samples)
        weight = np.repeat(weight, len(outputs) // max(1, n_samples))
        return loss.value(outputs, targets, weight) + float(alpha) * self.regularizer(hidden_bias)

    def _stacked(self, y: ArrayLike, n_samples: int | None = None) -> ArrayLike:
        """Return targets with one row per loss term; `y` itself unless there are several per sample."""
        del n_samples
        return y

    def encoded_targets(self, loss: Loss, y: ArrayLike) -> FloatArray:
        """Return targets or labels of this network's classes as the loss wants them.

        Parameters
        ----------
        loss : Loss
        y : array-like
            As :meth:`objective` takes them.

        Returns
        -------
        ndarray of shape (n_samples, n_outputs) or, with outputs at K positions, (n_samples * K, n_outputs)

        Raises
        ------
        ValueError
            If shapes or labels do not fit.
        """
        labels = np.asarray(self._stacked(y))
        if self.classes is None or labels.ndim != 1:
            return encode_targets(loss, labels, self.n_outputs)
        if loss.task == "regression":
            raise ValueError(
                f"The loss {loss.name!r} needs numbers, but this network has classes. Choose a loss for "
                "labels, for example loss='log_loss', or pass targets of shape (n_samples, n_outputs)."
            )
        position = {label: k for k, label in enumerate(self.classes)}
        indices = np.array([position.get(label, -1) for label in labels.tolist()], dtype=np.float64)
        if (indices < 0).any():
            unknown = np.unique(labels[indices < 0])[:5].tolist()
            raise ValueError(f"Labels must be among the classes {self.classes}. Got {unknown} instead.")
        return encode_targets(loss, 2 * indices - 1 if self.n_outputs == 1 else indices, self.n_outputs)

    def balanced(self) -> Self:
        """Return the same function with ``|u_j| = |a_j|`` in each neuron, so that F is not larger.

        The norm of ``u_j`` includes the bias when that is penalised. Neurons that contribute nothing are
        dropped; a neuron with zero slope and a free bias is a constant and moves into the output biases.
        (A gated one is not constant: it stays as it is.)
        """
        return neurons.balance(self)

    def prune(self, X: ArrayLike, *, sample_weight: ArrayLike | None = None) -> Self:
        """Return a network with the same outputs on X, F not larger, and linearly independent neurons.

        Neurons j are independent when the vectors ``phi(X u_j) a_j`` are (flattened over samples, positions
        where there are outputs at each, and outputs), so that at most as many remain as these vectors have
        entries: ``n_samples * n_outputs``. At an optimum F stays the same; otherwise it may fall. See
        :mod:`convexnn.networks.prune` for the algorithm. Outputs elsewhere than on X may change.

        Parameters
        ----------
        X : array-like
            Samples, as :meth:`hidden` takes them.
        sample_weight : array-like of shape (n_samples,), optional
            Samples of weight zero are left out: outputs there may change.

        Returns
        -------
        network of the same class

        References
        ----------
        Mishkin and Pilanci, "Optimal sets and solution paths of ReLU networks", ICML 2023 (minimal
        networks).
        """
        samples = self._checked(X)
        weight = checked_weights(sample_weight, len(samples))
        return prune.prune(self, samples[weight > 0])

    def with_neuron(self, weights: FloatArray, bias: float, output_weights: FloatArray) -> Self:
        """Return the network with one more neuron, the last.

        Parameters
        ----------
        weights : ndarray of the shape of a column of `hidden_weights`
        bias : float
            Its hidden bias.
        output_weights : ndarray of shape ``self.output_weights.shape[1:]``

        Returns
        -------
        network of the same class

        Raises
        ------
        ValueError
            If shapes do not match, or the activation is gated: the neuron would need a gate.
        """
        if self.activation.gated:
            raise ValueError(
                f"A neuron of the activation {self.activation.name!r} needs a gate. Construct a network with "
                "its column of gates instead."
            )
        shapes = {"weights": self.hidden_weights.shape[:1], "output_weights": self.output_weights.shape[1:]}
        for (name, wanted), value in zip(shapes.items(), (weights, output_weights), strict=True):
            if np.shape(value) != wanted:
                raise ValueError(f"{name} must have shape {wanted}. Got {np.shape(value)} instead.")
        return replace(
            self,
            hidden_weights=np.column_stack([self.hidden_weights, weights]),
            hidden_biases=np.append(self.hidden_biases, bias),
            output_weights=np.concatenate([self.output_weights, np.asarray(output_weights)[None]]),
        )

    def split(self, m: int) -> Self:
        """Return the same function and objective with exactly `m` neurons.

        Neurons are replaced by copies of scale ``1 / sqrt(copies)``, as evenly as possible, earlier neurons
        first. A network without neurons gets zero neurons.

        Parameters
        ----------
        m : int
            At least n_neurons.

        Returns
        -------
        network of the same class

        Raises
        ------
        ValueError
            If m is smaller than n_neurons; prune first.
        """
        return neurons.split(self, m)
