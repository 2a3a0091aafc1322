r"""The simple vertices of a plane, all at once.

A plane in which rows :math:`j_1, \dots, j_{k-2}` and no others vanish is crossed by the other rows in lines.
Sorted by angle over the half plane ``f > 0``, each line changes one sign of the pattern between it and the
next. At a vertex v where one more row i vanishes, and no other, the cell that has v as its extreme vertex
lies on the side :math:`s_j` of the row j that is the sign of :math:`\lambda_j` in

.. math:: f - \frac{f(v)}{x_1(v)} x_1 = \lambda_i x_i + \sum_c \lambda_{j_c} x_{j_c} .

So it is next to one of the two arcs of the plane that end in v. Its witness is ``p + t d`` with p in the
middle of that arc, d the combination of axes on which row :math:`j_c` has the value :math:`s_{j_c}`, and t
half of the distance to a crossing. Crossings by rows next to v in the order of angles are tried first: which
witness is taken does not matter, since the products of all rows with it are checked against the pattern.

The signs of :math:`\lambda` and of f at v, where certain, prove that no other vertex gives this cell.
Vertices at which anything is near zero are left to the search for lines in which several rows meet.
"""

import math
from typing import NamedTuple, TypeAlias

import numpy as np

from convexnn._jit import kernel
from convexnn._typing import BoolArray, FloatArray, IntArray, WordArray
from convexnn.patterns._target import Target, TargetArrays, confirmed, cross, set_sides, write

CLEAR = 64.0  # in units of the error bound: more than this is not zero
_NEIGHBOURS = 6
_CROWDED = 64  # lines in a bin
PlaneArrays: TypeAlias = tuple[
    IntArray,
    FloatArray,
    FloatArray,
    FloatArray,
    FloatArray,
    FloatArray,
    FloatArray,
    FloatArray,
    FloatArray,
    WordArray,
]


class Plane(NamedTuple):
    """Workspace of a sweep: lines by increasing angle, and what the pattern of a vertex is made of.

    Parameters
    ----------
    order : ndarray of intp, shape (m,)
        Rows.
    lines : ndarray of float64, shape (4, m)
        Coordinates along f and across: of the normal of each line, then of its vertex.
    combined : ndarray of float64, shape (max(k - 2, 1), k + 1 + m)
        The columns in terms of rows j_c, without their parts in the plane.
    images : ndarray of float64, shape (k, d)
        The directions along f, across, and those on which one row j_c is one, as scaled weights.
    side_of : ndarray of float64, shape (m + 1,)
        Signs of hyperplanes.
    multipliers : ndarray of float64, shape (m, k - 1)
        Those of rows j_c and of its own row for each vertex; the latter is zero to leave the vertex out.
    weights : ndarray of float64, shape (m, d)
        Scaled witnesses.
    sides, values : ndarray of float64, shape (n,)
        Signs of the rows of the data, and their products with a weight.
    words : ndarray of uint64, shape (ceil(n / 64),)
        The signs packed, the bits of zero rows being one.
    """

    order: IntArray
    lines: FloatArray
    combined: FloatArray
    images: FloatArray
    side_of: FloatArray
    multipliers: FloatArray
    weights: FloatArray
    sides: FloatArray
    values: FloatArray
    words: WordArray

    @classmethod
    def of(cls, m: int, k: int, target: Target) -> "Plane":
        """Return one for m rows in k dimensions."""
        (d, n), inner = target.rows.shape, max(k - 2, 0)
        return cls(
            np.zeros(m, dtype=np.intp),
            np.zeros((4, m)),
            np.zeros((inner, k + 1 + m)),
            np.zeros((max(k, 2), d)),
            np.ones(m + 1),
            np.zeros((m, inner + 1)),
            np.zeros((m, d)),
            np.ones(n),
            np.zeros(n),
            target.fixed.copy(),
        )


