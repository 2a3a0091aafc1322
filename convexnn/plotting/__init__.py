"""Pictures of networks, as display objects in scikit-learn's manner (extra ``plot``)."""

from convexnn.plotting.filters import FilterDisplay

__all__ = ["FilterDisplay"]
