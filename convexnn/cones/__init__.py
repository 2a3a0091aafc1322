"""The cones of patterns and selections: projections, proximal points, support functions."""

from convexnn.cones._remembering import Projector
from convexnn.cones.free_coordinate import FreeCoordinateSupport, NormalizedRows
from convexnn.cones.projector import ConeProjector
from convexnn.cones.selection import SelectionProjector

__all__ = ["ConeProjector", "FreeCoordinateSupport", "NormalizedRows", "Projector", "SelectionProjector"]
