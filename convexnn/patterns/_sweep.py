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

from convexnn._jit import ZERO, kernel, reordering_kernel
from convexnn._typing import BoolArray, FloatArray, IntArray, WordArray
from convexnn.patterns._cells import CLEAR
from convexnn.patterns._target import Target

_CROWDED_BIN = 64  # lines, beyond which an insertion sort takes longer than one more pass over all
_ONE = np.uint64(1)
PlaneArrays: TypeAlias = tuple[
    IntArray,
    FloatArray,
    IntArray,
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
    BoolArray,
]


class Plane(NamedTuple):
    """Workspace of a sweep: lines by increasing angle, and what the pattern of a vertex is made of.

    Parameters
    ----------
    rows, raw : ndarrays of intp and float64, shapes (m,) and (3, m)
        Rows, and of the normal of each the coordinates along f and across, and a key to sort by.
    bins : ndarray of intp, shape (2, m + 1)
        Workspace of the sort.
    order : ndarray of intp, shape (m,)
        Sorted rows.
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
    weights : ndarray of float64, shape (m, 3 * ceil(d / 3))
        Scaled witnesses.
    sides, values : ndarray of float64, shape (n,)
        Signs of the rows of the data, and their products with a weight.
    words : ndarray of uint64, shape (ceil(n / 64),)
        The signs packed, the bits of zero rows being one.
    pending : ndarray of bool, shape (m,)
        Rows whose vertices are not done.
    """

    rows: IntArray
    raw: FloatArray
    bins: IntArray
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
    pending: BoolArray

    @classmethod
    def of(cls, m: int, k: int, target: Target) -> "Plane":
        """Return one for m rows in k dimensions."""
        (depth, n), inner = target.rows.shape, max(k - 2, 0)
        return cls(
            np.zeros(m, dtype=np.intp),
            np.zeros((3, m)),
            np.zeros((2, m + 1), dtype=np.intp),
            np.zeros(m, dtype=np.intp),
            np.zeros((4, m)),
            np.zeros((inner, k + 1 + m)),
            np.zeros((max(k, 2), target.basis.shape[0])),
            np.ones(m + 1),
            np.zeros((m, inner + 1)),
            np.zeros((m, depth)),
            np.ones(n),
            np.zeros(n),
            target.fixed.copy(),
            np.zeros(m, dtype=np.bool_),
        )


@kernel
def project(
    coords: FloatArray,
    on: BoolArray,
    errors: FloatArray,
    start: int,
    stop: int,
    pending: BoolArray,
    rows: IntArray,
    raw: FloatArray,
) -> tuple[int, float]:
    """Write the lines of a plane, and keys that grow with the angle; return their number and least length.

    There are none if more rows vanish on the plane than define it, or f is in doubt there.
    """
    size, shortest, k, first = ZERO, np.inf, coords.shape[0], coords.shape[0] + 1
    functional = math.hypot(coords[0, k], coords[1, k])
    cosine, sine = coords[0, k] / functional, coords[1, k] / functional
    for i in range(on.shape[0]):
        pending[i] = start <= i < stop and not on[i]
        if not on[i]:
            a, b = coords[0, first + i], coords[1, first + i]
            along, across = cosine * a + sine * b, cosine * b - sine * a
            rows[size], raw[0, size], raw[1, size] = i, along, across
            raw[2, size] = -along / across if across != 0.0 else 1e300
            shortest = min(shortest, a * a + b * b)
            size += 1
    if size != on.shape[0] - (k - 2) or functional <= CLEAR * errors[k - 2]:
        size = 0
    return size, float(math.sqrt(shortest))


@kernel
def sort_lines(
    rows: IntArray, raw: FloatArray, size: int, bins: IntArray, order: IntArray, lines: FloatArray
) -> None:
    """Sort the lines of a plane: into bins, then by insertion, at wide steps first if a bin is crowded."""
    for j in range(size + 1):
        bins[0, j] = 0
    for j in range(size):
        key = raw[2, j]
        bins[1, j] = int((0.5 * size) * (1.0 + key / (1.0 + abs(key))) * (1.0 - 1e-12))
        bins[0, bins[1, j] + 1] += 1
    gap = 1
    for b in range(size):
        if bins[0, b + 1] > _CROWDED_BIN:
            gap = size // 2
        bins[0, b + 1] += bins[0, b]
    for j in range(size):
        order[bins[0, bins[1, j]]] = j
        bins[0, bins[1, j]] += 1
    while gap > 0:
        for j in range(gap, size):
            line, i = order[j], j
            while i >= gap and raw[2, order[i - gap]] > raw[2, line]:
                order[i] = order[i - gap]
                i -= gap
            order[i] = line
        gap //= 2
    for j in range(size):
        along, across = raw[0, order[j]], raw[1, order[j]]
        signed = math.copysign(math.sqrt(along * along + across * across), across)
        lines[0, j], lines[1, j], lines[2, j], lines[3, j] = along, across, across / signed, -along / signed
        order[j] = rows[order[j]]


