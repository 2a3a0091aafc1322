"""Sign vectors packed into 64-bit words: sample ``i`` is bit ``i % 64`` of word ``i // 64``."""

from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from convexnn._jit import kernel
from convexnn._typing import BoolArray, FloatArray, IntArray, WordArray

WORD = 64
Scalar = TypeVar("Scalar", bound=np.generic)
_MIX = np.uint64(0x9E3779B97F4A7C15)
_HALF = np.uint64(32)


def n_words(n_samples: int) -> int:
    """Return the number of words that hold `n_samples` bits."""
    return (n_samples + WORD - 1) // WORD


def pack_bits(dense: BoolArray) -> WordArray:
    """Pack a dense boolean array, one pattern per row.

    Parameters
    ----------
    dense : ndarray of bool, shape (P, n)

    Returns
    -------
    ndarray of uint64, shape (P, ceil(n / 64))
        Bit ``i % 64`` of word ``i // 64`` is ``dense[:, i]``; unused high bits are zero.
    """
    n_patterns, n_samples = dense.shape
    octets = np.zeros((n_patterns, 8 * n_words(n_samples)), dtype=np.uint8)
    packed = np.packbits(dense, axis=1, bitorder="little")
    octets[:, : packed.shape[1]] = packed
    return octets.view("<u8").astype(np.uint64, copy=False)


def unpack_bits(bits: WordArray, n_samples: int) -> BoolArray:
    """Undo `pack_bits`.

    Parameters
    ----------
    bits : ndarray of uint64, shape (P, ceil(n / 64))
    n_samples : int
        Number of bits ``n`` of each row.

    Returns
    -------
    ndarray of bool, shape (P, n)
    """
    octets = np.ascontiguousarray(bits, dtype="<u8").view(np.uint8)
    return np.unpackbits(octets, axis=1, count=n_samples, bitorder="little").view(np.bool_)


def interleaved(first: NDArray[Scalar], second: NDArray[Scalar]) -> NDArray[Scalar]:
    """Return the rows of two matrices in turn."""
    return np.stack([first, second], axis=1).reshape(2 * len(first), first.shape[1])


@kernel
def pack_signs(
    values: FloatArray, tolerance: FloatArray, scale: FloatArray, bits: WordArray, clear: BoolArray
) -> None:
    """Pack ``values > 0`` and tell which rows are clear of zero.

    Parameters
    ----------
    values : ndarray of float64, shape (P, n), C-contiguous
    tolerance : ndarray of float64, shape (n,)
        Bound on the rounding error of each column for a row of scale one; negative exempts a column.
    scale : ndarray of float64, shape (P,)
        Scale of each row.
    bits : ndarray of uint64, shape (P, ceil(n / 64))
        Written.
    clear : ndarray of bool, shape (P,)
        Written: whether ``|values[p, i]| > scale[p] * tolerance[i]`` for all ``i``.
    """
    n_patterns, n_samples = values.shape
    for p in range(n_patterns):
        clear[p] = True
        for w in range(bits.shape[1]):
            low = 64 * w
            word = np.uint64(0)
            close = 0
            for b in range(min(64, n_samples - low)):
                value = values[p, low + b]
                word |= np.uint64(value > 0.0) << np.uint64(b)
                close += abs(value) <= scale[p] * tolerance[low + b]
            bits[p, w] = word
            if close > 0:
                clear[p] = False


def _first_equal(bits: WordArray) -> IntArray:
    """Return the first row equal to each row."""
    table = np.full(1 << (2 * len(bits) + 1).bit_length(), -1, dtype=np.intp)
    first = np.empty(len(bits), dtype=np.intp)
    _write_first_equal(np.ascontiguousarray(bits), table, first)
    return first


@kernel
def _write_first_equal(bits: WordArray, table: IntArray, first: IntArray) -> None:
    """Write the first row equal to each, by open addressing in a table of -1, a power of two of them."""
    (n_rows, words), size = bits.shape, table.shape[0]
    for p in range(n_rows):
        state = _MIX
        for w in range(words):
            state = (state ^ bits[p, w]) * _MIX
            state ^= state >> _HALF
        slot = np.intp(state & np.uint64(size - 1))
        while table[slot] >= 0:
            equal = True
            for w in range(words):
                equal &= bits[table[slot], w] == bits[p, w]
            if equal:
                break
            slot = (slot + 1) % size
        if table[slot] < 0:
            table[slot] = p
        first[p] = table[slot]


def unique_rows(bits: WordArray) -> IntArray:
    """Return the indices of the first occurrence of each distinct row, increasing.

    Parameters
    ----------
    bits : ndarray of uint64, shape (P, W)

    Returns
    -------
    ndarray of int, shape (number of distinct rows,)

    Notes
    -----
    By hashing; rows with equal hashes are compared word by word, so collisions are harmless.
    """
    return np.flatnonzero(_first_equal(bits) == np.arange(len(bits)))


def match_rows(bits: WordArray, queries: WordArray) -> IntArray:
    """Return the first position of each query among the rows of `bits`, or -1.

    Parameters
    ----------
    bits : ndarray of uint64, shape (P, W)
    queries : ndarray of uint64, shape (Q, W)

    Returns
    -------
    ndarray of int, shape (Q,)
    """
    first = _first_equal(np.concatenate([bits, queries]))[len(bits) :]
    return np.where(first < len(bits), first, -1)
