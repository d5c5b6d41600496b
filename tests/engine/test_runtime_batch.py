"""Many replies in the same passes: nobody notices the others."""

from __future__ import annotations

import dataclasses
import math
import random
from typing import TYPE_CHECKING, Any

import pytest

from chatrwkv.engine.events import Finished, FinishReason, Prefilled, Token
from chatrwkv.engine.generate import generate
from chatrwkv.engine.request import GenerateRequest, Prompt
from chatrwkv.engine.scheduler import MAX_ROWS, Pace, Scheduler
from chatrwkv.errors import GenerationError, NumericalError, OutOfMemory, StateMismatch
from tests.engine.replying import HELLO, Outlet, alone, ask, fake, finish, mind, read_slowly, together
from tests.fakes import FakeModel, ScriptedModel, loaded

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from torch import Tensor

    from chatrwkv.engine.state import Scratch, Snapshot

HELLO_IDS = [byte + 1 for byte in HELLO.encode()]


def parent(made: Any) -> Snapshot:
    return read_slowly(made, HELLO_IDS)


def results(outlets: Sequence[Outlet]) -> list[tuple[str, tuple[object, ...]]]:
    return [(outlet.finished.text, mind(outlet.finished.snapshot)) for outlet in outlets]


def test_hundred_forks_leave_the_parent_untouched_and_equal_themselves_alone():
    """R13: forks share the parent's state by reference; one that wrote to it would change all others."""
    made = loaded(FakeModel())
    root = parent(made)
    before = mind(root)
    forks = [ask(f" {i}\n\nAssistant:" if i % 3 else "", on=root, seed=i, max_tokens=10) for i in range(100)]
    random.Random(1).shuffle(forks)
    expected = results([alone(made, fork) for fork in forks])
    assert results(together(made, forks)) == expected
    random.Random(2).shuffle(forks)
    for fork in forks:
        alone(made, fork)
    assert mind(root) == before
    assert len({text for text, _ in expected}) == 100


def test_new_chat_knows_nothing_of_the_one_before():
    """R14: the first logits of a blank chat equal a fresh process's, also after a stop and an error."""
    fresh = loaded(FakeModel())
    expected = mind(alone(fresh, ask()).prefilled[-1].snapshot)
    used = loaded(FakeModel())
    scheduler, outlets = Scheduler(used), [Outlet(), Outlet(cancel_at=3), Outlet()]
    bad = GenerateRequest(prepare=lambda _: Prompt(None, (9999,)))
    scheduler.add(zip([ask("my word is K"), ask("my word is L"), bad], outlets, strict=True))
    finish(scheduler)
    last = Outlet()
    scheduler.add([(ask(), last)])
    finish(scheduler)
    assert mind(last.prefilled[-1].snapshot) == expected
    assert last.finished.text == alone(fresh, ask()).finished.text


def test_eight_replies_together_equal_eight_alone():
    """Different prompts, lengths, limits, settings and ends."""
    made = loaded(FakeModel(end_rate=8))
    requests = [
        ask("x" * (37 * i + 1), seed=i, max_tokens=5 + 3 * i, temperature=0.5 + 0.2 * i, presence=0.1 * i)
        for i in range(8)
    ]
    expected = results([alone(made, request) for request in requests])
    assert results(together(made, requests)) == expected
    assert max(fake(made).step_sizes) > 1


def test_reply_that_joins_later_changes_nothing_for_the_others():
    made = loaded(FakeModel())
    late = Outlet()

    def join(scheduler: Scheduler, outlets: list[Outlet]) -> None:
        if len(outlets[0].tokens) == 4:
            scheduler.add([(ask("late", max_tokens=3), late)])

    early = together(made, [ask(seed=1), ask("b", seed=2)], join)
    assert results(early) == results([alone(made, ask(seed=1)), alone(made, ask("b", seed=2))])
    assert results([late]) == results([alone(made, ask("late", max_tokens=3))])


def test_reply_that_leaves_early_changes_nothing_for_the_others():
    """Rows close up when one leaves; an index kept too long reads a neighbour's state."""
    made = loaded(FakeModel())
    lengths = [3, 9, 1, 6, 2]
    requests = [ask(f"n{i}", max_tokens=n) for i, n in enumerate(lengths)]
    assert results(together(made, requests)) == results([alone(made, request) for request in requests])


def test_equal_prompts_are_read_once():
    made = loaded(FakeModel())
    outlets = together(made, [ask(seed=i) for i in range(5)])
    assert fake(made).scan_sizes == [[len(HELLO_IDS)]]
    assert len({outlet.finished.text for outlet in outlets}) == 5
    snapshots = [outlet.prefilled[-1].snapshot for outlet in outlets]
    assert all(snapshot is snapshots[0] for snapshot in snapshots)
    assert mind(snapshots[0]) == mind(parent(made))


