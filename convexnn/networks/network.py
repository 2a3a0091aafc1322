"""The two-layer network that every method of the package returns, as an immutable value."""

from collections.abc import Hashable
from dataclasses import dataclass
from typing import Any, Literal

from numpy.typing import ArrayLike

from convexnn._typing import FloatArray, HiddenBias
from convexnn.activations import ACTIVATIONS, Activation
from convexnn.networks import sklearn_conversion, torch_conversion
from convexnn.networks._base import BaseNetwork
from convexnn.networks._validation import check_samples

__all__ = ["TwoLayerNetwork"]


@dataclass(frozen=True, eq=False, repr=False)
class TwoLayerNetwork(BaseNetwork):
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

    def _check_shapes(self) -> None:
        """Raise ValueError unless the arrays fit one another."""
        if self.hidden_weights.ndim != 2 or self.output_weights.ndim != 2:
            raise ValueError(
                "hidden_weights must be (n_features, n_neurons) and output_weights (n_neurons, n_outputs). "
                f"Got shapes {self.hidden_weights.shape} and {self.output_weights.shape} instead; reshape "
                "vectors."
            )
        self._check_shape("hidden_biases", (self.n_neurons,))
        self._check_shape("output_weights", (self.n_neurons, self.n_outputs))
        self._check_shape("output_biases", (self.n_outputs,))
        self._check_shape("gates", (self.n_features + 1, self.n_neurons))
        if self.n_features == 0 or self.n_outputs == 0:
            raise ValueError(
                "A network needs at least one feature and one output. "
                f"Got {self.n_features} and {self.n_outputs}."
            )

    @property
    def n_features(self) -> int:
        """Number of inputs."""
        return int(self.hidden_weights.shape[0])

    def _checked(self, X: ArrayLike) -> FloatArray:
        """Return `X` as a finite float64 matrix."""
        return check_samples(X, self.n_features)

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
        samples = self._checked(X)
        gate = None if self.gates is None else samples @ self.gates[:-1] + self.gates[-1]
        return self.activation(samples @ self.hidden_weights + self.hidden_biases, gate)

    def outputs(self, X: ArrayLike) -> FloatArray:
        """Return ``f(X)`` of shape (n_samples, n_outputs); see :meth:`hidden`."""
        result: FloatArray = self.hidden(X) @ self.output_weights + self.output_biases
        return result

    def to_sklearn(self, alpha: float | None = None) -> Any:
        """Return a fitted scikit-learn estimator with the same predictions.

        Leaky ReLU and absolute value are rewritten exactly with two ReLU neurons each.

        Parameters
        ----------
        alpha : float, optional
            Stored as the estimator's own `alpha`. Its solver is "lbfgs", for which it means the same here and
            there: ``F`` is ``n_samples`` times the loss, for one output and a free hidden bias.

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

        The network does not know the estimator's `alpha`, which "adam" and "sgd" use per batch: what they
        minimise is ``F`` with ``alpha * n_samples / batch_size``. (`convexnn.certify` reads that.)

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
