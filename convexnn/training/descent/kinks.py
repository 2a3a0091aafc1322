"""Kernels of a layer whose kinks are rounded off, row by row and neuron by neuron."""

from convexnn._jit import inlined_kernel, kernel, reordering_kernel
from convexnn._typing import FloatArray, FloatMatrix

__all__ = ["add_layer", "add_turned", "bend_layer", "turn"]


@inlined_kernel
def _answer(t: float, w: float, off: float, bend: float) -> float:
    """Return ``phi(t)`` with a parabola within ``w`` of zero instead of the kink; without branches."""
    inside = min(max(t, -w), w) + w
    return off * t + bend * (max(t - w, 0.0) + (inside * inside / (4.0 * w) if w > 0 else 0.0))


@inlined_kernel
def _slope(t: float, w: float, off: float, bend: float) -> float:
    """Its derivative."""
    if w > 0:
        return off + bend * min(max(0.5 * (t / w + 1.0), 0.0), 1.0)
    return off + bend if t >= 0 else off


@inlined_kernel
def _kink(t: float, w: float, bend: float, pull: float) -> float:
    """Return its curvature times a pull, where that is positive and the kink holds the neuron."""
    return max(pull, 0.0) * bend / (2.0 * w) if -w < t < w else 0.0


@inlined_kernel
def _largest(products: FloatArray, low: int, positions: int, j: int) -> int:
    """Return the row of a sample that counts where a layer selects."""
    kept = low
    for i in range(low + 1, low + positions):
        if products[i, j] > products[kept, j]:
            kept = i
    return kept


@reordering_kernel
def add_layer(
    products: FloatArray,
    width: FloatArray,
    row_norms: FloatArray,
    slopes: tuple[float, float],
    positions: int,
    selects: bool,
    hidden: FloatArray,
) -> None:
    """Add ``phi(products)`` to each row's sample.

    If the layer selects, the largest row of each sample counts, otherwise their sum. Within ``w = width[j] *
    row_norms[i]`` of zero the kink is replaced by a parabola.
    """
    n, m = products.shape
    off, bend = slopes[1], slopes[0] - slopes[1]
    if selects:
        for low in range(0, n, positions):
            for j in range(m):
                i = _largest(products, low, positions, j)
                hidden[low // positions, j] += _answer(products[i, j], width[j] * row_norms[i], off, bend)
        return
    for i in range(n):
        sample = i // positions
        for j in range(m):
            hidden[sample, j] += _answer(products[i, j], width[j] * row_norms[i], off, bend)


@reordering_kernel
def bend_layer(
    products: FloatArray,
    width: FloatArray,
    row_norms: FloatArray,
    pulls: FloatArray,
    slopes: tuple[float, float],
    positions: int,
    selects: bool,
    layer: FloatArray,
    kinks: FloatArray,
) -> None:
    """Fill the last two arrays as `Objective.bend` describes."""
    n, m = products.shape
    off, bend = slopes[1], slopes[0] - slopes[1]
    if selects:
        layer[:], kinks[:] = 0.0, 0.0
        for low in range(0, n, positions):
            for j in range(m):
                i = _largest(products, low, positions, j)
                t, w = products[i, j], width[j] * row_norms[i]
                layer[i, j] = _slope(t, w, off, bend)
                kinks[i, j] = _kink(t, w, bend, pulls[low // positions, j])
        return
    for i in range(n):
        sample = i // positions
        for j in range(m):
            t, w = products[i, j], width[j] * row_norms[i]
            layer[i, j] = _slope(t, w, off, bend)
            kinks[i, j] = _kink(t, w, bend, pulls[sample, j])


@kernel
def turn(
    slopes: FloatMatrix, kinks: FloatMatrix, positions: int, products: FloatMatrix, turned: FloatMatrix
) -> None:
    """Fill and change the last two arrays as `Objective.turn` describes."""
    n, m = products.shape
    for i in range(n):
        sample = i // positions
        first = sample * positions == i
        for j in range(m):
            value = slopes[i, j] * products[i, j]
            turned[sample, j] = value if first else turned[sample, j] + value
            products[i, j] *= kinks[i, j]


@kernel
def add_turned(slopes: FloatMatrix, values: FloatMatrix, positions: int, products: FloatMatrix) -> None:
    """Change the last array as `Objective.add_turned` describes."""
    n, m = products.shape
    for i in range(n):
        sample = i // positions
        for j in range(m):
            products[i, j] += slopes[i, j] * values[sample, j]
