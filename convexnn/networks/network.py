"""The two-layer network that every method of the package returns, as an immutable value."""

from collections.abc import Hashable
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike

from convexnn._typing import FloatArray, HiddenBias
from convexnn.activations import ACTIVATIONS, Activation
from convexnn.losses import Loss, encode_targets, get_loss
from convexnn.networks import neurons, prune, sklearn_conversion, torch_conversion
from convexnn.networks._validation import (
    check_hidden_bias,
    check_sample_weight,
    check_samples,
    frozen_array,
)

__all__ = ["TwoLayerNetwork"]


@dataclass(frozen=True, eq=False, repr=False)
class TwoLayerNetwork:
    """A two-layer network ``f(x) = sum_j a_j phi(u_j . x + b_j) + c``.

    Its training objective is a sum over samples, not a mean::

        F = sum_i s_i loss(f(x_i), y_i) + (alpha / 2) * sum_j (|u_j|^2 + [b_j^2] + |a_j|^2)

    with ``b_j^2`` counted when `hidden_bias` is "penalized" only; the output biases ``c`` never are.
    Arrays are copied to float64 and cannot be written to; networks compare and hash by content, and pickle.

    Parameters
    ----------
    hidden_weights : array-like of shape (n_features, n_neurons)
        Column j is ``u_j``.
    hidden_biases : array-like of shape (n_neurons,)
        ``b_j``.
    output_weights : array-like of shape (n_neurons, n_outputs)
        Row j is ``a_j``.
    output_biases : array-like of shape (n_outputs,)
        ``c``.
    activation : Activation
        ``phi``; see :mod:`convexnn.activations`.
    hidden_bias : {"penalized", "free", "none"}
        How the objective counts hidden biases; "none" asks for all of them to be zero.
    gates : array-like of shape (n_features + 1, n_neurons), optional
        Gated activations only: gate j is open at x where ``gates[:-1, j] . x + gates[-1, j] >= 0``.
    classes : tuple, optional
        Sorted class labels of a classifier: two of them with one output (positive means the second),
        otherwise one per output.

    Raises
    ------
    ValueError
        If shapes do not match, entries are not finite, or options contradict one another.

    References
    ----------
    Pilanci and Ergen, "Neural networks are convex regularizers", ICML 2020, equations 2 and 8.
    """

    hidden_weights: FloatArray
    hidden_biases: FloatArray
    output_weights: FloatArray
    output_biases: FloatArray
    activation: Activation = ACTIVATIONS["relu"]
    hidden_bias: HiddenBias = "penalized"
    gates: FloatArray | None = None
    classes: tuple[Hashable, ...] | None = None

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

    def _check_shapes(self) -> None:
        if self.hidden_weights.ndim != 2 or self.output_weights.ndim != 2:
            raise ValueError(
                "hidden_weights must be (n_features, n_neurons) and output_weights (n_neurons, n_outputs). "
                f"Got shapes {self.hidden_weights.shape} and {self.output_weights.shape} instead; reshape "
                "vectors."
            )
        n_features, n_neurons = self.hidden_weights.shape
        n_outputs = self.output_weights.shape[1]
        expected = {
            "hidden_biases": (n_neurons,),
            "output_weights": (n_neurons, n_outputs),
            "output_biases": (n_outputs,),
            "gates": (n_features + 1, n_neurons),
        }
        for name, shape in expected.items():
            value = getattr(self, name)
            if value is not None and value.shape != shape:
                raise ValueError(
                    f"{name} must have shape {shape} to match hidden_weights of shape "
                    f"{self.hidden_weights.shape} and {n_outputs} outputs. Got {value.shape} instead."
                )
        if n_features == 0 or n_outputs == 0:
            raise ValueError(
                f"A network needs at least one feature and one output. Got {n_features} and {n_outputs}."
            )

    def _check_options(self) -> None:
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

    def __repr__(self) -> str:
        """Return the sizes and options, not the arrays."""
        text = (
            f"TwoLayerNetwork(n_features={self.n_features}, n_neurons={self.n_neurons}, "
            f"n_outputs={self.n_outputs}, activation={self.activation.name!r}, "
            f"hidden_bias={self.hidden_bias!r}"
        )
        return f"{text})" if self.classes is None else f"{text}, classes={self.classes!r})"

    def _content(self) -> tuple[Hashable, ...]:
        arrays = (
            self.hidden_weights,
            self.hidden_biases,
            self.output_weights,
            self.output_biases,
            self.gates,
        )
        content = tuple(None if a is None else (a.shape, a.tobytes()) for a in arrays)
        return (*content, self.activation, self.hidden_bias, self.classes)

    def __eq__(self, other: object) -> bool:
        """Whether all arrays and options are equal."""
        return isinstance(other, TwoLayerNetwork) and self._content() == other._content()

    def __hash__(self) -> int:
        """Hash of all arrays and options."""
        return hash(self._content())

    def __reduce__(self) -> tuple[Any, ...]:
        """Rebuild through the constructor, so that copies and unpickled networks are frozen too."""
        arrays = (self.hidden_weights, self.hidden_biases, self.output_weights, self.output_biases)
        return type(self), (*arrays, self.activation, self.hidden_bias, self.gates, self.classes)

    @property
    def coefs(self) -> list[FloatArray]:
        """``[hidden_weights, output_weights]``, the layout of scikit-learn's ``coefs_``."""
        return [self.hidden_weights, self.output_weights]

    @property
    def intercepts(self) -> list[FloatArray]:
        """``[hidden_biases, output_biases]``, the layout of scikit-learn's ``intercepts_``."""
        return [self.hidden_biases, self.output_biases]

    @property
    def n_features(self) -> int:
        """Number of inputs."""
        return int(self.hidden_weights.shape[0])

    @property
    def n_neurons(self) -> int:
        """Number of hidden neurons."""
        return int(self.hidden_weights.shape[1])

    @property
    def n_outputs(self) -> int:
        """Number of outputs."""
        return int(self.output_weights.shape[1])

    def hidden(self, X: ArrayLike) -> FloatArray:
        """Return the hidden layer ``phi(X u_j + b_j)``.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)

        Returns
        -------
        ndarray of shape (n_samples, n_neurons)

        Raises
        ------
        ValueError
            If X is not a finite matrix with n_features columns.
        """
        samples = check_samples(X, self.n_features)
        gate = None if self.gates is None else samples @ self.gates[:-1] + self.gates[-1]
        return self.activation(samples @ self.hidden_weights + self.hidden_biases, gate)

    def outputs(self, X: ArrayLike) -> FloatArray:
        """Return ``f(X)`` of shape (n_samples, n_outputs); see :meth:`hidden`."""
        result: FloatArray = self.hidden(X) @ self.output_weights + self.output_biases
        return result

    def predict(self, X: ArrayLike) -> FloatArray:
        """Return the raw outputs ``f(X)``, also of a classifier.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)

        Returns
        -------
        ndarray of shape (n_samples,) for one output, otherwise (n_samples, n_outputs)
        """
        outputs = self.outputs(X)
        return outputs[:, 0] if self.n_outputs == 1 else outputs

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
        X : array-like of shape (n_samples, n_features)
        y : array-like of shape (n_samples,) or (n_samples, n_outputs)
            Targets as :func:`convexnn.losses.encode_targets` takes them; when the network has `classes`, a
            vector holds labels out of these.
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
        targets = self.encoded_targets(loss, y)
        if len(targets) != len(outputs):
            raise ValueError(f"y must have as many samples as X, {len(outputs)}. Got {len(targets)} instead.")
        weight = check_sample_weight(sample_weight, len(outputs))
        return loss.value(outputs, targets, weight) + float(alpha) * self.regularizer(hidden_bias)

    def encoded_targets(self, loss: Loss, y: ArrayLike) -> FloatArray:
        """Return targets or labels of this network's classes as the loss wants them, shape (n, n_outputs)."""
        labels = np.asarray(y)
        if self.classes is None or labels.ndim != 1:
            return encode_targets(loss, y, self.n_outputs)
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

    def balanced(self) -> "TwoLayerNetwork":
        """Return the same function with ``|u_j| = |a_j|`` in each neuron, so that F is not larger.

        The norm of ``u_j`` includes the bias when that is penalised. Neurons that contribute nothing are
        dropped; a neuron with zero slope and a free bias is a constant and moves into the output biases.
        (A gated one is not constant: it stays as it is.)
        """
        return neurons.balance(self)

    def prune(self, X: ArrayLike, *, sample_weight: ArrayLike | None = None) -> "TwoLayerNetwork":
        """Return a network with the same outputs on X, F not larger, and linearly independent neurons.

        Neurons j are independent when the vectors ``phi(X u_j) a_j`` are (flattened over samples and
        outputs), so that at most ``n_samples * n_outputs`` remain. At an optimum F stays the same; otherwise
        it may fall. See :mod:`convexnn.networks.prune` for the algorithm. Outputs elsewhere than on X may
        change.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
        sample_weight : array-like of shape (n_samples,), optional
            Samples of weight zero are left out: outputs there may change.

        Returns
        -------
        TwoLayerNetwork

        References
        ----------
        Mishkin and Pilanci, "Optimal sets and solution paths of ReLU networks", ICML 2023 (minimal
        networks).
        """
        samples = check_samples(X, self.n_features)
        weight = check_sample_weight(sample_weight, len(samples))
        return prune.prune(self, samples[weight > 0])

    def split(self, m: int) -> "TwoLayerNetwork":
        """Return the same function and objective with exactly `m` neurons.

        Neurons are replaced by copies of scale ``1 / sqrt(copies)``, as evenly as possible, earlier neurons
        first. A network without neurons gets zero neurons.

        Parameters
        ----------
        m : int
            At least n_neurons.

        Returns
        -------
        TwoLayerNetwork

        Raises
        ------
        ValueError
            If m is smaller than n_neurons; prune first.
        """
        return neurons.split(self, m)

    def to_sklearn(self, alpha: float | None = None) -> Any:
        """Return a fitted scikit-learn estimator with the same predictions.

        Leaky ReLU and absolute value are rewritten exactly with two ReLU neurons each.

        Parameters
        ----------
        alpha : float, optional
            Stored as the estimator's own `alpha`.

        Returns
        -------
        MLPRegressor, or MLPClassifier if the network has classes

        Raises
        ------
        ValueError
            If the activation is gated: no MLP computes that.
        """
        return sklearn_conversion.to_sklearn(self, alpha)

    @classmethod
    def from_sklearn(cls, mlp: Any) -> "TwoLayerNetwork":
        """Return the network of a fitted MLPRegressor or MLPClassifier, with ``hidden_bias="free"``.

        Parameters
        ----------
        mlp : MLPRegressor or MLPClassifier
            Fitted, one hidden layer, ``activation="relu"``.

        Raises
        ------
        ValueError
            If it has another shape or activation, a Poisson loss, or several labels per sample.
        """
        return cls(**sklearn_conversion.read_sklearn(mlp))

    def to_torch(self, dtype: Any = None) -> Any:
        """Return ``torch.nn.Sequential(Linear, ReLU or LeakyReLU, Linear)`` with the same outputs.

        Other activations are rewritten exactly with two ReLU neurons each.

        Parameters
        ----------
        dtype : torch.dtype, optional
            float64 unless given.

        Raises
        ------
        ValueError
            If the activation is gated.
        MissingExtraError
            If torch is not installed.
        """
        return torch_conversion.to_torch(self, dtype)

    @classmethod
    def from_torch(
        cls, module: Any, *, hidden_bias: Literal["penalized", "free"] = "penalized"
    ) -> "TwoLayerNetwork":
        """Return the network of a ``torch.nn.Sequential(Linear, ReLU or LeakyReLU, Linear)``.

        Parameters
        ----------
        module : torch.nn.Sequential
            Either layer may lack its bias.
        hidden_bias : {"penalized", "free"}
            How the objective counts hidden biases; "none" follows where the first layer has no bias.

        Raises
        ------
        ValueError
            If the layers are others.
        MissingExtraError
            If torch is not installed.
        """
        return cls(**torch_conversion.read_torch(module, hidden_bias))
