"""Ensembles of sub-models by dropout, and stacks of estimators, combined by convex programs."""

from typing import TYPE_CHECKING, Any

from convexnn.ensembles._classifier import DropoutEnsembleClassifier
from convexnn.ensembles._regressor import DropoutEnsembleRegressor
from convexnn.ensembles.curve import SubModelCurve, submodel_curve

if TYPE_CHECKING:
    from convexnn.ensembles._stacking import ConvexStackingClassifier, ConvexStackingRegressor

__all__ = [
    "ConvexStackingClassifier",
    "ConvexStackingRegressor",
    "DropoutEnsembleClassifier",
    "DropoutEnsembleRegressor",
    "SubModelCurve",
    "submodel_curve",
]


def __getattr__(name: str) -> Any:
    """Import the stacking estimators on use, since `sklearn.ensemble` is large."""
    if name in ("ConvexStackingClassifier", "ConvexStackingRegressor"):
        from convexnn.ensembles import _stacking

        return getattr(_stacking, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