@kernel
def _sort(keys: FloatArray, order: IntArray, size: int) -> None:
    """Write the order of keys: into bins, then by insertion, at wide steps first if a bin is crowded."""
    starts, bins = np.zeros(size + 1, dtype=np.intp), np.empty(size, dtype=np.intp)
    for j in range(size):
        bins[j] = int((0.5 * size) * (1.0 + keys[j] / (1.0 + abs(keys[j]))) * (1.0 - 1e-12))
        starts[bins[j] + 1] += 1
    gap = 1
    for b in range(size):
        if starts[b + 1] > _CROWDED:
            gap = size // 2
        starts[b + 1] += starts[b]
    for j in range(size):
        order[starts[bins[j]]] = j
        starts[bins[j]] += 1
    while gap > 0:
        for j in range(gap, size):
            line, key, i = order[j], keys[order[j]], j
            while i >= gap and keys[order[i - gap]] > key:
                order[i] = order[i - gap]
                i -= gap
            order[i] = line
        gap //= 2


@kernel
def _lines(
    coords: FloatArray, first: int, on: BoolArray, order: IntArray, lines: FloatArray
) -> tuple[int, float]:
    """Sort the lines of a plane; return their number and the least length of a row in the plane."""
    # Not a literal, for which callees would be compiled once more.
    size, m = int(np.intp(0)), on.shape[0]
    functional = math.hypot(coords[0, first - 1], coords[1, first - 1])
    cosine, sine = coords[0, first - 1] / functional, coords[1, first - 1] / functional
    rows, keys, shortest = np.empty(m, dtype=np.intp), np.empty(m), np.inf
    for i in range(m):
        if not on[i]:
            a, b = coords[0, first + i], coords[1, first + i]
            along, across = cosine * a + sine * b, cosine * b - sine * a
            rows[size], lines[2, size], lines[3, size] = i, along, across
            keys[size] = -along / across if across != 0.0 else 1e300
            shortest = min(shortest, a * a + b * b)
            size += 1
    _sort(keys, order, size)
    for j in range(size):
        lines[0, j], lines[1, j] = lines[2, order[j]], lines[3, order[j]]
        order[j] = rows[order[j]]
    for j in range(size):
        along, across = lines[0, j], lines[1, j]
        signed = math.copysign(math.sqrt(along * along + across * across), across)
        lines[2, j], lines[3, j] = across / signed, -along / signed
    return size, float(math.sqrt(shortest))


@kernel
def _combine(
    basis: FloatArray, coords: FloatArray, chosen: IntArray, combined: FloatArray, images: FloatArray
) -> None:
    """Solve for the combinations of the rows that vanish on the plane, and map directions to weights."""
    k, width = coords.shape
    first = k + 1
    functional = math.hypot(coords[0, k], coords[1, k])
    cosine, sine = coords[0, k] / functional, coords[1, k] / functional
    for c in range(k - 3, -1, -1):
        axis = k - 1 - c
        for i in range(width):
            combined[c, i] = coords[axis, i]
        for other in range(c + 1, k - 2):
            factor = coords[axis, first + chosen[other]]
            for i in range(width):
                combined[c, i] -= factor * combined[other, i]
        inverse = 1.0 / coords[axis, first + chosen[c]]
        for i in range(width):
            combined[c, i] *= inverse
    for j in range(basis.shape[0]):
        for c in range(k):
            images[c, j] = 0.0
        for i in range(k):
            weight = basis[j, i]
            images[0, j] += weight * (cosine * coords[0, i] + sine * coords[1, i])
            images[1, j] += weight * (cosine * coords[1, i] - sine * coords[0, i])
            for c in range(k - 2):
                images[c + 2, j] += weight * combined[c, i]


@kernel
def _apart(lines: FloatArray, size: int, j: int) -> float:
    """Return the sine of the angle between line j and the nearest other."""
    before, after = (j - 1 if j > 0 else size - 1), (j + 1 if j + 1 < size else 0)
    cosine, sine = lines[2, j], lines[3, j]
    left = cosine * lines[3, before] - sine * lines[2, before]
    right = cosine * lines[3, after] - sine * lines[2, after]
    return 1.0 if size == 1 else float(min(abs(left), abs(right)))


