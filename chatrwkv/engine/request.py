"""What is asked of the engine: where to start, what to feed, how to draw, when to stop. Knows no torch."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from chatrwkv.engine.params import SamplingParams

if TYPE_CHECKING:
    from collections.abc import Callable

    from chatrwkv.engine.model import LoadedModel
    from chatrwkv.engine.state import Snapshot


@dataclass(frozen=True, slots=True)
class Prompt:
    """Feed `token_ids` on top of `snapshot`."""

    snapshot: Snapshot | None
    """None is the blank state."""
    token_ids: tuple[int, ...]
    marks: tuple[int, ...] = ()
    """After how many of the ids a snapshot is wanted, too; rising."""
    negative: tuple[int, ...] = ()
    """What the other mind of guidance reads from nothing; empty without guidance."""
    last_id: int | None = None
    """The last id before the reply, if `snapshot` has read it already; for the anti-repeat rule."""
    voices: tuple[Snapshot, ...] = ()
    """Other minds after the prompt; the reply is drawn from the mean of their logits and its own."""


@dataclass(frozen=True, slots=True)
class GenerateRequest:
    """One reply."""

    prepare: Callable[[LoadedModel], Prompt]
    """Runs on the engine thread with the model that will answer; may encode, look up and load."""
    params: SamplingParams = field(default_factory=SamplingParams)
    stops: tuple[str, ...] = ()
    """The template's; those of `params` are added."""
    stop_on_end: bool = True
    """Token 0 ends the reply; False bans it instead."""
    start_position: int = 0
    """Of the first draw; a continued reply starts at the number of its tokens."""
    penalise: tuple[int, ...] = ()
    """Ids already in the reply that goes on: penalties, half characters and stop strings go on with it."""
    forced: tuple[int, ...] = ()
    """The first tokens of the reply, taken in place of draws; their candidates are recorded like any other's."""
    mu: float | None = None
    """Mirostat's bound where the reply that goes on had ended; None begins anew."""
