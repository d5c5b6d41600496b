"""A handle on one piece of the engine's work: its events, its end, and the wish to stop it. Knows no torch."""

from __future__ import annotations

import threading
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from chatrwkv.engine.events import (
    FINAL,
    Done,
    Failed,
    Finished,
    FinishReason,
    GenerationStats,
    Progress,
    Token,
)
from chatrwkv.errors import GenerationError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from chatrwkv.engine.events import Event
    from chatrwkv.engine.request import GenerateRequest

T = TypeVar("T")

# Candidates of this many tokens wait for a slow reader; a kilobyte each, so 1 MB.
FULL_TOKENS = 1024


class Job(Generic[T]):
    """A handle on work of the engine; safe from any thread.

    Read it with `drain` (never blocks) or by iterating (blocks), not both at once. A reader that falls far
    behind loses nothing but the candidates of old tokens.
    """

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._events: list[Event] = []
        self._final: Event | None = None
        self._cancelled = False
        self._is_claimed = False
        self.done = threading.Event()
        """Set once the last event is there, read or not."""

    def cancel(self) -> None:
        """Ask to stop: before the next token or piece of a prompt, at once if nothing has begun."""
        with self._changed:
            self._cancelled = True
            if not self._is_claimed:
                self._put(self._unbegun())

    @property
    def cancelled(self) -> bool:
        """Whether somebody asked to stop."""
        return self._cancelled

    def drain(self) -> list[Event]:
        """Everything new; never blocks."""
        with self._changed:
            events, self._events = self._events, []
        return events

    def __iter__(self) -> Iterator[Event]:
        """Each event as it comes, until the last."""
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._events or self._final)
                events, self._events = self._events, []
            yield from events
            if self._final is not None and not self._events:
                return

    def result(self, timeout: float | None = None) -> T:
        """Wait for the end: what a load or task returned, or the `Finished` of a reply.

        Raises:
            ChatRWKVError: it failed.
            TimeoutError: it did not end in time.
        """
        if not self.done.wait(timeout):
            raise TimeoutError(f"the engine took longer than {timeout} s")
        if isinstance(self._final, Failed):
            raise self._final.error
        result: Any = self._final.result if isinstance(self._final, Done) else self._final
        return result  # type: ignore[no-any-return]  # T is what the job's maker said

    # -- for the engine -----------------------------------------------------------------------------------

    def claim(self) -> bool:
        """Begin the work; False if it is over already."""
        with self._changed:
            self._is_claimed = True
            return self._final is None

    def put(self, event: Event) -> None:
        """Add an event; after the last one nothing is added."""
        with self._changed:
            self._put(event)

    def _put(self, event: Event) -> None:
        if self._final is not None:
            return
        events = self._events
        if events and isinstance(event, Progress) and isinstance(events[-1], Progress):
            events.pop()
        events.append(event)
        if len(events) > FULL_TOKENS and isinstance(old := events[-1 - FULL_TOKENS], Token):
            events[-1 - FULL_TOKENS] = replace(old, top=())
        if isinstance(event, FINAL):
            self._final = event
            self.done.set()
        self._changed.notify_all()

    def _unbegun(self) -> Event:
        return Failed(GenerationError("It was stopped before it began."))


class ReplyJob(Job[Finished]):
    """A reply; one that was cancelled before it began is over without a state."""

    def __init__(self, request: GenerateRequest) -> None:
        super().__init__()
        self.request = request

    def _unbegun(self) -> Event:
        seed = self.request.params.seed or 0
        return Finished(FinishReason.CANCELLED, None, (), "", GenerationStats(), seed)
