"""The largest norm of an enclosed vector-valued function on a simplicial cone.

See `convexnn.pricing.grouped` for the mathematics. Vertices and vectors of C entries are rows of arrays.
"""

import math

import numpy as np

from convexnn._jit import reordering_kernel
from convexnn._typing import FloatArray

# Of a matrix: the trace of the power 2**26 is at most r times its largest eigenvalue, and r**(2**-26) is
# within 4e-8 of one for the ranks that are searched, less than the relative tolerance of a search.
_SQUARINGS = 26


@reordering_kernel
def _largest_length(vectors: FloatArray) -> float:
    """Return the length of the longest row."""
    largest = 0.0
    for k in range(vectors.shape[0]):
        square = 0.0
        for c in range(vectors.shape[1]):
            square += vectors[k, c] * vectors[k, c]
        largest = max(largest, square)
    return math.sqrt(largest)


@reordering_kernel
def _largest_across(middles: FloatArray, widths: FloatArray, direction: FloatArray) -> float:
    """Largest ``|P M v_k| + |W v_k| / 2``, P the projection off the direction."""
    largest = 0.0
    for k in range(middles.shape[0]):
        along = square = width = 0.0
        for c in range(middles.shape[1]):
            along += middles[k, c] * direction[c]
            width += widths[k, c] * widths[k, c]
        for c in range(middles.shape[1]):
            across = middles[k, c] - along * direction[c]
            square += across * across
        largest = max(largest, math.sqrt(square) + 0.5 * math.sqrt(width))
    return largest


@reordering_kernel
def _total_share(vertices: FloatArray) -> float:
    """Bound the sum of the coordinates of unit vectors by ``1 / min (v_k . e)`` with e the centre."""
    r = vertices.shape[0]
    square, nearest = 0.0, math.inf
    for j in range(r):
        total = 0.0
        for k in range(r):
            total += vertices[k, j]
        square += total * total
    for k in range(r):
        dot = 0.0
        for j in range(r):
            for i in range(r):
                dot += vertices[k, j] * vertices[i, j]
        nearest = min(nearest, dot)
    return min(math.sqrt(r), math.sqrt(square) / nearest)


@reordering_kernel
def _multiply(first: FloatArray, second: FloatArray, product: FloatArray) -> float:
    """Write the product of square matrices; return its trace."""
    r, trace = first.shape[0], 0.0
    for i in range(r):
        for j in range(r):
            product[i, j] = 0.0
            for k in range(r):
                product[i, j] += first[i, k] * second[k, j]
        trace += product[i, i]
    return trace


@reordering_kernel
def _largest_eigenvalue(matrix: FloatArray, trace: float, square: FloatArray) -> float:
    """Bound it by the root of the trace of a power; the matrix, symmetric of positive trace, is changed."""
    r, logarithm, exponent = matrix.shape[0], 0.0, 1.0
    scale = trace
    for _ in range(_SQUARINGS):
        logarithm += math.log(scale) / exponent
        for i in range(r):
            for j in range(r):
                matrix[i, j] /= scale
        exponent *= 2.0
        scale = _multiply(matrix, matrix, square)
        matrix, square = square, matrix
    return math.exp(logarithm + math.log(scale) / exponent)


@reordering_kernel
def _largest_singular_value(
    gram: FloatArray, vertices: FloatArray, normals: FloatArray, share: float
) -> float:
    """Bound ``|B u|`` for unit u of the cone, given ``B v_k . B v_m``.

    With any symmetric S, ``|B u|^2 <= lmax(S) + (sum of coordinates)^2 max |gram - V S V'|``. Here S is B'B
    up to rounding, or zero.
    """
    r = gram.shape[0]
    S, half, product = np.empty((r, r)), np.empty((r, r)), np.empty((r, r))
    _multiply(gram, normals, half)
    trace = _multiply(normals.T, half, S)
    for i in range(r):
        for j in range(i):
            S[i, j] = S[j, i] = 0.5 * (S[i, j] + S[j, i])
    _multiply(vertices, S, half)
    _multiply(half, vertices.T, product)
    missed = 0.0
    for i in range(r):
        for j in range(r):
            missed = max(missed, abs(gram[i, j] - (product[i, j] if trace > 0.0 else 0.0)))
    largest = _largest_eigenvalue(S, trace, half) if trace > 0.0 else 0.0
    bound = math.sqrt(largest + share * share * missed)
    return bound if bound < math.inf else math.inf


@reordering_kernel
def _largest_image(images: FloatArray, vertices: FloatArray, normals: FloatArray, share: float) -> float:
    """Bound ``|B u|`` over unit vectors of the cone, also by ``max_km (B v_k . B v_m) / (v_k . v_m)``.

    If rho is that maximum, ``|B u|^2 - rho |u|^2`` has no positive coefficient in the coordinates of u.
    """
    r = images.shape[0]
    gram = np.zeros((r, r))
    ratio, acute = 0.0, True
    for k in range(r):
        for m in range(r):
            dot = 0.0
            for j in range(r):
                dot += vertices[k, j] * vertices[m, j]
            for c in range(images.shape[1]):
                gram[k, m] += images[k, c] * images[m, c]
            acute = acute and dot > 0.5
            if acute:
                ratio = max(ratio, gram[k, m] / dot)
    largest = _largest_singular_value(gram, vertices, normals, share)
    return min(largest, math.sqrt(ratio)) if acute else largest


@reordering_kernel
def vector_bound(
    vertices: FloatArray,
    normals: FloatArray,
    direction: FloatArray,
    along: float,
    images: FloatArray,
    middles: FloatArray,
    widths: FloatArray,
    least: FloatArray,
    limit: float,
    slack: float,
) -> tuple[float, float]:
    """Bound ``|G(u)|`` over unit vectors of the cone.

    Parameters
    ----------
    vertices, normals : ndarray of shape (r, r)
    direction : ndarray of shape (C,)
        ``b_0``.
    along : float
        A bound of ``b_0 . G``.
    images, middles, widths, least
        As `enclose` writes them.
    limit : float
        Bounds below it are of no use; positive.
    slack : float
        What rounding can have changed.

    Returns
    -------
    bound : float
    tilt : float
        Bounds the sine of the angle of b_0 and a ``G(u)`` longer than the limit.
    """
    share, lowest = _total_share(vertices), 0.0
    for k in range(vertices.shape[0]):
        lowest = max(lowest, -share * least[k])
    across = share * _largest_across(middles, widths, direction)
    along = max(along, lowest)
    bound = math.sqrt(along * along + across * across)
    tilt = min(1.0, (across + slack) / limit)
    if bound <= limit:
        return bound, tilt
    turned, width = 2.0, share * _largest_length(widths)
    if math.sqrt(lowest * lowest + across * across) + slack <= limit:
        turned = tilt * (1.0 + 0.41422 * tilt * tilt)
    image = _largest_image(images, vertices, normals, share)
    return min(bound, image if width == 0.0 else max(limit, image + turned * width)), tilt