def test_prompts_that_meet_from_different_snapshots_are_read_once():
    """One goes on from a snapshot, the other reads everything: after feeding they are the same mind."""
    made = loaded(FakeModel())
    root = read_slowly(made, HELLO_IDS[:5])
    outlets = together(made, [ask(HELLO), ask(HELLO[5:], on=root)])
    assert len(fake(made).scan_sizes[0]) == 1
    assert outlets[0].finished.text == outlets[1].finished.text


@pytest.mark.parametrize("piece", [1, 7, 16, 1000])
def test_prompt_read_in_pieces_of_any_size_is_the_same_prompt(piece: int, monkeypatch: pytest.MonkeyPatch):
    made = loaded(FakeModel())
    text = "a long prompt " * 9
    expected = mind(read_slowly(made, [byte + 1 for byte in text.encode()]))
    monkeypatch.setattr(Pace, "note", lambda *_: None)
    scheduler, outlet = Scheduler(made), Outlet()
    scheduler._pace.tokens = piece
    scheduler.add([(ask(text), outlet)])
    finish(scheduler)
    done = [event.done for event in outlet.prefilled]
    assert done == [*range(piece, len(text), piece), len(text)]
    assert {event.total for event in outlet.prefilled} == {len(text)}
    assert [event.snapshot is None for event in outlet.prefilled] == [True] * (len(done) - 1) + [False]
    assert mind(outlet.prefilled[-1].snapshot) == expected


def test_long_prompt_does_not_hold_up_a_running_reply():
    """Pieces of the prompt take turns with the other's tokens."""
    made = loaded(FakeModel())
    order: list[str] = []

    class Watching(Outlet):
        def __init__(self, name: str) -> None:
            super().__init__()
            self.name = name

        def put(self, event: Any) -> None:
            super().put(event)
            order.append(f"{self.name} {type(event).__name__}")

    scheduler = Scheduler(made)
    scheduler._pace.tokens = Pace.SMALLEST
    scheduler.add([(ask("short", max_tokens=6), Watching("a"))])
    scheduler.turn()
    scheduler.add([(ask("x" * 64, max_tokens=1), Watching("b"))])
    while scheduler.is_busy:
        scheduler._pace.tokens = Pace.SMALLEST
        scheduler.turn()
    assert order[2:8] == ["b Prefilled", "a Token", "b Prefilled", "a Token", "b Prefilled", "a Token"]


def test_pace_finds_pieces_of_about_eighty_milliseconds():
    pace = Pace(64)
    for _ in range(20):
        pace.note(pace.tokens, pace.tokens / 5000)  # 5,000 tokens a second: 400 tokens in 80 ms
    assert pace.tokens in (256, 512)
    for _ in range(20):
        pace.note(pace.tokens, pace.tokens / 10)
    assert pace.tokens == Pace.SMALLEST
    pace.note(3, 60.0)
    assert pace.tokens == Pace.SMALLEST


def test_more_replies_than_rows_wait_and_are_all_answered():
    made = loaded(FakeModel())
    requests = [ask(seed=i, max_tokens=2) for i in range(MAX_ROWS + 9)]
    outlets = together(made, requests)
    assert all(outlet.finished.reason is FinishReason.LENGTH for outlet in outlets)
    assert max(fake(made).step_sizes) == MAX_ROWS


def test_cancelled_prompt_ends_with_what_was_read_of_it():
    """The part that was read can be taken up again later."""
    made = loaded(FakeModel())
    ids = [byte + 1 for byte in b"x" * 100]

    class Impatient(Outlet):
        @property
        def cancelled(self) -> bool:
            return bool(self.prefilled)

    scheduler, outlet, other = Scheduler(made), Impatient(), Outlet()
    scheduler._pace.tokens = 16
    scheduler.add([(ask("x" * 100), outlet), (ask("x" * 100, max_tokens=1), other)])
    finish(scheduler)
    finished = outlet.finished
    assert (finished.reason, finished.text, finished.token_ids) == (FinishReason.CANCELLED, "", ())
    assert finished.stats.prompt_tokens == 16
    assert mind(finished.snapshot) == mind(read_slowly(made, ids[:16]))
    assert other.finished.reason is FinishReason.LENGTH  # it waited for the same prompt and goes on


def test_cancelled_before_its_turn_ends_without_a_state():
    made = loaded(FakeModel())
    scheduler = Scheduler(made)

    class Unwanted(Outlet):
        @property
        def cancelled(self) -> bool:
            return True

    outlet = Unwanted()
    scheduler.add([(ask(), outlet)])
    scheduler.turn()
    assert not scheduler.is_busy
    assert outlet.finished.snapshot is None
    assert fake(made).scan_sizes == []


def broken(_: object) -> Prompt:
    raise KeyError("no such node")


