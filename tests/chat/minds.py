"""Small snapshots, told apart by what they have read."""

from __future__ import annotations

import torch

from chatrwkv.engine import EMPTY_CHAIN, Snapshot, State, extend

MODEL = "a" * 64
N_BYTES = 40_000 + 400  # of one `mind`


def mind(*token_ids: int, model: str = MODEL) -> Snapshot:
    state = State({"wkv": torch.full((100, 100), float(sum(token_ids)))})
    return Snapshot(state, torch.zeros(100), len(token_ids), extend(EMPTY_CHAIN, token_ids), model)


def same(a: Snapshot | None, b: Snapshot) -> bool:
    return a is not None and a.state.digest() == b.state.digest() and a.chain == b.chain