@kernel
def _before(
    order: IntArray, lines: FloatArray, size: int, chosen: IntArray, inner: int, side_of: FloatArray
) -> None:
    """Write the signs of the hyperplanes before the first line, those that hold the plane being positive."""
    for c in range(inner):
        side_of[chosen[c]] = 1.0
    for j in range(size):
        side_of[order[j]] = -1.0 if lines[1, j] > 0.0 else 1.0


@kernel
def _solve(
    coords: FloatArray,
    combined: FloatArray,
    order: IntArray,
    lines: FloatArray,
    size: int,
    shortest: float,
    errors: FloatArray,
    start: int,
    stop: int,
    multipliers: FloatArray,
) -> None:
    """Write the multipliers of vertices; zero for rows outside ``start .. stop`` or if a sign is in doubt."""
    k = coords.shape[0]
    functional = math.hypot(coords[0, k], coords[1, k])
    along_f, across_f = coords[0, k] / functional, coords[1, k] / functional
    reference = coords[0, k + 1] * along_f + coords[1, k + 1] * across_f
    reference_across = coords[1, k + 1] * along_f - coords[0, k + 1] * across_f
    for j in range(size):
        multipliers[j, k - 2] = 0.0
        along, across, cosine, row = lines[0, j], lines[1, j], lines[2, j], order[j]
        doubt = CLEAR * max(errors[k - 2], errors[0] / math.sqrt(along * along + across * across))
        if not start <= row < stop or shortest * _apart(lines, size, j) <= doubt:
            continue
        value = reference * cosine + reference_across * lines[3, j]
        height, square = functional * cosine / value, along * along + across * across
        own = (functional * along - height * (reference * along + reference_across * across)) / square
        least, total = abs(own), abs(own) + (1.0 + abs(height)) / abs(value)
        first = k + 1 + row
        for c in range(k - 2):
            multiplier = combined[c, k] - height * combined[c, k + 1] - own * combined[c, first]
            multipliers[j, c] = multiplier
            least, total = min(least, abs(multiplier)), total + abs(multiplier)
        if min(least, functional * cosine) > doubt * total:
            multipliers[j, k - 2] = own


@kernel
def _middle(lines: FloatArray, j: int, step: int, size: int) -> tuple[float, float]:
    """Return the middle of the arc from vertex j to the one before or after it, or a point at 45 degrees."""
    cosine, sine = lines[2, j], lines[3, j]
    other = j + step
    if 0 <= other < size:
        along, across = lines[2, other], lines[3, other]
    else:
        other = size - 1 if other < 0 else 0
        along, across = -lines[2, other], -lines[3, other]
    if size == 1 or along * cosine + across * sine < 0.0:
        along, across = -step * sine, step * cosine
    along, across = along + cosine, across + sine
    length = math.sqrt(along * along + across * across)
    return along / length, across / length


