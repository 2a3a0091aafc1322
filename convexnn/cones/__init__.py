"""The cones of the patterns: projections, proximal points, support functions."""

from convexnn.cones.free_coordinate import FreeCoordinateSupport
from convexnn.cones.projector import ConeProjector

__all__ = ["ConeProjector", "FreeCoordinateSupport"]
