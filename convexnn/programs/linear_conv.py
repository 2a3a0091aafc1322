"""Convex programs of linear convolutional networks with weighted pooling, and their networks.

``f(x) = sum_j sum_k (x_k . u_j) a_jk + c`` depends on the filters through ``Z_k = sum_j u_j a_jk`` alone, and
the least ``1/2 sum_j (|u_j|^2 + |a_j|^2)`` is the nuclear norm of ``[Z_1 ... Z_K]``. With filters of the
whole image's size on a circle, ``f(x) = w . x + c`` and that norm is one of the discrete Fourier transform
of ``w``: then the program is a group lasso over frequencies.
"""

import numpy as np
from numpy.typing import NDArray

from convexnn._typing import FloatArray, IntArray
from convexnn.designs.explicit_design import ExplicitDesign
from convexnn.losses import Loss, encode_targets, get_loss
from convexnn.patches import PatchGeometry
from convexnn_solvers import ConvexProgram
from convexnn_solvers.spectral import SpectralProgram, balanced, operator_norm

__all__ = [
    "PatchMatrices",
    "circular_blocks",
    "circular_program",
    "circular_weights",
    "is_circular",
    "linear_conv_blocks",
    "linear_conv_program",
    "linear_conv_weights",
]


class PatchMatrices(ExplicitDesign):
    """The stacked patches of each sample as one matrix; the only block's weights are ``[Z_1 ... Z_K]'``.

    Parameters
    ----------
    patches : ndarray of shape (n, K, d), float64
        Kept as they are where they are contiguous, not copied.

    Raises
    ------
    ValueError
        If `patches` does not have three axes.
    """

    def __init__(self, patches: FloatArray) -> None:
        if patches.ndim != 3:
            raise ValueError(
                f"patches must have the shape (n_samples, n_positions, n_features); got {patches.shape}."
            )
        super().__init__(patches.reshape(len(patches), 1, -1))
        self._shape = patches.shape

    @property
    def matrices(self) -> FloatArray:
        """The patches, shape (n, K, d), a view."""
        return self._blocks.reshape(self._shape)

    def support(self, gradients: FloatArray, threshold: float, n_largest: int | None = None) -> FloatArray:
        """Operator norm of the gradients of all outputs together: ``(..., 1, K d) -> (..., 1)``."""
        del threshold, n_largest
        norm = operator_norm(gradients.reshape(-1, self._shape[2]))
        return np.full(gradients.shape[:-1], norm)


def linear_conv_program(
    patches: FloatArray,
    y: FloatArray,
    *,
    alpha: float,
    loss: str | Loss = "squared_error",
    sample_weight: FloatArray | None = None,
    fit_intercept: bool = True,
) -> SpectralProgram:
    """Build the program whose optimum is that of all linear networks with weighted pooling.

    ``min sum_i s_i loss(sum_k Z_k' x_ik + c, y_i) + alpha |[Z_1; ...; Z_q]|_*``, one ``Z_o`` for each output:
    filters are shared by the outputs, and the optimum is that of networks of any width.

    Parameters
    ----------
    patches : ndarray of shape (n, K, d)
        Patches of each sample, with a column of ones for a penalised hidden bias. A free hidden bias adds a
        constant to the outputs, which is the intercept's.
    y : ndarray of shape (n,) or (n, q)
        Targets, see `convexnn.losses.encode_targets`.
    alpha : float
        Regularisation strength, ``> 0``.
    loss : str or Loss
    sample_weight : ndarray of shape (n,), optional
    fit_intercept : bool

    Returns
    -------
    SpectralProgram
        For `convexnn_solvers.solve_spectral`; its blocks have the shape (1, q, 1, K d).

    Raises
    ------
    ValueError
        If shapes or values do not fit.

    References
    ----------
    Ergen and Pilanci, "Implicit convex regularizers of CNN architectures", ICLR 2021 (linear CNNs).
    """
    loss, targets, weight = _encoded(y, loss, sample_weight)
    return SpectralProgram(PatchMatrices(patches), targets, loss, float(alpha), weight, fit_intercept)


def _encoded(
    y: FloatArray, loss: str | Loss, sample_weight: FloatArray | None
) -> tuple[Loss, FloatArray, FloatArray]:
    """Loss, encoded targets and weights of the samples."""
    n_outputs = y.shape[1] if y.ndim == 2 else 1
    loss = get_loss(loss, n_outputs)
    weight = np.ones(len(y)) if sample_weight is None else np.asarray(sample_weight, dtype=np.float64)
    return loss, encode_targets(loss, y, n_outputs), weight


