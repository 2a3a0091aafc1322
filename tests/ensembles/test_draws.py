"""Masks and validation splits, for any input."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from convexnn.ensembles.bases import validation_split
from convexnn.ensembles.submodels import draw_masks

SEEDS = st.integers(0, 2**32 - 1)


@given(SEEDS, st.integers(1, 30), st.integers(1, 12), st.floats(0, 0.999))
def test_masks_are_nested_and_never_empty(seed, n_submodels, n_features, dropout):
    masks = draw_masks((n_submodels, n_features), dropout, np.random.default_rng(seed))
    assert masks.shape == (n_submodels, n_features)
    assert masks.any(axis=1).all()
    more = draw_masks((n_submodels + 5, n_features), dropout, np.random.default_rng(seed))
    np.testing.assert_array_equal(more[:n_submodels], masks)


def test_masks_drop_at_the_rate_asked_for(seed):
    rng = np.random.default_rng(seed)
    assert draw_masks((2000, 40), 0.3, rng).mean() == pytest.approx(0.7, abs=0.01)
    assert draw_masks((50, 4), 0.0, rng).all()
    only = draw_masks((3000, 3), 0.999, rng)
    assert only.sum(axis=1).mean() == pytest.approx(1, abs=0.01)
    np.testing.assert_allclose(only.mean(axis=0), 1 / 3, atol=0.05)


def split_or_refusal(*arguments):
    try:
        return validation_split(*arguments)
    except ValueError as error:
        return str(error)


@given(SEEDS, st.lists(st.integers(1, 9), min_size=1, max_size=5), st.floats(0.001, 0.999))
def test_splits_are_stratified_and_leave_every_class_a_sample(seed, sizes, fraction):
    rng = np.random.default_rng(seed)
    strata = rng.permutation(np.repeat(np.arange(len(sizes)), sizes))
    if max(sizes) == 1:
        with pytest.raises(ValueError, match=f"n_samples = {len(strata)} distinct"):
            validation_split(strata, fraction, rng)
        return
    sizes = np.array(sizes)
    divided = np.where(sizes > 1, sizes, 0)
    n, fewest = divided.sum(), np.count_nonzero(divided)
    total = np.clip(np.ceil(fraction * n), fewest, n - fewest)
    found = split_or_refusal(strata, fraction, rng)
    if isinstance(found, str):
        assert "to train on. Give a smaller one" in found
        assert (divided[divided > 0] * (n - total) < n).any()
        return
    training, validation = found
    np.testing.assert_array_equal(np.sort(np.concatenate([training, validation])), np.arange(len(strata)))
    assert validation.size >= 1
    assert (np.diff(validation) > 0).all()
    kept, aside = (np.bincount(strata[part], minlength=len(sizes)) for part in (training, validation))
    assert kept.min() >= 1
    assert aside.sum() == total
    assert (np.abs(aside - divided * total / n) < 1 + 1e-9).all()


def test_splits_are_random_and_repeatable(seed):
    strata = np.zeros(50, dtype=np.intp)
    first, again = (validation_split(strata, 0.2, np.random.default_rng(seed))[1] for _ in range(2))
    other = validation_split(strata, 0.2, np.random.default_rng(seed + 100))[1]
    np.testing.assert_array_equal(first, again)
    assert len(first) == 10
    assert set(first) != set(other)


def test_every_sample_is_set_aside_equally_often():
    strata = np.repeat([0, 1], [4, 8])
    rng = np.random.default_rng(0)
    counts = sum(np.isin(np.arange(12), validation_split(strata, 0.25, rng)[1]) for _ in range(700))
    np.testing.assert_allclose(counts / 700, 0.25, atol=0.05)
