"""Read token ids outside a reply: in pieces of about 80 ms, with a pause after each for replies that go on."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from chatrwkv.engine.generate import Tape, device_of, last_logits, resting
from chatrwkv.engine.scheduler import Pace

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterable, Sequence

    from chatrwkv.engine.model import LoadedModel
    from chatrwkv.engine.state import Snapshot


def read_ids(
    loaded: LoadedModel,
    start: Snapshot | None,
    token_ids: Sequence[int],
    cancelled: Callable[[], bool],
    progress: Callable[[int, int, str], None],
    stops: Iterable[int] = (),
) -> Generator[None, None, list[Snapshot] | None]:
    """Read `token_ids` on top of `start`; a pause after each piece.

    Args:
        loaded: the model; on the engine thread.
        start: None is the blank state.
        token_ids: at least one.
        cancelled: asked before each piece.
        progress: told how many of the tokens are read.
        stops: after how many of the tokens a snapshot is wanted, too, beside the one at the end.

    Returns:
        The snapshots in order, the end last; None when it was cancelled.
    """
    model = loaded.model
    scratch = (start.state if start else model.blank()).thaw(device_of(model))
    tape, pace = Tape(model, start), Pace(64)
    n, done, found = len(token_ids), 0, []
    borders = sorted({at for at in stops if 0 < at < n} | {n})
    while done < n:
        if cancelled():
            return None
        end = min(done + pace.tokens, borders[0])
        began = time.perf_counter()
        logits = last_logits(model, [token_ids[done:end]], scratch)
        pace.note(end - done, time.perf_counter() - began)
        tape.read(token_ids[done:end])
        done = end
        progress(done, n, "reading")
        if done == borders[0]:
            found.append(resting(tape.snapshot(scratch.freeze(0), logits[0].float())))
            borders.pop(0)
        yield
    return found