@kernel
def combine(
    basis: FloatArray, coords: FloatArray, chosen: IntArray, combined: FloatArray, images: FloatArray
) -> None:
    """Solve for the combinations of the rows that vanish on the plane, and map directions to weights."""
    k, width = coords.shape
    functional = math.hypot(coords[0, k], coords[1, k])
    cosine, sine = coords[0, k] / functional, coords[1, k] / functional
    for c in range(k - 3, -1, -1):
        axis = k - 1 - c
        inverse = 1.0 / coords[axis, k + 1 + chosen[c]]
        for i in range(width):
            combined[c, i] = inverse * coords[axis, i]
        for other in range(c + 1, k - 2):
            factor = inverse * coords[axis, k + 1 + chosen[other]]
            for i in range(width):
                combined[c, i] -= factor * combined[other, i]
    for j in range(basis.shape[0]):
        along, across = 0.0, 0.0
        for i in range(k):
            along += basis[j, i] * coords[0, i]
            across += basis[j, i] * coords[1, i]
        images[0, j], images[1, j] = cosine * along + sine * across, cosine * across - sine * along
        for c in range(k - 2):
            total = 0.0
            for i in range(k):
                total += basis[j, i] * combined[c, i]
            images[c + 2, j] = total


@kernel
def solve(
    coords: FloatArray,
    combined: FloatArray,
    order: IntArray,
    lines: FloatArray,
    size: int,
    shortest: float,
    errors: FloatArray,
    pending: BoolArray,
    multipliers: FloatArray,
) -> int:
    """Write the multipliers of vertices, zero if not pending or a sign is in doubt; count the others."""
    k, solved = coords.shape[0], 0
    functional = math.hypot(coords[0, k], coords[1, k])
    along_f, across_f = coords[0, k] / functional, coords[1, k] / functional
    reference = coords[0, k + 1] * along_f + coords[1, k + 1] * across_f
    reference_across = coords[1, k + 1] * along_f - coords[0, k + 1] * across_f
    for j in range(size):
        multipliers[j, k - 2] = 0.0
        along, across, cosine, sine = lines[0, j], lines[1, j], lines[2, j], lines[3, j]
        before, after = (j if j > 0 else size) - 1, (j + 1 if j + 1 < size else 0)
        apart = min(
            abs(cosine * lines[3, before] - sine * lines[2, before]),
            abs(cosine * lines[3, after] - sine * lines[2, after]),
        )
        square = along * along + across * across
        doubt = CLEAR * max(errors[k - 2], errors[0] / math.sqrt(square))
        if not pending[order[j]] or (size > 1 and shortest * apart <= doubt) or shortest <= doubt:
            continue
        value = reference * cosine + reference_across * sine
        height, first = functional * cosine / value, k + 1 + order[j]
        own = (functional * along - height * (reference * along + reference_across * across)) / square
        least, total = abs(own), abs(own) + (1.0 + abs(height)) / abs(value)
        for c in range(k - 2):
            multiplier = combined[c, k] - height * combined[c, k + 1] - own * combined[c, first]
            multipliers[j, c] = multiplier
            least, total = min(least, abs(multiplier)), total + abs(multiplier)
        if min(least, functional * cosine) > doubt * total:
            multipliers[j, k - 2] = own
            solved += 1
    return solved


