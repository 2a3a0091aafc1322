"""Array aliases shared by the whole package."""

from typing import Any, Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray

FloatArray: TypeAlias = NDArray[np.float64]
BoolArray: TypeAlias = NDArray[np.bool_]
IntArray: TypeAlias = NDArray[np.intp]
WordArray: TypeAlias = NDArray[np.uint64]
IndexArray: TypeAlias = NDArray[np.int32]
FloatMatrix: TypeAlias = NDArray[np.floating[Any]]

HiddenBias: TypeAlias = Literal["penalized", "free", "none"]
MultiOutput: TypeAlias = Literal["shared", "separate"]
RandomState: TypeAlias = int | np.random.RandomState | np.random.Generator | None
