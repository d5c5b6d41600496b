"""Work beside replies: reading, scoring, comparing and mixing states, and giving way to replies."""

from __future__ import annotations

import dataclasses
import math
from typing import TYPE_CHECKING, Any

import pytest
import torch

from chatrwkv.engine import (
    Failed,
    Progress,
    State,
    difference,
    distance,
    log_likelihood,
    mixed,
    moved_by,
    read_ids,
)
from chatrwkv.engine.identity import EMPTY_CHAIN, extend
from chatrwkv.engine.worker import EngineThread
from chatrwkv.errors import BadValue, StateMismatch
from tests.engine.replying import ask
from tests.fakes import WAIT_S, FakeModel, Gate, fake_loader, loaded

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterator
    from pathlib import Path

    from chatrwkv.engine import LoadedModel, Snapshot

IDS = [1 + i % 200 for i in range(300)]


def never() -> bool:
    return False


def quiet(_done: int, _total: int, _what: str) -> None:
    return None


def result(steps: Generator[None, None, Any]) -> Any:
    while True:
        try:
            next(steps)
        except StopIteration as end:
            return end.value


def after(here: LoadedModel, ids: list[int]) -> Snapshot:
    found: Snapshot = result(read_ids(here, None, ids, never, quiet))[-1]
    return found


@pytest.fixture
def engine(tmp_path: Path) -> Iterator[EngineThread]:
    made = EngineThread(loader=fake_loader(FakeModel()))
    made.start()
    made.load(tmp_path / "fake.pth").result(WAIT_S)
    yield made
    made.close()


def test_reading_with_stops_gives_the_states_that_reading_apart_gives():
    here = loaded()
    first, second = result(read_ids(here, None, IDS, never, quiet, stops=[100]))
    assert first.state.digest() == after(here, IDS[:100]).state.digest()
    assert (first.n_tokens, first.chain) == (100, extend(EMPTY_CHAIN, IDS[:100]))
    assert second.state.digest() == after(here, IDS).state.digest()
    assert (second.n_tokens, second.chain) == (300, extend(EMPTY_CHAIN, IDS))


def test_reading_goes_on_from_a_snapshot_and_leaves_it_untouched():
    here = loaded()
    start = after(here, IDS[:100])
    digest = start.state.digest()
    (end,) = result(read_ids(here, start, IDS[100:], never, quiet))
    assert end.state.digest() == after(here, IDS).state.digest()
    assert start.state.digest() == digest


def test_reading_stops_when_asked_to():
    done: list[int] = []
    steps = read_ids(loaded(), None, IDS, lambda: bool(done), lambda n, _total, _what: done.append(n))
    assert result(steps) is None
    assert len(done) == 1
    assert done[0] < len(IDS)


def test_a_reply_goes_on_while_a_task_reads(engine: EngineThread):
    """A document takes minutes; without pauses every other chat would stand still."""
    gate = Gate()

    def task(
        _loaded: LoadedModel, cancelled: Callable[[], bool], _progress: object
    ) -> Generator[None, None, str]:
        while not cancelled():
            gate.n_passed += 1
            yield
        return "stopped"

    job = engine.call(task)
    engine.submit(ask(max_tokens=5)).result(WAIT_S)
    assert gate.n_passed
    assert not job.done.is_set()
    job.cancel()
    assert job.result(WAIT_S) == "stopped"


def test_a_task_that_fails_after_a_pause_fails_alone(engine: EngineThread):
    def task(*_: object) -> Generator[None, None, None]:
        yield
        raise ValueError("no")

    job = engine.call(task)
    assert any(isinstance(event, Failed) for event in job)
    assert engine.submit(ask(max_tokens=2)).result(WAIT_S).token_ids


def test_a_load_waits_for_the_task_that_uses_the_model(engine: EngineThread, tmp_path: Path):
    here: list[LoadedModel] = []

    def task(now: LoadedModel, cancelled: Callable[[], bool], progress: Any) -> Generator[None, None, None]:
        here.append(now)
        while not cancelled():
            progress(1, 2, "waiting")
            yield

    job = engine.call(task)
    next(event for event in job if isinstance(event, Progress))
    load = engine.load(tmp_path / "other.pth")
    assert not load.done.wait(0.05)
    job.cancel()
    load.result(WAIT_S)


def test_closing_the_engine_ends_a_task_that_is_under_way(engine: EngineThread):
    def task(*_: object) -> Generator[None, None, None]:
        while True:
            yield

    job = engine.call(task)
    engine.close()
    assert any(isinstance(event, Failed) for event in job)


def test_likelihood_is_the_sum_over_all_tokens_but_the_first():
    here, ids = loaded(), IDS[:200]
    expected = 0.0
    for place in range(1, len(ids)):
        logits = after(here, ids[:place]).logits
        expected += float(torch.log_softmax(logits, -1)[ids[place]])
    assert result(log_likelihood(here, None, ids, never)) == pytest.approx(expected, rel=1e-6)


def test_equal_states_have_no_distance_and_others_have():
    here = loaded()
    a, again, b = after(here, IDS[:50]), after(here, IDS[:50]), after(here, IDS[:51])
    same = difference(a, again)
    assert (same.distance.max_difference, same.distance.kl, same.cosine) == (0.0, 0.0, 1.0)
    other = difference(a, b)
    assert other.distance.max_difference > 0
    assert other.distance.kl > 0
    assert other.cosine < 1
    assert len(other.heads) == FakeModel.LAYERS
    assert len(other.heads[0]) == FakeModel.HEADS


def test_states_of_different_models_are_not_compared():
    with pytest.raises(StateMismatch):
        distance(after(loaded(), IDS), after(loaded(FakeModel("other")), IDS))


def test_every_token_of_a_path_tells_how_far_it_moved_the_state():
    moved = result(moved_by(loaded(), None, IDS[:20], never, quiet))
    assert len(moved) == 20
    assert all(share > 0 and math.isfinite(share) for share in moved)


def test_a_mix_at_the_ends_is_the_parent_bit_for_bit():
    here = loaded()
    a, b = after(here, IDS[:50]), after(here, IDS[:51])
    assert mixed(a, b, 0) is a
    assert mixed(a, b, 1) is b
    half = mixed(a, b, 0.5)
    assert torch.equal(half.state.tensors["wkv"], (a.state.tensors["wkv"] + b.state.tensors["wkv"]) / 2)
    assert half.chain not in (a.chain, b.chain)
    assert mixed(a, b, 0.5).chain == half.chain


@pytest.mark.parametrize("weight", [-0.1, 1.1, math.nan])
def test_a_weight_beyond_the_ends_is_refused(weight: float):
    a = after(loaded(), IDS[:5])
    with pytest.raises(BadValue):
        mixed(a, a, weight)


def test_a_mix_of_rwkv4_adds_sums_of_different_scale():
    """aa and bb are divided by e^pp, so their plain mean would be no mean of anything."""

    def one(aa: float, pp: float) -> Snapshot:
        tensors = {"aa": torch.tensor([[aa]]), "bb": torch.ones(1, 1), "pp": torch.tensor([[pp]])}
        return dataclasses.replace(after(loaded(), IDS[:5]), state=State(tensors))

    made = mixed(one(3.0, 0.0), one(5.0, math.log(2)), 0.5).state.tensors
    assert float(made["aa"] * made["pp"].exp()) == pytest.approx((3.0 + 10.0) / 2)
