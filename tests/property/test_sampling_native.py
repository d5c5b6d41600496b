"""Native code only finds the head of a distribution: what is drawn is what NumPy alone would draw."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from unittest import mock

import numpy as np
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from chatrwkv.engine import kernels
from chatrwkv.engine.native import abi
from chatrwkv.engine.params import SamplingParams
from chatrwkv.engine.ranking import Head, Logits, Ranking, self_test
from chatrwkv.engine.sampling import Sampler
from chatrwkv.errors import KernelMismatch, NumericalError
from tests.engine.native_library import LEVELS, library_at

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from chatrwkv.engine.kernels import Library

    Floats = NDArray[np.float32]

# the first test compiles the library
pytestmark = pytest.mark.timeout(600)

SIZES = (1, 2, 15, 16, 17, 255, 1024, 1025, 3000, 16_385, 65_536, 65_541, 200_003)


@pytest.fixture(scope="module", params=LEVELS)
def library(request: pytest.FixtureRequest) -> Library:
    return library_at(request.config, request.param)


@st.composite
def some_logits(draw: st.DrawFn) -> Floats:
    """Peaked or flat, with ties and with -inf, huge or all alike."""
    n = draw(st.sampled_from([1, 2, 40, 1500, 4096, 5003]))
    random = np.random.default_rng(draw(st.integers(0, 10_000)))
    x = random.standard_normal(n) * draw(st.sampled_from([0.0, 0.01, 0.5, 3.0, 30.0, 1e30]))
    if draw(st.booleans()):
        x = np.round(x)
    if n > 2 and draw(st.booleans()):
        x[random.integers(0, n, n // 2)] = -np.inf
        x[random.integers(0, n)] = 0.0
    return (x + draw(st.sampled_from([0.0, -50.0, 1e6]))).astype(np.float32)


seeds: dict[str, st.SearchStrategy[Any]] = {"seed": st.integers(0, 2**32)}
choices: dict[str, st.SearchStrategy[Any]] = {
    "temperature": st.sampled_from([0.0, 0.01, 0.5, 1.0, 1.7, 5.0]),
    "temp_first": st.booleans(),
    "top_p": st.sampled_from([0.0, 0.1, 0.25, 0.5, 0.75, 0.9, 0.999, 1.0]),
    "top_p_x": st.sampled_from([0.0, 0.01, 0.25, 1.0]),
    "top_k": st.sampled_from([0, 1, 3, 100, 1000, 10**6]),
    "top_a": st.sampled_from([0.0, 0.02, 0.2, 1.0]),
    "top_a_power": st.sampled_from([0.5, 1.0, 2.0, 3.0]),
    "min_p": st.sampled_from([0.0, 0.01, 0.5, 1.0]),
    "typical": st.sampled_from([1.0, 0.95, 0.5, 0.0]),
    "mirostat": st.sampled_from([0.0, 0.0, 1.0, 5.0]),
    "presence": st.sampled_from([0.0, 0.3]),
    "frequency": st.sampled_from([0.0, 0.7]),
}
many_settings = st.fixed_dictionaries(
    seeds,
    optional=choices,
).map(lambda changes: SamplingParams(**changes))


def reply(logits: Floats, params: SamplingParams, library: Library | None) -> list[Any]:
    """Six tokens as they are drawn, with what is told of each."""
    with mock.patch.object(kernels, "library", return_value=library):
        sampler = Sampler(params, len(logits))
    told = []
    for position in range(6):
        picked = sampler.pick(np.roll(logits, 7 * position), position)
        sampler.accept(picked.id)
        sampler.mu = sampler.mu if picked.mu is None else picked.mu
        told.append(picked)
    return told


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(some_logits(), many_settings)
@example(np.log(np.array([0.5, 0.25, 0.25], np.float32)), SamplingParams(seed=1, top_p=0.5))
@example(np.zeros(4096, np.float32), SamplingParams(seed=3, top_p=0.25, top_a=1.0, top_a_power=1.0))
@example(np.zeros(4096, np.float32), SamplingParams(seed=3, top_p=1.0, temperature=1.0))
def test_the_same_seed_draws_the_same_tokens_with_and_without_native_code(
    library: Library, logits: Floats, params: SamplingParams
):
    if not library.isa:
        pytest.skip("plain loops are not used: NumPy is faster")
    for fast, slow in zip(reply(logits, params, library), reply(logits, params, None), strict=True):
        assert fast.id == slow.id
        assert [i for i, _ in fast.top] == [i for i, _ in slow.top]
        assert fast.mu == slow.mu
        chances = [fast.logprob, *(x for _, x in fast.top)]
        assert chances == pytest.approx([slow.logprob, *(x for _, x in slow.top)], abs=1e-5)


@pytest.mark.parametrize("n", SIZES)
@pytest.mark.parametrize("spread", [0.0, 1.0, 20.0])
def test_head_is_a_complete_beginning_of_the_order(library: Library, n: int, spread: float):
    x = (np.random.default_rng(n).standard_normal(n) * spread - 7).astype(np.float32)
    best, total, ids = Head(library)(x.ctypes.data, n)
    assert best == x.max()
    assert total == pytest.approx(np.exp(x.astype(np.float64) - best).sum(), rel=abi.HEAD_ERROR)
    if spread == 0.0 and n > 1024:
        assert ids is None, "so many equals have no room"
    elif n >= 1024:
        assert ids is not None
        assert len(ids) >= 64
        assert ids.tolist() == np.flatnonzero(x >= x[ids].min()).tolist()


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), float("-inf")])
@pytest.mark.parametrize("place", [0, 700, 4999])
def test_native_code_refuses_what_numpy_refuses(library: Library, bad: float, place: int):
    room = Logits(5000, Head(library))
    room.x[:] = -np.inf if bad == float("-inf") else 1.0
    room.x[place] = bad
    with pytest.raises(NumericalError, match="banned" if bad == float("-inf") else "not a number"):
        room.ranking()


def test_a_total_too_rough_to_decide_is_replaced():
    """Both ends of the doubt must agree, else NumPy's sum says what is right."""
    x = np.log(np.array([4, 3, 2, 1], np.float32))
    exact = Ranking(x, float(x[0]), None, None)
    share = float(exact.cum[1] / exact.total)  # on the border, as near as float64 can say
    wanted = exact.n_below(lambda total: share * total, "left")
    for off in (1 - abi.HEAD_ERROR, 1.0, 1 + abi.HEAD_ERROR):
        rough = Ranking(x, float(x[0]), exact.total * off, None)
        assert rough.n_below(lambda total: share * total, "left") == wanted
        assert rough.total == exact.total


def test_a_library_that_finds_other_tokens_is_refused(library: Library):
    assert 0 <= self_test(library) < 1

    class Wrong(Head):
        def __call__(self, address: int, n: int):
            best, total, ids = super().__call__(address, n)
            return best, total * 1.001, ids

    with mock.patch("chatrwkv.engine.ranking.Head", Wrong), pytest.raises(KernelMismatch):
        self_test(library)
