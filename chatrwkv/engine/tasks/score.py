"""How likely a text is after a state: what of it is remembered, measured in nats a token."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from chatrwkv.engine.generate import device_of

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Sequence

    from chatrwkv.engine.model import LoadedModel
    from chatrwkv.engine.state import Snapshot

# Logits of this many tokens at a time: 65,536 of them in float32 are 33 MB.
_PIECE = 128


def log_likelihood(
    loaded: LoadedModel, start: Snapshot | None, token_ids: Sequence[int], cancelled: Callable[[], bool]
) -> Generator[None, None, float | None]:
    """The sum of log-probabilities of all ids but the first, in nats; a pause after each piece.

    The first one depends on what stood just before it, so it would tell of that and not of what is known.

    Args:
        loaded: the model; on the engine thread.
        start: None is the blank state.
        token_ids: what is scored.
        cancelled: asked before each piece.

    Returns:
        None when it was cancelled.
    """
    model = loaded.model
    scratch = (start.state if start else model.blank()).thaw(device_of(model))
    total = 0.0
    for at in range(0, len(token_ids) - 1, _PIECE):
        if cancelled():
            return None
        piece = token_ids[at : at + _PIECE]
        rows = model.scan([piece], scratch, all_logits=True)
        logits = torch.log_softmax(rows[0].float(), -1)
        targets = torch.tensor(token_ids[at + 1 : at + _PIECE + 1], device=logits.device)
        total += float(logits[: len(targets)].gather(1, targets[:, None]).sum())
        yield
    return total
