"""The vault's memory: within its budget, whatever the disk does."""

from __future__ import annotations

import os
import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING

import torch

from chatrwkv.chat.vault import Vault
from chatrwkv.engine import EMPTY_CHAIN, Snapshot, State, extend
from tests.chat.minds import MODEL, N_BYTES, mind, same

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    import pytest


@contextmanager
def standing_still(vault: Vault) -> Iterator[None]:
    """Its disk takes nothing meanwhile."""
    go = threading.Event()
    vault.then(go.wait)
    try:
        yield
    finally:
        go.set()


def test_memory_stays_within_the_budget_and_the_least_used_go_first(vault: Vault):
    minds = [mind(i) for i in range(1, 31)]
    vault.put(minds[0])
    for other in minds[1:]:
        vault.put(other)
        vault.get(MODEL, minds[0].chain)
        assert vault.usage().ram_bytes <= 10 * N_BYTES
    vault.flush()
    usage = vault.usage()
    assert usage.n_disk == 30
    assert usage.n_ram in (9, 10), "one may have made room for those that waited for the disk"
    assert usage.ram_bytes == usage.n_ram * N_BYTES
    assert vault.get(MODEL, minds[0].chain) is minds[0], "it was used all the time"


def test_pinned_minds_stay_in_memory(vault: Vault):
    pinned = mind(1)
    vault.put(pinned, durable=False)
    vault.pin(MODEL, pinned.chain)
    for i in range(2, 40):
        vault.put(mind(i), durable=False)
    assert vault.get(MODEL, pinned.chain) is pinned
    vault.unpin(MODEL, pinned.chain)
    for i in range(40, 60):
        vault.put(mind(i), durable=False)
    assert vault.get(MODEL, pinned.chain) is None


def test_a_smaller_budget_takes_effect_at_once(vault: Vault):
    for i in range(1, 8):
        vault.put(mind(i), durable=False)
    vault.set_budget(2 * N_BYTES)
    assert vault.usage().n_ram == 2


def test_a_disk_that_stands_still_does_not_fill_the_memory(vault: Vault, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("chatrwkv.chat.vault._LEAST_WAITING", 5 * N_BYTES)
    with standing_still(vault):
        for i in range(1, 101):
            vault.put(mind(i))
        assert len(vault._unwritten) == 9 + 5, "what is in memory, and what may wait beside it"
    vault.flush()
    assert vault.usage().n_disk == 9 + 5


def test_what_waits_for_the_disk_is_taken_from_the_memory_budget(tmp_path: Path):
    """A sixteenth of it at most, so that together they never hold more than one sixteenth over the budget."""
    vault = Vault(tmp_path / "states", budget_bytes=32 * N_BYTES)
    with standing_still(vault):
        for i in range(1, 41):
            vault.put(mind(i))
        assert vault.usage().n_ram == 30, "two of 32 are held for the disk"
    vault.flush()
    vault.put(mind(41))
    vault.put(mind(42))
    assert vault.usage().n_ram == 32, "nothing waits any more"
    vault.close()


def test_a_thousand_branches_stay_within_the_budget_and_the_oldest_comes_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    """R32 in small: 1,000 states of 130 kB, 10 MB of memory."""
    monkeypatch.setattr(os, "fsync", lambda _: None)  # 2,000 of them are the disk's time
    vault = Vault(tmp_path / "states", budget_bytes=10_000_000)
    logits = torch.zeros(100)

    def branch(i: int) -> Snapshot:
        state = State({"wkv": torch.full((180, 180), float(i))})
        return Snapshot(state, logits, 1, extend(EMPTY_CHAIN, (i,)), MODEL)

    for i in range(1000):
        vault.put(branch(i))
        if i % 50 == 49:
            vault.flush()  # replies leave time between two states
        assert vault.usage().ram_bytes <= 10_000_000
    usage = vault.usage()
    assert usage.n_disk == 1000
    assert usage.n_ram < 80
    assert same(vault.get(MODEL, branch(0).chain), branch(0))
    assert vault.usage().ram_bytes <= 10_000_000
    vault.close()
