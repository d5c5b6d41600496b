"""A scan within a context that ends: RWKV-1, whose tables have one row for each of its N places.

A row that is full forgets all but its last N/2 tokens and reads those again before it goes on: what comes
next depends on the ids alone, however they were cut into calls.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from chatrwkv.engine.state import N_PAST, PAST_IDS, Scratch

if TYPE_CHECKING:
    from collections.abc import Sequence

    from torch import Tensor

    from chatrwkv.engine.models.base import Recurrent


def scan_within(
    model: Recurrent, rows: Sequence[Sequence[int]], scratch: Scratch, *, all_logits: bool
) -> Tensor | list[Tensor]:
    """Read one or more tokens into each row, in pieces that fit: logits (B, V), or B of (T_b, V)."""
    rest = [list(row) for row in rows]
    found: list[list[Tensor]] = [[] for _ in rows]
    while any(rest):
        _make_room(model, rest, scratch)
        n_past = scratch.tensors[N_PAST][0].tolist()
        pieces = [row[: model.spec.n_context - n] for row, n in zip(rest, n_past, strict=True)]
        lengths = [len(piece) for piece in pieces]
        longest = max(lengths)
        ids = torch.tensor([[*piece, *[0] * (longest - len(piece))] for piece in pieces])
        logits, scratch.tensors = model.forward(
            ids.to(model.device),
            scratch.tensors,
            None if min(lengths) == longest else torch.tensor(lengths, device=model.device),
            all_logits=all_logits,
        )
        for row, n in enumerate(lengths):
            if n:
                found[row].append(logits[row, :n] if all_logits else logits[row])
                rest[row] = rest[row][n:]
    return [torch.cat(parts) for parts in found] if all_logits else torch.stack([p[-1] for p in found])


def _make_room(model: Recurrent, rest: Sequence[Sequence[int]], scratch: Scratch) -> None:
    """Let rows that are full, and have more to read, start again from the last half of their context."""
    n_context, n_past = model.spec.n_context, scratch.tensors[N_PAST][0].tolist()
    full = [row for row, ids in enumerate(rest) if ids and n_past[row] >= n_context]
    if not full:
        return
    states = [scratch.freeze(row) for row in range(len(rest))]
    again = model.blank_rows(len(full))
    if n_context > 1:
        ids = scratch.tensors[PAST_IDS][0, full, n_context - n_context // 2 : n_context]
        again = model.forward(ids, again, None, all_logits=False)[1]
    fresh = Scratch(again)
    for at, row in enumerate(full):
        states[row] = fresh.freeze(at)
    scratch.tensors = Scratch.stack(states).tensors
