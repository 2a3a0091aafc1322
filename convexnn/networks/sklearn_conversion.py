"""Conversion between networks and scikit-learn's multi-layer perceptrons."""

from typing import TYPE_CHECKING, Any

import numpy as np

from convexnn.networks.neurons import as_relu

if TYPE_CHECKING:
    from convexnn.networks.network import TwoLayerNetwork

__all__ = ["read_sklearn", "to_sklearn"]


def to_sklearn(network: "TwoLayerNetwork", alpha: float | None = None) -> Any:
    """Return a fitted MLPRegressor or MLPClassifier; see :meth:`TwoLayerNetwork.to_sklearn`."""
    from sklearn.neural_network import MLPClassifier, MLPRegressor

    relu = as_relu(network, "scikit-learn")
    options: dict[str, Any] = {"hidden_layer_sizes": (relu.n_neurons,), "solver": "lbfgs"}
    if alpha is not None:
        options["alpha"] = alpha
    if relu.classes is None:
        mlp = MLPRegressor(**options)
        _set_weights(mlp, relu, "identity")
        return mlp
    mlp = MLPClassifier(**options)
    _set_weights(mlp, relu, "logistic" if len(relu.classes) == 2 else "softmax")
    _set_classes(mlp, relu.classes)
    if relu.n_outputs == 2:
        # Softmax of two outputs is the logistic function of their difference, which MLPClassifier keeps.
        mlp.coefs_[1] = mlp.coefs_[1][:, 1:] - mlp.coefs_[1][:, :1]
        mlp.intercepts_[1] = mlp.intercepts_[1][1:] - mlp.intercepts_[1][:1]
        mlp.n_outputs_ = 1
    return mlp


def _set_weights(mlp: Any, network: "TwoLayerNetwork", out_activation: str) -> None:
    mlp.coefs_ = [w.copy() for w in network.coefs]
    mlp.intercepts_ = [b.copy() for b in network.intercepts]
    mlp.n_features_in_ = network.n_features
    mlp.n_outputs_ = network.n_outputs
    mlp.n_layers_ = 3
    mlp.out_activation_ = out_activation
    # Nothing was iterated, and the training data, hence the loss, are not known here.
    mlp.n_iter_ = 0
    mlp.t_ = 0
    mlp.loss_ = float("nan")
    mlp.best_loss_ = None


def _set_classes(mlp: Any, classes: tuple[Any, ...]) -> None:
    from sklearn.preprocessing import LabelBinarizer

    mlp._label_binarizer = LabelBinarizer().fit(np.asarray(classes))
    mlp.classes_ = mlp._label_binarizer.classes_


def read_sklearn(mlp: Any) -> dict[str, Any]:
    """Return the constructor arguments of :class:`TwoLayerNetwork` that reproduce `mlp`.

    Raises
    ------
    ValueError
        If `mlp` is no fitted MLP with one hidden ReLU layer and exclusive classes or a squared error.
    """
    from sklearn.neural_network import MLPClassifier, MLPRegressor
    from sklearn.utils.validation import check_is_fitted

    if not isinstance(mlp, MLPClassifier | MLPRegressor):
        raise ValueError(f"Wanted a fitted MLPRegressor or MLPClassifier. Got {type(mlp).__name__} instead.")
    check_is_fitted(mlp)
    name = type(mlp).__name__
    if mlp.n_layers_ != 3:
        raise ValueError(
            f"{name} must have one hidden layer. Got {mlp.n_layers_ - 2}; fit with hidden_layer_sizes=(m,)."
        )
    if mlp.activation != "relu":
        raise ValueError(f"{name} must have activation='relu'. Got {mlp.activation!r} instead.")
    is_classifier = isinstance(mlp, MLPClassifier)
    if not is_classifier and mlp.out_activation_ != "identity":
        raise ValueError(
            f"{name} must have identity outputs (loss='squared_error'). Got {mlp.out_activation_!r} outputs."
        )
    if is_classifier and mlp.out_activation_ == "logistic" and mlp.n_outputs_ > 1:
        raise ValueError(
            f"{name} must have exclusive classes. Got {mlp.n_outputs_} labels per sample; fit one classifier "
            "per label instead."
        )
    return {
        "hidden_weights": mlp.coefs_[0],
        "hidden_biases": mlp.intercepts_[0],
        "output_weights": mlp.coefs_[1],
        "output_biases": mlp.intercepts_[1],
        "hidden_bias": "free",
        "classes": tuple(mlp.classes_) if is_classifier else None,
    }
