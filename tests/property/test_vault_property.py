"""The vault under random use: its budget holds, its sums are right, what it gives is what was put."""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path

import torch
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from chatrwkv.chat.vault import Vault
from chatrwkv.engine import EMPTY_CHAIN, Snapshot, State, extend

MODEL = "m" * 64
NUMBER = st.integers(0, 11)


def mind(number: int) -> Snapshot:
    """Of different sizes, so that sums of bytes can go wrong."""
    state = State({"wkv": torch.full((10 + number, 10), float(number))})
    return Snapshot(state, torch.zeros(4), number, extend(EMPTY_CHAIN, (number,)), MODEL)


MINDS = [mind(number) for number in range(12)]
BUDGET = sum(each.n_bytes for each in MINDS[:4])


class Vaults(RuleBasedStateMachine):
    """Puts, asks, pins, restarts and loses files."""

    @initialize()
    def begin(self) -> None:
        self.folder = Path(tempfile.mkdtemp())
        self.vault = Vault(self.folder, BUDGET)
        self.on_disk: set[int] = set()
        self.pinned: list[int] = []

    def teardown(self) -> None:
        if hasattr(self, "vault"):
            self.vault.close()
            shutil.rmtree(self.folder)

    @rule(number=NUMBER, durable=st.booleans())
    def put(self, number: int, durable: bool) -> None:
        self.vault.put(MINDS[number], durable=durable)
        if durable:
            self.on_disk.add(number)

    @rule(number=NUMBER)
    def get(self, number: int) -> None:
        found = self.vault.get(MODEL, MINDS[number].chain)
        if number in self.on_disk:
            assert found is not None
        if found is not None:
            assert found.state.digest() == MINDS[number].state.digest()

    @rule(number=NUMBER)
    def pin(self, number: int) -> None:
        if len(self.pinned) < 2 and number not in self.pinned:
            self.vault.pin(MODEL, MINDS[number].chain)
            self.pinned.append(number)

    @rule()
    def unpin(self) -> None:
        if self.pinned:
            self.vault.unpin(MODEL, MINDS[self.pinned.pop()].chain)

    @rule(number=NUMBER)
    def damage(self, number: int) -> None:
        self.vault.flush()
        path = self.vault.path_of(MODEL, MINDS[number].chain)
        if path.exists():
            path.write_bytes(path.read_bytes()[:-1])
            self.on_disk.discard(number)

    @rule()
    def restart(self) -> None:
        self.vault.close()
        self.vault = Vault(self.folder, BUDGET)
        self.pinned.clear()

    @rule()
    def sweep(self) -> None:
        self.vault.flush()
        self.vault.sweep([])  # all of them are younger than a day

    @invariant()
    def the_budget_holds_and_the_sums_are_right(self) -> None:
        if hasattr(self, "vault"):
            usage = self.vault.usage()
            kept = list(self.vault._ram.values())
            assert usage.ram_bytes == sum(each.n_bytes for each in kept)
            # Beyond the budget only what is pinned, and the one put or asked for last.
            loose = [each.n_bytes for each in kept if each.n_tokens not in self.pinned]
            pinned = sum({n: MINDS[n].n_bytes for n in self.pinned}.values())
            assert usage.ram_bytes <= max(BUDGET, pinned + max(loose, default=0))


Vaults.TestCase.settings = settings(max_examples=20, stateful_step_count=30, deadline=None)
TestVaults = Vaults.TestCase
