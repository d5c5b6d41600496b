"""A job's events: kept in order, joined where only the newest counts, one end."""

from __future__ import annotations

import threading

import pytest

from chatrwkv.engine.events import Done, Failed, Finished, FinishReason, GenerationStats, Progress, Token
from chatrwkv.engine.job import FULL_TOKENS, Job, ReplyJob
from chatrwkv.engine.params import SamplingParams
from chatrwkv.engine.request import GenerateRequest, Prompt
from chatrwkv.errors import GenerationError

TOP = ((1, -0.1), (2, -2.0))


def token(text: str) -> Token:
    return Token(text, 1, -0.1, TOP)


def test_speeds_without_time_or_tokens_are_zero():
    """A continued reply prefills nothing in no time; the status line must not divide by it."""
    assert GenerationStats().prefill_tok_s == 0
    assert GenerationStats().decode_tok_s == 0
    assert GenerationStats(10, 20, 0.5, 2.0).prefill_tok_s == 20
    assert GenerationStats(10, 20, 0.5, 2.0).decode_tok_s == 10


def test_drain_gives_each_event_once_and_never_blocks():
    job: Job[None] = Job()
    assert job.drain() == []
    job.put(token("a"))
    job.put(token("b"))
    assert [event.text for event in job.drain() if isinstance(event, Token)] == ["a", "b"]
    assert job.drain() == []


def test_unread_progress_is_replaced_by_the_newest():
    job: Job[None] = Job()
    for done in range(100):
        job.put(Progress(done, 100, "Loading"))
    assert job.drain() == [Progress(99, 100, "Loading")]


def test_slow_reader_loses_only_the_candidates_of_old_tokens():
    """100,000 undrained tokens with 8 candidates each would be 100 MB."""
    job: Job[None] = Job()
    n = FULL_TOKENS + 10
    for i in range(n):
        job.put(token(str(i)))
    events = [event for event in job.drain() if isinstance(event, Token)]
    assert [event.text for event in events] == [str(i) for i in range(n)]
    assert [bool(event.top) for event in events] == [False] * 10 + [True] * FULL_TOKENS


def test_nothing_follows_the_end():
    job: Job[int] = Job()
    job.put(Done(3))
    job.put(Failed(GenerationError("late")))
    assert job.drain() == [Done(3)]
    assert job.result() == 3


def test_result_is_there_although_the_end_was_drained():
    job: Job[int] = Job()
    job.put(Done(3))
    job.drain()
    assert job.done.is_set()
    assert job.result(0) == 3


def test_result_raises_the_error_of_a_failure():
    job: Job[int] = Job()
    job.put(Failed(GenerationError("no")))
    with pytest.raises(GenerationError, match="no"):
        job.result()


def test_result_does_not_wait_longer_than_asked():
    job: Job[int] = Job()
    with pytest.raises(TimeoutError):
        job.result(0.0)


def test_iterating_waits_for_events_and_ends_with_the_last():
    job: Job[int] = Job()
    seen: list[object] = []
    reader = threading.Thread(target=lambda: seen.extend(job))
    reader.start()
    job.put(token("a"))
    job.put(Done(1))
    reader.join(10)
    assert seen == [token("a"), Done(1)]
    assert list(job) == []


def test_reply_cancelled_before_it_began_is_over_at_once():
    """It may wait behind the load of a large model; esc must not."""
    job = ReplyJob(GenerateRequest(lambda _: Prompt(None, (1,)), SamplingParams(seed=4)))
    job.cancel()
    (event,) = job.drain()
    assert isinstance(event, Finished)
    assert (event.reason, event.snapshot, event.seed) == (FinishReason.CANCELLED, None, 4)
    assert not job.claim()


def test_work_that_has_begun_is_not_over_when_cancelled():
    """Its end comes from the engine, with the state."""
    job = ReplyJob(GenerateRequest(lambda _: Prompt(None, (1,))))
    assert job.claim()
    job.cancel()
    assert job.cancelled
    assert not job.done.is_set()


def test_task_cancelled_before_it_began_fails():
    job: Job[int] = Job()
    job.cancel()
    with pytest.raises(GenerationError, match="before it began"):
        job.result(0)
