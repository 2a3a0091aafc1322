"""What can be the base of an ensemble."""

from collections.abc import Callable
from typing import Any, Literal

from sklearn.frozen import FrozenEstimator
from sklearn.utils.validation import check_is_fitted

from convexnn.ensembles.torch_modules import is_torch_module

__all__ = ["check_base", "check_names"]


def check_names(base: Any, ensemble: Any) -> None:
    """Raise ValueError if a fitted base has seen features of other names than the ensemble."""
    seen, given = (getattr(estimator, "feature_names_in_", None) for estimator in (base, ensemble))
    if seen is not None and given is not None and list(seen) != list(given):
        raise ValueError(
            f"The frozen estimator was fitted on features {list(seen)}, in this order. Got {list(given)}; "
            "give the same columns."
        )


def check_base(
    base: Any, drop: str, kind: Literal["classifier", "regressor"], is_kind: Callable[[Any], bool]
) -> None:
    """Raise TypeError or ValueError if `base` cannot be the base of an ensemble of this kind."""
    name = type(base).__name__
    if is_torch_module(base):
        if drop == "inputs":
            raise ValueError(
                f"drop='inputs' is for estimators; the module {name} drops what its dropout layers see. "
                "Use drop='auto', and a dropout layer in front for inputs."
            )
        return
    if isinstance(base, type) or not (hasattr(base, "fit") and hasattr(base, "predict")):
        raise TypeError(
            "estimator must be None, an estimator with fit and predict, or a PyTorch module. "
            f"Got {base!r} instead."
        )
    if isinstance(base, FrozenEstimator):
        check_is_fitted(base)
    if not is_kind(base):
        raise ValueError(f"The base must be a {kind}. Got {name}; choose the ensemble of its kind.")
    if kind == "classifier" and not hasattr(base, "predict_proba"):
        raise ValueError(
            f"The base must have predict_proba, since class probabilities are combined. Got {name} without; "
            "try its option for probabilities, or sklearn.calibration.CalibratedClassifierCV."
        )
