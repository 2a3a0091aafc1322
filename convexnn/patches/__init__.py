"""Where the patches of a convolution lie, and data as patches."""

from convexnn.patches.geometry import Padding, PatchGeometry

__all__ = ["Padding", "PatchGeometry"]
