"""The cones of the patterns: projections, proximal points, support functions."""

from convexnn.programs.cones.free_coordinate import FreeCoordinateSupport
from convexnn.programs.cones.projector import ConeProjector

__all__ = ["ConeProjector", "FreeCoordinateSupport"]
