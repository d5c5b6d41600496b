"""When the threads give way to the caller alone, and when they come back; times are told, no clock is asked."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest

from tests.engine.native_library import library_at

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from chatrwkv.engine.kernels import Library

    Seconds = NDArray[np.float64]

# the first test compiles the library
pytestmark = pytest.mark.timeout(600)

N = 4000
TOKENS = (0.001, 0.01, 0.1)  # seconds, of models from small to large


@pytest.fixture(scope="module")
def library(request: pytest.FixtureRequest) -> Library:
    return library_at(request.config, "portable")


def alone(library: Library, with_all: Seconds, by_one: Seconds) -> NDArray[np.bool_]:
    """In which passes the caller worked alone."""
    ways = np.empty(len(with_all), np.uint8)
    library.c.rwkv_watch(with_all.ctypes.data, by_one.ctypes.data, len(ways), ways.ctypes.data)
    return ways.astype(bool)


def constant(seconds: float) -> Seconds:
    return np.full(N, seconds)


@pytest.mark.parametrize("token", TOKENS)
def test_all_threads_work_on_a_quiet_machine(library: Library, token: float):
    with_all, by_one = constant(token), constant(2 * token)
    taken = np.where(alone(library, with_all, by_one), by_one, with_all)
    assert taken.sum() < 1.02 * with_all.sum()


@pytest.mark.parametrize("token", TOKENS)
@pytest.mark.parametrize("slower", [3, 6, 20])
def test_one_thread_goes_on_when_tokens_take_three_times_their_best(
    library: Library, token: float, slower: float
):
    """From the 500th token on a neighbour holds a thread up: at least 90 % of the speed of one thread remain."""
    with_all, by_one = constant(token), constant(2 * token)
    with_all[500:] *= slower
    ways = alone(library, with_all, by_one)
    assert ways[500:510].any(), "within ten tokens"
    taken = np.where(ways, by_one, with_all)[500:]
    assert by_one[500:].sum() > 0.9 * taken.sum()


@pytest.mark.parametrize("token", TOKENS)
def test_all_threads_are_tried_again_when_the_neighbour_rests(library: Library, token: float):
    with_all, by_one = constant(token), constant(2 * token)
    with_all[500:1500] *= 6
    ways = alone(library, with_all, by_one)
    assert ways[1000:1500].mean() > 0.8
    assert ways[2500:].mean() < 0.05


def test_a_creeping_neighbour_is_noticed(library: Library):
    """Each window is hardly slower than the one before; all of them together are."""
    with_all = 0.01 * np.minimum(1.004 ** np.arange(N), 8)
    by_one = constant(0.02)
    taken = np.where(alone(library, with_all, by_one), by_one, with_all)
    assert taken.sum() < 1.1 * np.minimum(with_all, by_one).sum()


def test_tries_become_rare_while_nothing_changes(library: Library):
    ways = alone(library, constant(0.06), constant(0.02))
    tries = np.flatnonzero(ways[:-1] & ~ways[1:])
    assert len(tries) >= 4
    assert np.diff(tries)[-1] > 4 * np.diff(tries)[0]


def test_one_slow_token_changes_nothing_for_long(library: Library):
    with_all = constant(0.01)
    with_all[1000] = 1.0
    ways = alone(library, with_all, constant(0.02))
    assert ways[1000:1200].mean() < 0.3
