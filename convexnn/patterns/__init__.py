r"""Activation patterns: the sign vectors :math:`1[X u \ge 0]` of a data matrix.

The hyperplanes :math:`x_i \cdot u = 0` of the non-zero rows cut the space of hidden weights into cells,
on each of which a ReLU layer is linear. A `PatternSet` lists cells by packed sign vectors with an
interior witness each; `enumerate_patterns` lists all, `iterate_patterns` goes through them in batches,
`sample_patterns` lists some, and `count_patterns` bounds how many exist.
`pack_bits`, `unpack_bits`, `apply_patterns` and the pooled products are what a design operator needs to
read them.
"""

from convexnn.patterns._bits import pack_bits, unpack_bits
from convexnn.patterns._products import apply_patterns, pool_matrix, pool_outputs, spread_dual
from convexnn.patterns.arrangement import count_patterns
from convexnn.patterns.enumerate import enumerate_patterns
from convexnn.patterns.pattern_set import PatternSet
from convexnn.patterns.sample import sample_patterns
from convexnn.patterns.stream import iterate_patterns

__all__ = [
    "PatternSet",
    "apply_patterns",
    "count_patterns",
    "enumerate_patterns",
    "iterate_patterns",
    "pack_bits",
    "pool_matrix",
    "pool_outputs",
    "sample_patterns",
    "spread_dual",
    "unpack_bits",
]
