"""The vector-valued gain of a hidden unit that acts on groups of rows."""

from dataclasses import dataclass, replace

import numpy as np
from scipy import sparse

from convexnn._typing import FloatArray, IntArray

__all__ = ["GroupedGain"]

_EPS = float(np.finfo(np.float64).eps)


@dataclass(frozen=True, eq=False)
class GroupedGain:
    r"""``G(u) = G_0 u + sum_g E_g t_g psi_g(u)`` with ``psi_g(u) = max(0, x . u of the rows of group g)``.

    ``E_g`` puts the q numbers ``t_g`` at the entries that begin at the group's offset.

    Attributes
    ----------
    rows : ndarray of shape (n_groups * size, d)
        Groups are consecutive rows.
    values : ndarray of shape (n_groups, q)
        ``t_g``.
    offsets : ndarray of shape (n_groups,)
    size : int
        Rows in a group.
    linear : ndarray of shape (C, d)
        ``G_0``.
    """

    rows: FloatArray
    values: FloatArray
    offsets: IntArray
    size: int
    linear: FloatArray

    @classmethod
    def of(
        cls,
        rows: FloatArray,
        values: FloatArray,
        size: int,
        offsets: IntArray | None,
        n_columns: int | None,
        linear: FloatArray | None,
    ) -> "GroupedGain":
        """Check shapes and fill in what was left out; a `values` of shape (n_groups,) has q = 1.

        Raises
        ------
        ValueError
            If the shapes do not fit each other.
        """
        rows = np.ascontiguousarray(rows, dtype=np.float64)
        values = np.ascontiguousarray(values, dtype=np.float64)
        values = values.reshape(len(values), -1) if values.size else values.reshape(0, 1)
        n, q = values.shape
        if size < 1 or len(rows) != n * size:
            raise ValueError(
                f"Got {len(rows)} rows, {n} groups of values and a group size of {size}. Wanted as many rows "
                "as groups times their size; order the rows group by group."
            )
        offsets = np.zeros(n, dtype=np.intp) if offsets is None else np.asarray(offsets, dtype=np.intp)
        needed = int(offsets.max(initial=0)) + q
        if n_columns is None:
            n_columns = needed if linear is None else len(linear)
        linear = np.zeros((n_columns, rows.shape[1])) if linear is None else np.asarray(linear, np.float64)
        if offsets.shape != (n,) or offsets.min(initial=0) < 0 or needed > n_columns:
            raise ValueError(
                f"Got offsets of shape {offsets.shape} from {offsets.min(initial=0)} to "
                f"{offsets.max(initial=0)}. Wanted one for each of {n} groups, so that {q} entries fit into "
                f"{n_columns} columns; try a larger `n_columns`."
            )
        if linear.shape != (n_columns, rows.shape[1]):
            raise ValueError(
                f"Got a linear part of shape {linear.shape}. Wanted {(n_columns, rows.shape[1])}, "
                "one row for each column of the gain."
            )
        return cls(rows, values, offsets, size, np.ascontiguousarray(linear))

    @property
    def radii(self) -> FloatArray:
        """Length of the longest row of each group, shape (n_groups,)."""
        lengths = np.linalg.norm(self.rows, axis=1)
        radii: FloatArray = lengths.reshape(-1, self.size).max(axis=1, initial=0.0)
        return radii

    @property
    def bound(self) -> float:
        """``|G_0|_F + sum_g |t_g| max |x|``, rounded up: no less than ``|G|`` on the unit ball."""
        size = float(np.linalg.norm(self.linear) + np.linalg.norm(self.values, axis=1) @ self.radii)
        return size * (1 + 2 * (len(self.rows) + self.linear.size + 4) * _EPS)

    def merged(self) -> "GroupedGain":
        """Drop groups that are nothing, and add up those with the same rows and offset."""
        n, width = len(self.values), self.size * self.rows.shape[1]
        flat = self.rows.reshape(n, width) + 0.0
        used = np.flatnonzero(self.values.any(axis=1) & flat.any(axis=1))
        flat = flat[used]
        for group in flat.reshape(len(used), self.size, -1) if self.size > 1 and len(used) else ():
            group[...] = group[np.lexsort(group.T)]
        keys = np.column_stack([self.offsets[used], flat])
        keys, place = np.unique(keys, axis=0, return_inverse=True)
        values = np.zeros((len(keys), self.values.shape[1]))
        np.add.at(values, place.ravel(), self.values[used])
        left = values.any(axis=1)
        return replace(
            self,
            rows=np.ascontiguousarray(keys[left, 1:].reshape(-1, self.rows.shape[1])),
            values=np.ascontiguousarray(values[left]),
            offsets=keys[left, 0].astype(np.intp),
        )

    def at(self, U: FloatArray) -> FloatArray:
        """Return ``G`` at the columns of U, shape (d, m); shape (C, m)."""
        highest = self._heights(U).max(axis=1, initial=0.0)
        response: FloatArray = self._scatter() @ highest + self.linear @ U
        return response

    def gradients(self, U: FloatArray, directions: FloatArray) -> FloatArray:
        """Return the gradients of ``b . G`` at the columns u of U, shape (d, m).

        Parameters
        ----------
        U : ndarray of shape (d, m)
        directions : ndarray of shape (C, m)
            A vector b for every column.
        """
        gradients: FloatArray = self.linear.T @ directions
        heights = self._heights(U)
        if not len(heights):
            return gradients
        place = heights.argmax(axis=1)
        highest = np.take_along_axis(heights, place[:, None], axis=1)[:, 0]
        weights = (self._scatter().T @ directions) * (highest > 0)
        if self.size == 1:
            gradients += self.rows.T @ weights
            return gradients
        groups = np.arange(len(place))[:, None] * self.size
        gradients += np.einsum("gmd,gm->dm", self.rows[groups + place], weights)
        return gradients

    def _heights(self, U: FloatArray) -> FloatArray:
        return (self.rows @ U).reshape(len(self.values), self.size, U.shape[1])

    def _scatter(self) -> sparse.csr_array:
        """Return the matrix of shape (C, n_groups) that the highest rows are multiplied with."""
        n, q = self.values.shape
        at = self.offsets[:, None] + np.arange(q)
        groups = np.repeat(np.arange(n), q)
        return sparse.csr_array((self.values.ravel(), (at.ravel(), groups)), shape=(len(self.linear), n))