def linear_conv_weights(program: SpectralProgram, blocks: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Map a point of the program to a network of the same outputs and objective, with balanced weights.

    With ``Z = sum_j s_j p_j v_j'``, neuron ``j`` has the filter ``sqrt(s_j) v_j`` and the output weights
    ``sqrt(s_j) p_j``.

    Parameters
    ----------
    program : SpectralProgram
        From `linear_conv_program`.
    blocks : ndarray of shape (1, q, 1, K d)

    Returns
    -------
    hidden_weights : ndarray of shape (d, m)
        Column ``j`` is the filter ``u_j``, its bias last if the patches have a column of ones.
    output_weights : ndarray of shape (m, K, q)
    """
    factors = balanced(program.matrix(blocks), np.zeros(program.n_outputs))
    rank = factors.left.shape[1]
    lefts = factors.left.T.reshape(rank, program.n_outputs, program.design.matrices.shape[1])
    return factors.right, np.ascontiguousarray(lefts.transpose(0, 2, 1))


def linear_conv_blocks(hidden_weights: FloatArray, output_weights: FloatArray) -> FloatArray:
    """Map a network to the point of the program with the same outputs and an objective not above its.

    Parameters
    ----------
    hidden_weights : ndarray of shape (d, m)
    output_weights : ndarray of shape (m, K, q)

    Returns
    -------
    ndarray of shape (1, q, 1, K d)
    """
    matrices = np.einsum("jko,dj->okd", output_weights, hidden_weights)
    return np.asarray(matrices.reshape(1, len(matrices), 1, -1), dtype=np.float64)


def is_circular(geometry: PatchGeometry) -> bool:
    """Whether filters are as large as the image and visit all shifts of it on a circle."""
    return (
        geometry.padding == "circular"
        and geometry.kernel_size == geometry.image_shape[:-1]
        and all(step == 1 for step in geometry.stride)
    )


def circular_program(
    images: FloatArray,
    y: FloatArray,
    *,
    alpha: float,
    loss: str | Loss = "squared_error",
    sample_weight: FloatArray | None = None,
    fit_intercept: bool = True,
) -> ConvexProgram:
    """Build the group lasso of linear networks whose filters are as large as the image, without bias.

    The patches of such a filter are all shifts of the image on a circle, so that ``f(x) = w . x + c`` with
    ``w`` a sum of circular convolutions of filters and output weights. With ``D`` pixels and the unitary
    transform, the penalty is ``alpha / sqrt(D) sum_f |w^(f)|``, the norm over channels. There is a block for
    each pair of conjugate frequencies, of real and imaginary parts, and one output for each filter: with
    several outputs the networks are those whose filters feed one output each.

    Parameters
    ----------
    images : ndarray of shape (n, height, width, channels) or (n, length, channels)
    y : ndarray of shape (n,) or (n, q)
        Targets, see `convexnn.losses.encode_targets`.
    alpha : float
        Regularisation strength, ``>= 0``.
    loss : str or Loss
    sample_weight : ndarray of shape (n,), optional
    fit_intercept : bool

    Returns
    -------
    ConvexProgram
        Over an `ExplicitDesign`, one block of ``2 channels`` weights for each pair.

    Raises
    ------
    ValueError
        If shapes or values do not fit.

    References
    ----------
    Pilanci and Ergen, "Neural networks are convex regularizers", ICML 2020 (circular linear CNNs, the
    l1 norm in the Fourier domain); several channels turn its absolute values into norms.
    """
    if images.ndim not in (3, 4):
        raise ValueError(
            "images must have the shape (n, height, width, channels) or (n, length, channels); "
            f"got {images.shape}."
        )
    loss, targets, weight = _encoded(y, loss, sample_weight)
    n, *extents, channels = images.shape
    first, second = _frequencies(tuple(extents))
    spectrum = np.fft.fftn(images, axes=tuple(range(1, images.ndim - 1))).reshape(n, -1, channels)[:, first]
    # The transform of real data is real where a frequency is its own conjugate, but for rounding.
    imaginary = np.where((first == second)[:, None], 0.0, spectrum.imag)
    features = np.concatenate([spectrum.real, imaginary], axis=2)
    return ConvexProgram(ExplicitDesign(features), targets, loss, float(alpha), weight, fit_intercept)


def circular_weights(image_shape: tuple[int, ...], blocks: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Map a point of `circular_program` to a network of the same outputs and objective, balanced.

    A block becomes one neuron: its output weights are a wave of the block's frequency, and its filter has
    that frequency only, so that the circular convolution of both is the block's part of ``w``.

    Parameters
    ----------
    image_shape : tuple of int
        ``(height, width, channels)`` or ``(length, channels)``.
    blocks : ndarray of shape (1, q, P, 2 channels)

    Returns
    -------
    hidden_weights : ndarray of shape (D channels, m)
        Filters in the order of `PatchGeometry` with ``padding="circular"``: the patch of position ``p`` has
        ``x[p + e - (size - 1) // 2]`` at entry ``e``.
    output_weights : ndarray of shape (m, D, q)
    """
    *extents, channels = image_shape
    n_pixels = int(np.prod(extents))
    first, second = _frequencies(tuple(extents))
    output, used = np.nonzero(blocks[0].any(axis=2))
    vectors, rows = blocks[0, output, used], np.arange(used.size)
    first, second = first[used], second[used]
    # Of a pair both frequencies carry half of the squared norm.
    share = np.where(first == second, 1.0, np.sqrt(0.5))
    size = np.sqrt(np.linalg.norm(vectors, axis=1))
    filters = np.zeros((used.size, n_pixels, channels), dtype=np.complex128)
    waves = np.zeros((used.size, n_pixels, 1), dtype=np.complex128)
    values = (vectors[:, :channels] + 1j * vectors[:, channels:]) * (share / size)[:, None]
    values *= np.conj(_shift(tuple(extents))[first])[:, None]
    for frequency, part in ((second, np.conj(values)), (first, values)):
        filters[rows, frequency] = part
        waves[rows, frequency, 0] = share * size
    output_weights = np.zeros((used.size, n_pixels, blocks.shape[1]))
    output_weights[rows, :, output] = _signals(waves, tuple(extents))[:, :, 0]
    hidden_weights = _signals(filters, tuple(extents)).reshape(used.size, n_pixels * channels)
    return np.ascontiguousarray(hidden_weights.T), output_weights


def circular_blocks(
    geometry: PatchGeometry, hidden_weights: FloatArray, output_weights: FloatArray
) -> FloatArray:
    """Map a network to the point of `circular_program` with the same outputs; F is not above its.

    Parameters
    ----------
    geometry : PatchGeometry
        For which `is_circular` holds.
    hidden_weights : ndarray of shape (D channels, m)
    output_weights : ndarray of shape (m, D, q)

    Returns
    -------
    ndarray of shape (1, q, P, 2 channels)
    """
    *extents, channels = geometry.image_shape
    places = geometry.rows(np.arange(geometry.n_features)[None]).astype(np.intp).ravel()
    first, second = _frequencies(tuple(extents))
    # Both frequencies of a pair add the same to the real sum x . w = sum_f x^(f) conj(w^(f)) / D.
    share = np.where(first == second, 1.0, 2.0)[:, None] / int(np.prod(extents))
    blocks = np.empty((1, output_weights.shape[2], len(first), 2 * channels))
    for o, amounts in enumerate(np.moveaxis(output_weights, 2, 0)):
        by_position = (amounts.T @ hidden_weights.T).ravel()
        weights = np.bincount(places, weights=by_position, minlength=geometry.n_features)
        grid = weights.reshape(*extents, channels)
        spectrum = np.fft.fftn(grid, axes=tuple(range(len(extents)))).reshape(-1, channels)[first]
        imaginary = np.where((first == second)[:, None], 0.0, spectrum.imag)
        blocks[0, o] = np.concatenate([spectrum.real, imaginary], axis=1) * share
    return blocks


def _frequencies(extents: tuple[int, ...]) -> tuple[IntArray, IntArray]:
    """Flat positions of one frequency of each conjugate pair, and of the other one."""
    position = np.arange(int(np.prod(extents))).reshape(extents)
    conjugate = position[np.ix_(*(-np.arange(size) % size for size in extents))]
    first = np.flatnonzero(position <= conjugate)
    return first, conjugate.ravel()[first]


def _shift(extents: tuple[int, ...]) -> NDArray[np.complex128]:
    """Return factors of the transform of a signal moved by ``(size - 1) // 2`` along each axis, flattened."""
    cycles = np.zeros(extents)
    for axis, frequency in enumerate(np.ix_(*(np.arange(size) / size for size in extents))):
        cycles = cycles + frequency * ((extents[axis] - 1) // 2)
    factors: NDArray[np.complex128] = np.exp(2j * np.pi * cycles).ravel()
    return factors


def _signals(spectra: NDArray[np.complex128], extents: tuple[int, ...]) -> FloatArray:
    """Real signals of unitary transforms: ``(m, D, channels) -> (m, D, channels)``."""
    grid = spectra.reshape(len(spectra), *extents, spectra.shape[2])
    signals = np.fft.ifftn(grid, axes=tuple(range(1, grid.ndim - 1)), norm="ortho").real
    return np.ascontiguousarray(signals).reshape(spectra.shape)
