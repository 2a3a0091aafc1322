"""Work shared between threads: every item once, errors raised, alive after a fork."""

import multiprocessing
import os
import subprocess
import sys
import threading
import time
import warnings

import numpy as np
import pytest
from threadpoolctl import threadpool_info

from convexnn_solvers import threads

WORTH_IT = 1e12


@pytest.fixture(params=[1, 2, 3, 8])
def n_threads(request, monkeypatch):
    monkeypatch.setattr(threads.numba, "get_num_threads", lambda: request.param)
    return request.param


@pytest.mark.parametrize("n_items", [0, 1, 2, 3, 7, 8, 1000])
@pytest.mark.parametrize("operations", [0.0, 3e6, WORTH_IT])
def test_every_item_is_covered_once(n_threads, n_items, operations):
    counts, parts = np.zeros(n_items, dtype=int), []

    def work(part):
        counts[part] += 1
        parts.append(part)

    threads.in_parts(work, n_items, operations)
    np.testing.assert_array_equal(counts, 1)
    assert len(parts) <= max(1, min(n_threads, n_items))
    assert all(0 <= part.start <= part.stop <= n_items for part in parts)
    if operations == 0.0:
        assert parts == [slice(0, n_items)]


def test_parts_run_at_the_same_time(monkeypatch):
    monkeypatch.setattr(threads.numba, "get_num_threads", lambda: 2)
    # Each part waits for the other one, which would not come if they ran one after another.
    barrier = threading.Barrier(2, timeout=60)
    threads.in_parts(lambda part: barrier.wait(), 2, WORTH_IT)
    assert not barrier.broken


@pytest.mark.parametrize(
    "failing",
    [0, 1, 2],
)
def test_errors_are_raised_after_all_parts_have_ended(monkeypatch, failing):
    monkeypatch.setattr(threads.numba, "get_num_threads", lambda: 3)
    ended = []

    def work(part):
        if part.start == failing:
            raise ZeroDivisionError(f"part {part.start}")
        time.sleep(0.1 * (1 + part.start))
        ended.append(part.start)

    with pytest.raises(ZeroDivisionError, match=f"part {failing}"):
        threads.in_parts(work, 3, WORTH_IT)
    assert sorted(ended) == [i for i in range(3) if i != failing]
    # And the pool still works.
    counts = np.zeros(3, dtype=int)
    threads.in_parts(lambda part: counts.__setitem__(part, 1), 3, WORTH_IT)
    assert counts.all()


def share_and_report(connection):
    counts = np.zeros(5, dtype=int)
    threads.in_parts(lambda part: counts.__setitem__(part, counts[part] + 1), 5, WORTH_IT)
    connection.send(counts.tolist())


@pytest.mark.skipif("fork" not in multiprocessing.get_all_start_methods(), reason="no fork on this system")
def test_a_forked_process_has_a_pool_of_its_own(monkeypatch):
    monkeypatch.setattr(threads.numba, "get_num_threads", lambda: 2)
    threads.in_parts(lambda part: None, 5, WORTH_IT)  # the pool that the child must not believe in
    context = multiprocessing.get_context("fork")
    receiving, sending = context.Pipe(duplex=False)
    child = context.Process(target=share_and_report, args=(sending,))
    with warnings.catch_warnings():
        # Python 3.12 and later warn of what is tested here.
        warnings.filterwarnings("ignore", message=".*fork.*", category=DeprecationWarning)
        child.start()
    try:
        assert receiving.poll(timeout=60), "the forked process hangs"
        assert receiving.recv() == [1] * 5
        child.join(timeout=60)
        assert child.exitcode == 0
    finally:
        child.kill()
        child.join()


def blas_threads():
    return [library["num_threads"] for library in threadpool_info() if library["user_api"] == "blas"]


def test_blas_has_one_thread_inside_and_its_own_number_after():
    before = blas_threads()
    with threads.single_blas_thread():
        assert set(blas_threads()) <= {1}
        with threads.single_blas_thread():
            assert set(blas_threads()) <= {1}
        assert set(blas_threads()) <= {1}
    assert blas_threads() == before


@pytest.mark.parametrize("n_items", [1, 5, 1000])
@pytest.mark.parametrize("operations", [0.0, 3e6, WORTH_IT])
def test_sums_are_the_same_with_any_number_of_threads(monkeypatch, n_items, operations):
    values = np.random.default_rng(0).normal(size=(n_items, 50)) * 10.0 ** np.arange(-10, 40, 1)
    found = []
    for n_threads in (1, 2, 4, 7):
        monkeypatch.setattr(threads.numba, "get_num_threads", lambda n=n_threads: n)
        found.append(threads.sum_of_parts(lambda part: values[part].sum(axis=0), n_items, operations))
    for other in found[1:]:
        np.testing.assert_array_equal(other, found[0])
    np.testing.assert_allclose(found[0], values.sum(axis=0), rtol=1e-12)


def test_overlapping_blocks_leave_the_threads_of_blas_as_they_were():
    before, entered, left = blas_threads(), threading.Event(), threading.Event()

    def first():
        with threads.single_blas_thread():
            entered.set()
            assert left.wait(60)

    def second():
        assert entered.wait(60)
        with threads.single_blas_thread():
            left.set()
            worker.join(60)
            # The first block has ended, this one has not.
            assert set(blas_threads()) == {1}

    worker = threading.Thread(target=first)
    worker.start()
    second()
    assert not worker.is_alive()
    assert blas_threads() == before


FIT = """
import numpy as np
from convexnn import ConvexMLPClassifier, ConvexMLPRegressor
rng = np.random.default_rng(0)
X = rng.normal(size=(200, 5))
y = np.abs(X[:, 0]) - X[:, 1] * (X[:, 2] > 0)
models = [
    ConvexMLPRegressor(1.0, random_state=0).fit(X, y),
    ConvexMLPRegressor(1.0, patterns=60, random_state=0).fit(X, y),
    ConvexMLPClassifier(1.0, random_state=0).fit(X, np.digitize(y, [-1.0, 1.0])),
    ConvexMLPRegressor(0.5, patterns="exact", hidden_bias="free").fit(X[:60, :3], y[:60]),
]
print([hash(model.network_) for model in models])
"""


@pytest.mark.slow
def test_a_seed_gives_one_network_with_any_number_of_threads():
    found = set()
    for n_threads in (1, 2, 4):
        variables = {"NUMBA_NUM_THREADS": str(n_threads), "PYTHONHASHSEED": "0"}
        done = subprocess.run(
            [sys.executable, "-W", "ignore", "-c", FIT],
            env=os.environ | variables,
            capture_output=True,
            text=True,
            check=True,
        )
        found.add(done.stdout)
    assert len(found) == 1