@kernel
def place(
    combined: FloatArray,
    order: IntArray,
    lines: FloatArray,
    images: FloatArray,
    multipliers: FloatArray,
    size: int,
    neighbours: int,
    pending: BoolArray,
    weights: FloatArray,
) -> None:
    """Write witnesses for pending vertices, looking at crossings by so many lines on each side."""
    k = multipliers.shape[1] + 1
    reach = min(neighbours, (size - 1) // 2)
    for j in range(size):
        own, cosine, sine = multipliers[j, k - 2], lines[2, j], lines[3, j]
        if own == 0.0 or not pending[order[j]]:
            continue
        # The middle of the arc between the vertex and the one before or after it, or a point at 45 degrees.
        turn = 1 if (own > 0.0) == (lines[1, j] > 0.0) else -1
        other, sign = j + turn, 1.0
        if not 0 <= other < size:
            other, sign = other - turn * size, -1.0
        along, across = sign * lines[2, other], sign * lines[3, other]
        if size == 1 or along * cosine + across * sine < 0.0:
            along, across = -turn * sine, turn * cosine
        along, across = along + cosine, across + sine
        length = math.sqrt(along * along + across * across)
        along, across, rate = along / length, across / length, 1.0
        for position in range(j - reach, j + reach + 1 + (size - 1) % 2):
            i = position + size if position < 0 else (position - size if position >= size else position)
            row, move = k + 1 + order[i], 0.0
            for c in range(k - 2):
                move -= math.copysign(1.0, multipliers[j, c]) * combined[c, row]
            rate = max(rate, 2.0 * move / (lines[0, i] * along + lines[1, i] * across))
        for i in range(images.shape[1]):
            moved = 0.0
            for c in range(k - 2):
                moved += math.copysign(1.0, multipliers[j, c]) * images[c + 2, i]
            weights[j, i] = along * images[0, i] + across * images[1, i] + moved / rate


@kernel
def begin(
    order: IntArray,
    lines: FloatArray,
    size: int,
    chosen: IntArray,
    inner: int,
    owners: IntArray,
    agreement: FloatArray,
    side_of: FloatArray,
    fixed: WordArray,
    sides: FloatArray,
    words: WordArray,
) -> None:
    """Write the signs before the first line, those of hyperplanes that hold the plane being positive."""
    for c in range(inner):
        side_of[chosen[c]] = 1.0
    for j in range(size):
        side_of[order[j]] = -1.0 if lines[1, j] > 0.0 else 1.0
    for w in range(words.shape[0]):
        words[w] = fixed[w]
    for i in range(sides.shape[0]):
        sides[i] = side_of[owners[i]] * agreement[i]
        words[i >> 6] |= np.uint64(sides[i] > 0.0) << np.uint64(i & 63)


@kernel
def _cross(starts: IntArray, members: IntArray, hyperplane: int, sides: FloatArray, words: WordArray) -> None:
    """Change the sides of the rows of a hyperplane."""
    for position in range(starts[hyperplane], starts[hyperplane + 1]):
        i = members[position]
        sides[i] = -sides[i]
        words[i >> 6] ^= _ONE << np.uint64(i & 63)


@reordering_kernel
def confirmed(
    rows: FloatArray,
    tolerance: FloatArray,
    sides: FloatArray,
    weights: FloatArray,
    j: int,
    values: FloatArray,
) -> bool:
    """Whether the products of weight j with all non-zero rows have the given signs, beyond rounding."""
    depth, n = rows.shape
    square, clear = 0.0, 0
    for c in range(0, depth, 3):
        x, y, z = weights[j, c], weights[j, c + 1], weights[j, c + 2]
        square += x * x + y * y + z * z
        if c < depth - 3:
            kept = 0.0 if c == 0 else 1.0
            for i in range(n):
                values[i] = kept * values[i] + (x * rows[c, i] + y * rows[c + 1, i] + z * rows[c + 2, i])
    norm = math.sqrt(square)
    for i in range(n):
        value = values[i] + (x * rows[depth - 3, i] + y * rows[depth - 2, i] + z * rows[depth - 1, i])
        clear += sides[i] * value > norm * tolerance[i]
    return bool(clear == n)


@kernel
def record(
    rows: FloatArray,
    tolerance: FloatArray,
    starts: IntArray,
    members: IntArray,
    every: WordArray,
    fixed: WordArray,
    units: FloatArray,
    order: IntArray,
    lines: FloatArray,
    multipliers: FloatArray,
    size: int,
    chosen: IntArray,
    side_of: FloatArray,
    weights: FloatArray,
    sides: FloatArray,
    values: FloatArray,
    words: WordArray,
    pending: BoolArray,
    bits: WordArray,
    generators: FloatArray,
    count: int,
) -> int:
    """Write the cells of pending vertices whose witnesses have the signs they should, beyond rounding."""
    inner = multipliers.shape[1] - 1
    for j in range(size):
        row, own = order[j], multipliers[j, inner]
        after = own == 0.0 or (own > 0.0) == (lines[1, j] > 0.0)
        if after:
            _cross(starts, members, row, sides, words)
        if own != 0.0 and pending[row]:
            for c in range(inner):
                if side_of[chosen[c]] * multipliers[j, c] < 0.0:
                    side_of[chosen[c]] = -side_of[chosen[c]]
                    _cross(starts, members, chosen[c], sides, words)
            if confirmed(rows, tolerance, sides, weights, j, values):
                pending[row] = False
                for w in range(words.shape[0]):
                    bits[count, w] = words[w]
                    bits[count + 1, w] = (~words[w] & every[w]) | fixed[w]
                for c in range(generators.shape[1]):
                    value = weights[j, c] * units[0, c] * units[1, c]
                    generators[count, c] = value
                    generators[count + 1, c] = -value
                count += 2
        if not after:
            _cross(starts, members, row, sides, words)
    return count
