"""What users ask certificates for, read into a network and what the object says about its training."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike
from sklearn.utils.validation import validate_data

from convexnn._typing import FloatArray, HiddenBias
from convexnn.losses import Loss
from convexnn.networks import ConvNetwork, Network, TwoLayerNetwork
from convexnn.networks.torch_conversion import is_torch_module

__all__ = ["Subject", "read_subject"]

_WANTED = (
    "a fitted estimator of convexnn, a fitted MLPRegressor or MLPClassifier, a torch.nn.Sequential(Linear, "
    "ReLU or LeakyReLU, Linear), the torch form of a ConvNetwork, a TwoLayerNetwork, a ConvNetwork, or a "
    "tuple of arrays: (hidden, output), (hidden, hidden bias, output) or (hidden, hidden bias, output, "
    "output bias)"
)


@dataclass(frozen=True, eq=False)
class Subject:
    """A network with what its object says of its training; None where it says nothing.

    Attributes
    ----------
    network : TwoLayerNetwork or ConvNetwork
    alpha : float or None
        Of the objective that was minimised.
    loss : str, Loss or None
    hidden_bias : {"penalized", "free", "none"} or None
    fit_intercept : bool or None
    class_weight : dict, "balanced" or None
        Of an estimator; multiplies the sample weights.
    dual_point : ndarray or None
        Of the estimator's own program, over its distinct samples.
    alpha_factor : float
        What ``alpha`` is multiplied by: K for a torch module that takes the mean of K patches, which is the
        same problem as that of their sum.
    nominal_alpha : float or None
        The object's own parameter where its training made another strength of it: that one may be asked for.
    alpha_note : str
        What users must know of the strength; empty where nothing is special.
    """

    network: Network
    alpha: float | None = None
    loss: str | Loss | None = None
    hidden_bias: HiddenBias | None = None
    fit_intercept: bool | None = None
    class_weight: Any = None
    dual_point: FloatArray | None = None
    alpha_factor: float = 1.0
    nominal_alpha: float | None = None
    alpha_note: str = ""


def read_subject(network: Any, X: ArrayLike) -> Subject:
    """Read any of the accepted objects.

    Parameters
    ----------
    network : object
        See `convexnn.certify`.
    X : array-like of shape (n_samples, ...)
        The training data, whose columns must be those that an estimator was fitted on. Torch modules with a
        convolution take the shape of images from it.

    Returns
    -------
    Subject

    Raises
    ------
    ValueError, TypeError
        If the object is another one, is not fitted, or has a gated activation or layers of other kinds, or
        if the columns of X have other names or another order than those of the fit.
    """
    if isinstance(network, TwoLayerNetwork | ConvNetwork):
        subject = Subject(network, hidden_bias=network.hidden_bias)
    elif isinstance(network, tuple):
        subject = _read_arrays(network)
    elif is_torch_module(network):
        if any(type(part).__name__.startswith("Conv") for part in network.children()):
            return _read_convolution(network, np.shape(X)[1:])
        read = TwoLayerNetwork.from_torch(network)
        first, _, last = network
        says_none: HiddenBias | None = "none" if first.bias is None else None
        subject = Subject(read, hidden_bias=says_none, fit_intercept=last.bias is not None)
    elif any(kind.__module__.startswith("convexnn.") for kind in type(network).__mro__):
        subject = _read_own(network)
        _check_columns(network, X)
    elif type(network).__module__.startswith("sklearn.") or hasattr(network, "get_params"):
        subject = _read_sklearn(network, len(np.asarray(X)))
        _check_columns(network, X)
    else:
        raise TypeError(f"certify needs {_WANTED}. Got {type(network).__name__} instead.")
    if subject.network.activation.gated:
        raise ValueError(
            "certify needs relu, leaky relu or absolute value. Got the gated activation "
            f"{subject.network.activation.name!r}, whose optimum depends on the gates that are allowed; the "
            "gap of its convex program is in the estimator's dual_gap_."
        )
    return subject


def _check_columns(estimator: Any, X: ArrayLike) -> None:
    """Raise what the estimator's own `predict` raises for columns of other names, order or number.

    Images with axes of their own have no columns; their shape is checked by the network.
    """
    if len(np.shape(X)) <= 2:
        validate_data(estimator, X, reset=False, skip_check_array=True)


def _read_convolution(module: Any, image_shape: tuple[int, ...]) -> Subject:
    if len(image_shape) < 2:
        raise ValueError(
            "certify needs samples of shape (n_samples, height, width, channels) or (n_samples, length, "
            "channels) for a torch module with a convolution. Got flat ones; reshape X."
        )
    network, factor = ConvNetwork.from_torch(module, image_shape)
    parts = list(module.children())
    convolution = next(part for part in parts if type(part).__name__.startswith("Conv"))
    return Subject(
        network,
        hidden_bias="none" if convolution.bias is None else None,
        fit_intercept=parts[-1].bias is not None,
        alpha_factor=factor,
        alpha_note=""
        if factor == 1
        else f"the mean of {factor:g} patches is read as their sum, for {factor:g} times the alpha",
    )


def _read_arrays(arrays: tuple[Any, ...]) -> Subject:
    if len(arrays) not in (2, 3, 4):
        raise ValueError(
            f"A tuple of arrays must have 2, 3 or 4 entries, one of the forms of {_WANTED}. "
            f"Got {len(arrays)}."
        )
    hidden, output = np.asarray(arrays[0], dtype=np.float64), arrays[1 if len(arrays) == 2 else 2]
    hidden_bias = arrays[1] if len(arrays) > 2 else None
    output_bias = arrays[3] if len(arrays) == 4 else None
    weights = np.asarray(output, dtype=np.float64)
    weights = weights[:, None] if weights.ndim == 1 else weights
    if hidden.ndim != 2 or weights.ndim != 2:
        raise ValueError(
            "Weight arrays must have the shapes (d, m) and (m,) or (m, k). "
            f"Got {hidden.shape} and {np.shape(output)}."
        )
    network = TwoLayerNetwork(
        hidden,
        np.zeros(hidden.shape[1]) if hidden_bias is None else hidden_bias,
        weights,
        np.zeros(weights.shape[1]) if output_bias is None else np.atleast_1d(output_bias),
    )
    return Subject(
        network,
        hidden_bias="none" if hidden_bias is None else None,
        fit_intercept=output_bias is not None,
    )


def _read_own(estimator: Any) -> Subject:
    network = getattr(estimator, "network_", None)
    if not isinstance(network, TwoLayerNetwork | ConvNetwork):
        raise ValueError(
            f"certify needs a fitted estimator with one hidden layer. Got {type(estimator).__name__} without "
            "network_; call fit first."
        )
    result = getattr(estimator, "result_", None)
    return Subject(
        network,
        float(getattr(estimator, "alpha_", getattr(estimator, "alpha", np.nan))),
        estimator.loss,
        network.hidden_bias,
        bool(estimator.fit_intercept),
        getattr(estimator, "class_weight", None),
        None if result is None else result.dual_point,
    )


def _read_sklearn(mlp: Any, n_samples: int) -> Subject:
    network = TwoLayerNetwork.from_sklearn(mlp)
    loss = "squared_error" if network.classes is None else "log_loss"
    if network.classes is not None and network.n_outputs > 1:
        loss = "softmax"
    alpha, nominal_alpha, note = float(mlp.alpha), None, ""
    if mlp.solver != "lbfgs":
        rows = min(200 if mlp.batch_size == "auto" else max(1, int(mlp.batch_size)), n_samples)
        nominal_alpha, alpha = alpha, alpha * n_samples / rows
        note = (
            f"the solver {mlp.solver!r} divides the penalty by the {rows} rows of a batch, so that "
            f"alpha={nominal_alpha:g} acts as alpha * n_samples / batch_size = {alpha:g}"
        )
    return Subject(
        network,
        alpha,
        loss,
        "free",
        True,
        nominal_alpha=nominal_alpha,
        alpha_note=note if alpha != nominal_alpha else "",
    )
