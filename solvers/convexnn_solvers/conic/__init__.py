"""From a `ConvexProgram` to the standard conic form of interior-point and splitting codes, and back."""