@kernel
def _place(
    combined: FloatArray,
    order: IntArray,
    lines: FloatArray,
    images: FloatArray,
    multipliers: FloatArray,
    size: int,
    start: int,
    stop: int,
    neighbours: int,
    weights: FloatArray,
) -> None:
    """Write witnesses for vertices ``start .. stop``, looking at crossings by so many lines on each side."""
    k, d = multipliers.shape[1] + 1, weights.shape[1]
    reach = min(neighbours, (size - 1) // 2)
    for j in range(start, stop):
        own = multipliers[j, k - 2]
        if own == 0.0:
            continue
        along, across = _middle(lines, j, 1 if (own > 0.0) == (lines[1, j] > 0.0) else -1, size)
        rate = 1.0
        for position in range(j - reach, j + reach + 1 + (size - 1) % 2):
            i = position + size if position < 0 else (position - size if position >= size else position)
            row, move = k + 1 + order[i], 0.0
            for c in range(k - 2):
                move -= math.copysign(combined[c, row], combined[c, row] * multipliers[j, c])
            rate = max(rate, 2.0 * move / (lines[0, i] * along + lines[1, i] * across))
        step = 1.0 / rate
        for i in range(d):
            moved = 0.0
            for c in range(k - 2):
                moved += math.copysign(step, multipliers[j, c]) * images[c + 2, i]
            weights[j, i] = along * images[0, i] + across * images[1, i] + moved


@kernel
def _turn(
    starts: IntArray,
    members: IntArray,
    chosen: IntArray,
    multipliers: FloatArray,
    j: int,
    side_of: FloatArray,
    sides: FloatArray,
    words: WordArray,
) -> None:
    """Give the rows that vanish on the plane the signs of their multipliers at vertex j."""
    for c in range(multipliers.shape[1] - 1):
        if side_of[chosen[c]] * multipliers[j, c] < 0.0:
            side_of[chosen[c]] = -side_of[chosen[c]]
            cross(starts, members, chosen[c], sides, words)


@kernel
def sweep(
    target: TargetArrays,
    plane: PlaneArrays,
    coords: FloatArray,
    on: BoolArray,
    chosen: IntArray,
    errors: FloatArray,
    start: int,
    stop: int,
    pending: BoolArray,
    bits: WordArray,
    generators: FloatArray,
    count: int,
) -> int:
    """Write the cells of the simple vertices of a plane.

    Parameters
    ----------
    target, plane
        Where results go, and workspaces.
    coords : ndarray of float64, shape (k, k + 1 + m)
        Coordinates, of which the first two are those of the plane.
    on : ndarray of bool, shape (m,)
        Rows that vanish on the plane.
    chosen : ndarray of intp, shape (k - 2,) or longer
        Those that define it.
    errors : ndarray of float64, shape (k,)
        Bounds on the errors of rows and, at ``k - 2``, in the plane.
    start, stop : int
        Which rows complete a sequence.
    pending : ndarray of bool, shape (m,)
        Filled: which of these rows are left to do.
    bits, generators, count
        Output, and how many rows of it are in use.

    Returns
    -------
    int
        How many are in use now.
    """
    k, m = coords.shape[0], on.shape[0]
    n_on = 0
    for i in range(m):
        n_on += on[i]
        pending[i] = start <= i < stop and not on[i]
    if n_on != k - 2 or math.hypot(coords[0, k], coords[1, k]) <= CLEAR * errors[k - 2] or start >= stop:
        return count
    rows, tolerance, basis, owners, agreement, starts, members, fixed, every, units = target
    order, lines, combined, images, side_of, multipliers, weights, sides, values, words = plane
    size, shortest = _lines(coords, k + 1, on, order, lines)
    _combine(basis, coords, chosen, combined, images)
    _before(order, lines, size, chosen, k - 2, side_of)
    set_sides(owners, agreement, side_of, fixed, sides, words)
    _solve(coords, combined, order, lines, size, shortest, errors, start, stop, multipliers)
    _place(
        combined, order, lines, images, multipliers, size, size - size, size, min(_NEIGHBOURS, size), weights
    )
    for j in range(size):
        row, own = order[j], multipliers[j, k - 2]
        after = own == 0.0 or (own > 0.0) == (lines[1, j] > 0.0)
        if after:
            cross(starts, members, row, sides, words)
        if own == 0.0:
            continue
        _turn(starts, members, chosen, multipliers, j, side_of, sides, words)
        clear = confirmed(rows, tolerance, sides, weights, j, values)
        if not clear:
            _place(combined, order, lines, images, multipliers, size, j, j + 1, size, weights)
            clear = confirmed(rows, tolerance, sides, weights, j, values)
        if clear:
            count = write(words, every, fixed, weights, j, units, bits, generators, count)
            pending[row] = False
        if not after:
            cross(starts, members, row, sides, words)
    return count
