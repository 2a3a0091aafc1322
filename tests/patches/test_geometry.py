"""Patches against loops over positions, and against PyTorch's unfold."""

import pickle
from itertools import product

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from conv_cases import geometries
from convexnn.patches import PatchGeometry


def samples(geometry, n=3, seed=0):
    return np.random.default_rng(seed).normal(size=(n, *geometry.image_shape))


def loop_over_positions(geometry, image):
    """Patches of one image, entry by entry: starts at -front in steps, pixels outside are zero or wrap."""
    sizes, same = geometry.image_shape[:-1], geometry.padding != "valid"
    front = [(k - 1) // 2 if same else 0 for k in geometry.kernel_size]
    last = [size - 1 if same else size - k for size, k in zip(sizes, geometry.kernel_size, strict=True)]
    starts = [range(0, end + 1, step) for end, step in zip(last, geometry.stride, strict=True)]
    patches = []
    for start in product(*starts):
        patch = []
        for offset in product(*map(range, geometry.kernel_size)):
            pixel = [s - f + o for s, f, o in zip(start, front, offset, strict=True)]
            inside = all(0 <= p < size for p, size in zip(pixel, sizes, strict=True))
            wrapped = tuple(p % size for p, size in zip(pixel, sizes, strict=True))
            for channel in range(geometry.image_shape[-1]):
                is_read = inside or geometry.padding == "circular"
                patch.append(image[(*wrapped, channel)] if is_read else 0.0)
        patches.append(patch)
    return np.array(patches), tuple(map(len, starts))


@settings(deadline=None)
@given(geometry=geometries(), bias=st.booleans(), flat=st.booleans())
def test_rows_are_the_patches_of_a_loop(geometry, bias, flat):
    X = samples(geometry)
    rows = geometry.rows(X.reshape(3, -1) if flat else X, bias=bias)
    expected, output_shape = zip(*(loop_over_positions(geometry, image) for image in X), strict=True)
    expected = np.vstack(expected)
    assert geometry.output_shape == output_shape[0]
    assert (3 * geometry.n_positions, geometry.patch_size) == expected.shape
    np.testing.assert_array_equal(rows[:, : geometry.patch_size], expected)
    assert rows.shape[1] == geometry.patch_size + bias
    assert not bias or (rows[:, -1] == 1).all()
    assert rows.flags.c_contiguous
    assert rows.dtype == np.float64


@settings(deadline=None)
@given(geometry=geometries())
def test_view_has_the_patches_and_copies_without_need_only_for_padding(geometry):
    X = samples(geometry)
    view = geometry.view(X)
    assert view.shape == (3, *geometry.output_shape, *geometry.kernel_size, geometry.image_shape[-1])
    np.testing.assert_array_equal(view.reshape(3 * geometry.n_positions, -1), geometry.rows(X))
    is_padded = geometry.padding != "valid" and max(geometry.kernel_size) > 1
    assert np.shares_memory(view, X) != is_padded


@settings(deadline=None)
@given(geometry=geometries())
def test_patches_are_those_of_unfold(geometry):
    torch = pytest.importorskip("torch")
    X = samples(geometry)
    # A signal is an image of height 1 here.
    kernel, stride = ((1,) * (2 - len(t)) + t for t in (geometry.kernel_size, geometry.stride))
    channels, sizes = geometry.image_shape[-1], geometry.image_shape[:-1]
    images = torch.tensor(geometry.channels_first(X)).reshape(3, channels, *(1,) * (2 - len(sizes)), *sizes)
    if geometry.padding != "valid":
        (top, bottom), (left, right) = (((k - 1) // 2, k - 1 - (k - 1) // 2) for k in kernel)
        mode = "constant" if geometry.padding == "zero" else "circular"
        images = torch.nn.functional.pad(images, (left, right, top, bottom), mode=mode)
    unfolded = torch.nn.functional.unfold(images, kernel, stride=stride).numpy()
    expected = unfolded.reshape(3, channels, -1, geometry.n_positions).transpose(0, 3, 2, 1)
    np.testing.assert_array_equal(geometry.rows(X).reshape(expected.shape), expected)


@settings(deadline=None)
@given(geometry=geometries(), n=st.integers(0, 40), budget=st.integers(1, 2000), width=st.integers(0, 9))
def test_chunks_are_all_samples_within_the_budget(geometry, n, budget, width):
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr("convexnn.patches.geometry._CHUNK_ENTRIES", budget)
        chunks = list(geometry.chunks(n, width))
    assert [i for chunk in chunks for i in range(n)[chunk]] == list(range(n))
    lengths = [len(range(n)[chunk]) for chunk in chunks]
    size = geometry.n_positions * (geometry.patch_size + width)
    assert all(length == 1 or length * size <= budget for length in lengths)
    assert sum(length * size <= budget / 2 for length in lengths) <= 1


def test_same_padding_keeps_the_size():
    for padding, kernel in product(["zero", "circular"], [1, 2, 3, (5, 4)]):
        geometry = PatchGeometry.of((5, 7, 2), kernel, padding=padding)
        assert geometry.output_shape == (5, 7)
        assert geometry.n_positions == 35
    assert PatchGeometry.of((5, 7, 2), 3, 2, "zero").output_shape == (3, 4)
    assert PatchGeometry.of((5, 7, 2), 3, 2, "valid").output_shape == (2, 3)


def test_options_are_completed():
    full = PatchGeometry((4, 6, 3), (2, 2), (1, 1), "valid")
    assert PatchGeometry.of((4, 6, 3), 2) == full
    assert PatchGeometry.of(np.array([4, 6, 3]), np.int64(2), (1, 1)) == full
    assert PatchGeometry.of((4, 6, 3), 9).kernel_size == (4, 6)
    assert PatchGeometry.of((4, 6, 3), (9, 2)).kernel_size == (4, 2)
    assert PatchGeometry.of((8, 1), 3, 2).stride == (2,)
    assert (full.patch_size, full.n_features, full.n_channels) == (12, 72, 3)


def test_geometries_are_values():
    full = PatchGeometry((4, 6, 3), (2, 2), (1, 1), "valid")
    assert pickle.loads(pickle.dumps(full)) == full
    assert len({full, PatchGeometry([4, 6, 3], [2, 2], [1, 1], "valid")}) == 1


def test_images_are_views_and_patches_of_lists_are_floats():
    geometry = PatchGeometry.of((4, 2), 2)
    X = np.arange(16.0).reshape(2, 8)
    assert np.shares_memory(geometry.images(X), X)
    assert geometry.rows(X.astype(np.int8).tolist()).dtype == np.float64
    assert geometry.rows(np.zeros((0, 8)), bias=True).shape == (0, 5)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (((4, 6), 0), "kernel_size must be an integer >= 1, or 1 of them. Got 0"),
        (((4, 6, 1), (1, 2, 3)), "kernel_size must be an integer >= 1, or 2 of them"),
        (((4, 6, 1), 2.5), "kernel_size must be an integer >= 1"),
        (((4, 6, 1), 2, -1), "stride must be an integer >= 1, or 2 of them. Got -1"),
        (((4, 6, 0), 2), "image_shape must be positive integers"),
        ((5, 2), "give one channel as 1"),
        (((5, 5, 5, 1), 2), "give one channel as 1"),
        (((5, 5, 1), 2, 1, "same"), "padding must be one of"),
    ],
)
def test_unfit_options_are_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        PatchGeometry.of(*arguments)


def test_constructor_does_not_cut():
    with pytest.raises(ValueError, match=r"kernel_size must not exceed.*PatchGeometry\.of cuts"):
        PatchGeometry((4, 1), (5,), (1,), "valid")


@pytest.mark.parametrize(
    ("shape", "message"),
    [
        ((3, 6, 4, 1), r"\(n_samples, 4, 6, 1\) or \(n_samples, 24\)\. Got \(3, 6, 4, 1\)"),
        ((3, 25), "reshape X"),
        ((24,), "reshape X"),
        ((3, 4, 6), r"X\[\.\.\., None\]"),
    ],
)
def test_samples_of_other_shapes_are_refused(shape, message):
    with pytest.raises(ValueError, match=message):
        PatchGeometry.of((4, 6, 1), 2).images(np.zeros(shape))
