"""How many patterns there can be."""

from math import comb

__all__ = ["count_patterns"]


def count_patterns(n: int, r: int) -> int:
    r"""Return the number of cells of n central hyperplanes in general position in r dimensions.

    .. math:: 2 \sum_{k=0}^{r-1} \binom{n-1}{k}

    An upper bound for any data with n distinct hyperplanes (rows up to a factor, zero rows left out) of rank
    r; fewer cells exist where more than k of them meet in a flat of codimension k.

    Parameters
    ----------
    n : int
        Number of hyperplanes, at least 1.
    r : int
        Rank. Zero stands for data of zero rows only, which have one pattern; above n it counts as n.

    Returns
    -------
    int
        Exact.

    Raises
    ------
    ValueError
        If ``n < 1`` or ``r < 0``.

    References
    ----------
    Cover, "Geometrical and statistical properties of systems of linear inequalities with applications in
    pattern recognition", IEEE Trans. Electronic Computers 14 (1965), theorem 1.
    """
    if n < 1 or r < 0:
        raise ValueError(f"count_patterns needs n >= 1 hyperplanes and a rank r >= 0. Got n={n}, r={r}.")
    if r == 0:
        return 1
    return 2 * sum(comb(n - 1, k) for k in range(min(n, r)))
