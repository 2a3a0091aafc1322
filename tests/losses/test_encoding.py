"""Targets as users give them, against the arrays that losses read; messages of what is refused."""

import numpy as np
import pytest

from convexnn.losses import Huber, LogLoss, Softmax, encode_targets, get_loss


def test_losses_are_found_by_name_and_pass_through():
    assert get_loss("log_loss") == LogLoss()
    assert get_loss("log_loss", 3) == Softmax()
    assert get_loss(LogLoss(), 3) == LogLoss()
    assert get_loss("huber").smoothness == 1.0
    loss = Huber(0.3)
    assert get_loss(loss) is loss
    with pytest.raises(ValueError, match=r"Unknown loss 'mse'.*'absolute_error'.*'squared_hinge'"):
        get_loss("mse")


@pytest.mark.parametrize("dtype", [np.int32, np.float32, np.float64])
def test_regression_targets_become_columns(dtype):
    y = np.array([1, 2, 3], dtype=dtype)
    encoded = encode_targets("squared_error", y)
    assert encoded.shape == (3, 1)
    assert encoded.dtype == np.float64
    np.testing.assert_array_equal(encoded[:, 0], y)
    two = np.arange(6.0).reshape(3, 2)
    result = encode_targets("huber", two, 2)
    np.testing.assert_array_equal(result, two)
    assert not np.shares_memory(result, two)


@pytest.mark.parametrize("loss", ["log_loss", "hinge", "squared_hinge"])
def test_binary_targets_are_signs(loss):
    np.testing.assert_array_equal(encode_targets(loss, [1, -1, 1]), [[1.0], [-1.0], [1.0]])
    np.testing.assert_array_equal(encode_targets(loss, [[1], [-1]]), [[1.0], [-1.0]])
    with pytest.raises(ValueError, match=r"must be -1 or \+1\. Got \[0\.0, 1\.0\].*2 \* y - 1"):
        encode_targets(loss, [0, 1, 1])


def test_class_indices_become_one_hot_or_one_against_the_rest():
    np.testing.assert_array_equal(encode_targets("log_loss", [2, 0], 3), [[0, 0, 1], [1, 0, 0]])
    np.testing.assert_array_equal(encode_targets("softmax", [1.0, 0.0], 2), [[0, 1], [1, 0]])
    np.testing.assert_array_equal(encode_targets("hinge", [2, 0], 3), [[-1, -1, 1], [1, -1, -1]])
    np.testing.assert_array_equal(encode_targets(LogLoss(), [1], 2), [[-1, 1]])


@pytest.mark.parametrize(
    ("loss", "y"), [("softmax", [[0, 1, 0], [1, 0, 0]]), ("squared_hinge", [[1, 1, -1], [-1, -1, -1]])]
)
def test_encoded_targets_pass(loss, y):
    np.testing.assert_array_equal(encode_targets(loss, y, 3), y)


@pytest.mark.parametrize(
    ("loss", "y", "n_outputs", "message"),
    [
        ("squared_error", [1.0, np.nan], 1, "finite"),
        ("squared_error", ["a", "b"], 1, "must be numbers"),
        ("squared_error", [1.0, 2.0], 2, r"shape \(n_samples, 2\)\. Got \(2,\)"),
        ("squared_error", [[1.0, 2.0]], 1, r"\(n_samples, 1\)\. Got \(1, 2\)"),
        ("squared_error", 3.0, 1, "must have shape"),
        ("squared_error", np.zeros((2, 1, 1)), 1, "must have shape"),
        ("softmax", [0, 3], 3, r"from 0 to 2\. Got \[3\.0\]"),
        ("softmax", [0, -1], 3, r"Got \[-1\.0\]"),
        ("hinge", [0.5, 1], 3, r"Got \[0\.5\]"),
        ("softmax", [[0.5, 0.5]], 2, "one-hot"),
        ("softmax", [[1, 1]], 2, "one-hot"),
        ("hinge", [[0, 1]], 2, r"must be -1 or \+1"),
        ("softmax", [0, 1], 1, "at least two outputs"),
    ],
)
def test_unfit_targets_are_refused(loss, y, n_outputs, message):
    with pytest.raises(ValueError, match=message):
        encode_targets(loss, y, n_outputs)
