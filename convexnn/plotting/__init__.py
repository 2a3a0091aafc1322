"""Pictures of networks, as display objects in scikit-learn's manner (extra ``plot``)."""

from convexnn.plotting.double_descent import DoubleDescentDisplay
from convexnn.plotting.filters import FilterDisplay
from convexnn.plotting.submodels import CombinationWeightsDisplay, SubModelCurveDisplay

__all__ = ["CombinationWeightsDisplay", "DoubleDescentDisplay", "FilterDisplay", "SubModelCurveDisplay"]