@pytest.mark.parametrize(
    ("request_", "error", "words"),
    [
        (GenerateRequest(prepare=broken), GenerationError, "no such node"),
        (GenerateRequest(prepare=lambda _: Prompt(None, ())), GenerationError, "prompt is empty"),
        (GenerateRequest(prepare=lambda _: Prompt(None, (5, 257))), GenerationError, "the token 257"),
        (GenerateRequest(prepare=lambda _: Prompt(None, (-1,))), GenerationError, "the token -1"),
    ],
)
def test_request_that_cannot_be_prepared_fails_alone(
    request_: GenerateRequest, error: type[Exception], words: str
):
    made = loaded(FakeModel())
    bad, good = together(made, [request_, ask()])
    assert isinstance(bad.failed.error, error)
    assert words in bad.failed.error.message
    assert good.finished.text == alone(made, ask()).finished.text


def test_snapshot_of_another_model_is_refused():
    made, other = loaded(FakeModel()), loaded(FakeModel("other"))
    (outlet,) = together(made, [ask(on=parent(other))])
    assert isinstance(outlet.failed.error, StateMismatch)


class Ill(FakeModel):
    """Breaks when a row reads the letter 'Q': raises, or gives that row NaN."""

    trouble: BaseException | None = None

    def read(self, memory: bytes, token_id: int) -> bytes:
        if token_id == ord("Q") + 1:
            if self.trouble is not None:
                raise self.trouble
            return b"\xff" * 32
        return memory if memory == b"\xff" * 32 else super().read(memory, token_id)

    def scores(self, memory: bytes) -> Mapping[int, float]:
        return {5: math.nan} if memory == b"\xff" * 32 else super().scores(memory)


def test_row_without_numbers_fails_alone():
    """fp16 overflow in one chat must not end the others, nor print garbage."""
    made = loaded(Ill())
    bad, good = together(made, [ask("Q"), ask("fine")])
    assert isinstance(bad.failed.error, NumericalError)
    assert good.finished.text == alone(made, ask("fine")).finished.text


def test_error_in_the_model_ends_all_running_replies_and_only_those():
    model = Ill()
    made = loaded(model)
    scheduler, running, culprit, later = Scheduler(made), Outlet(), Outlet(), Outlet()
    scheduler.add([(ask(max_tokens=50), running)])
    for _ in range(3):
        scheduler.turn()
    model.trouble = RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory: you tried")
    scheduler.add([(ask("Q"), culprit)])
    scheduler.turn()
    assert not scheduler.is_busy
    assert isinstance(running.failed.error, OutOfMemory)
    assert isinstance(culprit.failed.error, OutOfMemory)
    assert running.streamed
    scheduler.add([(ask(), later)])
    finish(scheduler)
    assert later.finished.text == alone(made, ask()).finished.text


def test_error_while_a_reply_is_cut_back_is_told_once():
    """The pass that reads the kept tokens again may fail, too."""

    class Failing(ScriptedModel):
        def scan(self, rows: Any, scratch: Scratch, *, all_logits: bool = False) -> Tensor | list[Tensor]:
            if self.scan_sizes:
                raise MemoryError
            return super().scan(rows, scratch, all_logits=all_logits)

    made = loaded(Failing("a\n\n\nUser"))
    (outlet,) = together(made, [ask(stops=("\n\nUser",), max_tokens=99)])
    assert isinstance(outlet.failed.error, OutOfMemory)


def test_events_come_in_order_with_one_end():
    made = loaded(FakeModel())
    outlet = alone(made, ask(max_tokens=3))
    assert [type(event) for event in outlet.events] == [Prefilled, Token, Token, Token, Finished]
    assert [event.token_id for event in outlet.tokens] == list(outlet.finished.token_ids)
    assert all(len(event.top) == 8 for event in outlet.tokens)
    stats = outlet.finished.stats
    assert (stats.prompt_tokens, stats.reply_tokens) == (len(HELLO_IDS), 3)
    assert stats.prefill_tok_s > 0
    assert stats.decode_tok_s > 0


def test_plain_generator_gives_the_same_events():
    made = loaded(FakeModel())
    events = list(generate(made, ask()))
    expected = alone(made, ask())
    assert [e.text for e in events if isinstance(e, Token)] == [token.text for token in expected.tokens]
    last = events[-1]
    assert isinstance(last, Finished)
    assert mind(last.snapshot) == mind(expected.finished.snapshot)


def test_plain_generator_can_be_cancelled():
    made, n_asked = loaded(FakeModel()), 0

    def cancelled() -> bool:
        nonlocal n_asked
        n_asked += 1
        return n_asked > 6

    *_, last = generate(made, ask(max_tokens=99), cancelled)
    assert isinstance(last, Finished)
    assert last.reason is FinishReason.CANCELLED
    assert 0 < len(last.token_ids) < 6


def test_snapshots_of_events_are_values():
    """Nothing that runs on may reach into what was handed out."""
    made = loaded(FakeModel())
    scheduler, outlet = Scheduler(made), Outlet()
    scheduler.add([(ask(max_tokens=6), outlet)])
    scheduler.turn()
    snapshot = outlet.prefilled[-1].snapshot
    before = mind(snapshot)
    finish(scheduler)
    assert mind(snapshot) == before
    assert snapshot is not None
    assert dataclasses.is_dataclass(snapshot)
