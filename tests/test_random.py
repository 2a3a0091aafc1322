"""Random states as users give them: what is returned, what is advanced, what repeats."""

import numpy as np
import pytest

from convexnn._random import as_generator, as_seed


@pytest.mark.parametrize("given", [0, 7, np.int32(7), 2**40])
def test_integers_are_seeds(given):
    assert as_seed(given) == int(given)
    assert type(as_seed(given)) is int
    assert as_generator(given).random() == np.random.default_rng(int(given)).random()


@pytest.mark.parametrize("kind", [np.random.RandomState, np.random.default_rng])
def test_states_give_the_same_seeds_again_and_are_advanced(kind, seed):
    first, again = kind(seed), kind(seed)
    seeds = [as_seed(first) for _ in range(5)]
    assert seeds == [as_seed(again) for _ in range(5)]
    assert len(set(seeds)) == 5
    assert all(type(value) is int and 0 <= value < 2**31 for value in seeds)
    # scikit-learn takes each of them.
    assert np.random.RandomState(max(seeds)).random_sample() < 1


def test_none_is_numpys_global_state_for_seeds():
    np.random.seed(3)  # noqa: NPY002
    first = as_seed(None)
    np.random.seed(3)  # noqa: NPY002
    assert as_seed(None) == first
    assert first == np.random.RandomState(3).randint(2**31 - 1)


def test_generators_are_kept_and_legacy_states_seed_one_by_four_draws(seed):
    given = np.random.default_rng(seed)
    assert as_generator(given) is given
    found = as_generator(np.random.RandomState(seed)).random(3)
    drawn = np.random.RandomState(seed).randint(0, 2**31 - 1, size=4)
    np.testing.assert_array_equal(found, np.random.default_rng([int(value) for value in drawn]).random(3))
    assert as_generator(None).random() != as_generator(None).random()


@pytest.mark.parametrize("function", [as_seed, as_generator])
def test_other_things_are_refused(function):
    with pytest.raises((TypeError, ValueError)):
        function("now")
