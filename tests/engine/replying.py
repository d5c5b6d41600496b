"""Asking a fake model for replies without threads, and telling what a state should be."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Any

from chatrwkv.engine.events import Event, Failed, Finished, Prefilled, Token
from chatrwkv.engine.generate import Tape
from chatrwkv.engine.params import SamplingParams
from chatrwkv.engine.request import GenerateRequest, Prompt
from chatrwkv.engine.scheduler import Scheduler
from tests.fakes import FakeModel

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from chatrwkv.engine.model import LoadedModel
    from chatrwkv.engine.state import Snapshot

HELLO = "User: hi\n\nAssistant:"
FREE: dict[str, Any] = {"top_p": 1.0, "seed": 5, "max_tokens": 12}


def ask(
    text: str = HELLO,
    *,
    on: Snapshot | None = None,
    stops: Sequence[str] = (),
    start_position: int = 0,
    penalise: Sequence[int] = (),
    stop_on_end: bool = True,
    **settings: Any,
) -> GenerateRequest:
    """A request that reads `text` on top of a snapshot; any filter is off unless given."""
    return GenerateRequest(
        prepare=lambda loaded: Prompt(on, tuple(loaded.tokenizer.encode(text))),
        params=dataclasses.replace(SamplingParams(), **(FREE | settings)),
        stops=tuple(stops),
        stop_on_end=stop_on_end,
        start_position=start_position,
        penalise=tuple(penalise),
    )


class Outlet:
    """Collects the events of one reply; once the prompt is read and `cancel_at` tokens came, it stops."""

    def __init__(self, cancel_at: int | None = None) -> None:
        self.events: list[Event] = []
        self.cancel_at = cancel_at

    @property
    def cancelled(self) -> bool:
        return self.cancel_at is not None and bool(self.prefilled) and len(self.tokens) >= self.cancel_at

    def put(self, event: Event) -> None:
        assert not self.is_over, "nothing may follow the last event"
        self.events.append(event)

    @property
    def is_over(self) -> bool:
        return bool(self.events) and isinstance(self.events[-1], Finished | Failed)

    @property
    def tokens(self) -> list[Token]:
        return [event for event in self.events if isinstance(event, Token)]

    @property
    def streamed(self) -> str:
        return "".join(token.text for token in self.tokens)

    @property
    def prefilled(self) -> list[Prefilled]:
        return [event for event in self.events if isinstance(event, Prefilled)]

    @property
    def finished(self) -> Finished:
        last = self.events[-1]
        assert isinstance(last, Finished), last
        return last

    @property
    def failed(self) -> Failed:
        last = self.events[-1]
        assert isinstance(last, Failed), last
        return last


def alone(loaded: LoadedModel, request: GenerateRequest, cancel_at: int | None = None) -> Outlet:
    """One reply by itself."""
    return together(loaded, [request], cancel_at=cancel_at)[0]


def together(
    loaded: LoadedModel,
    requests: Sequence[GenerateRequest],
    each_turn: Callable[[Scheduler, list[Outlet]], None] | None = None,
    cancel_at: int | None = None,
) -> list[Outlet]:
    """Replies in the same passes."""
    outlets = [Outlet(cancel_at) for _ in requests]
    scheduler = Scheduler(loaded)
    scheduler.add(zip(requests, outlets, strict=True))
    while scheduler.is_busy:
        scheduler.turn()
        if each_turn is not None:
            each_turn(scheduler, outlets)
    return outlets


def finish(scheduler: Scheduler) -> None:
    """Turn until nothing is left to do."""
    while scheduler.is_busy:
        scheduler.turn()


def fake(loaded: LoadedModel) -> FakeModel:
    """The model, as what it is."""
    assert isinstance(loaded.model, FakeModel)
    return loaded.model


def mind(snapshot: Snapshot | None) -> tuple[object, ...]:
    """Everything that makes two snapshots the same."""
    assert snapshot is not None
    return (
        snapshot.chain,
        snapshot.n_tokens,
        snapshot.state.digest(),
        snapshot.logits.tolist(),
        snapshot.fingerprint,
    )


def read_slowly(loaded: LoadedModel, token_ids: Sequence[int]) -> Snapshot:
    """The snapshot after exactly these tokens from nothing, one at a time."""
    scratch, tape = loaded.model.blank().thaw(), Tape(loaded.model, None)
    for token_id in token_ids:
        logits = loaded.model.step([token_id], scratch)[0]
    tape.read(token_ids)
    return tape.snapshot(scratch.freeze(0), logits)
