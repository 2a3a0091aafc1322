"""Design operators: how data reach a solver, block by block, without forming the blocks' matrices."""

from convexnn.designs.explicit_design import ExplicitDesign
from convexnn.designs.masked_design import MaskedDesign
from convexnn.designs.max_design import MaxDesign

__all__ = ["ExplicitDesign", "MaskedDesign", "MaxDesign"]
