"""The vault: within its budget, on disk after the text, never a stale or damaged state."""

from __future__ import annotations

import os
import stat
import threading
import time
from concurrent.futures import Future
from typing import TYPE_CHECKING, Any

import pytest
import torch

from chatrwkv.chat.vault import Stored, Vault, key_of
from chatrwkv.engine import EMPTY_CHAIN, Snapshot, State, extend
from chatrwkv.errors import StoreFull
from tests.chat.minds import MODEL, N_BYTES, mind, same
from tests.fakes import wait_until

if TYPE_CHECKING:
    from pathlib import Path


def test_only_the_same_model_and_the_same_tokens_find_a_mind(vault: Vault):
    kept = mind(1, 2, 3)
    vault.put(kept)
    assert vault.get(MODEL, kept.chain) is kept
    assert vault.get("b" * 64, kept.chain) is None
    assert vault.get(MODEL, extend(EMPTY_CHAIN, (1, 2))) is None
    assert vault.get(MODEL, extend(EMPTY_CHAIN, (3, 2, 1))) is None


def test_what_left_the_memory_comes_back_from_disk(vault: Vault):
    minds = [mind(i) for i in range(1, 31)]
    for each in minds:
        vault.put(each)
    vault.flush()
    assert all(same(vault.get(MODEL, each.chain), each) for each in minds)
    assert vault.usage().ram_bytes <= 10 * N_BYTES


def test_a_second_vault_finds_what_the_first_one_wrote(tmp_path: Path):
    first = Vault(tmp_path, 10 * N_BYTES)
    kept = mind(4, 5)
    first.put(kept)
    first.close()
    second = Vault(tmp_path, 10 * N_BYTES)
    assert second.usage().n_disk == 1
    assert same(second.get(MODEL, kept.chain), kept)
    later = mind(6)
    other = Vault(tmp_path, 10 * N_BYTES)  # another process that is open at the same time
    other.put(later)
    other.close()
    assert same(second.get(MODEL, later.chain), later)
    second.close()


def test_a_mind_is_written_after_its_text_and_linked_after_that(vault: Vault, tmp_path: Path):
    """A state on disk without the text it belongs to is an orphan after a crash."""
    committed: Future[Any] = Future()
    linked = threading.Event()
    stored: list[Stored] = []

    def link(what: Stored) -> None:
        assert (tmp_path / "states" / what.place).exists()
        stored.append(what)
        linked.set()

    kept = mind(1, 2)
    vault.put(kept, after=committed, saved=link)
    assert not linked.wait(0.05)
    assert vault.get(MODEL, kept.chain) is kept, "it is of use at once"
    assert not (tmp_path / "states").exists()
    committed.set_result(None)
    vault.flush()
    assert [(s.key, s.n_tokens, s.chain) for s in stored] == [(key_of(MODEL, kept.chain), 2, kept.chain)]


def test_a_mind_whose_text_could_not_be_saved_is_not_written(vault: Vault, tmp_path: Path):
    failed: Future[Any] = Future()
    failed.set_exception(StoreFull("no space"))
    vault.put(mind(1), after=failed)
    vault.flush()
    assert not (tmp_path / "states").exists()
    assert vault.problem is not None
    vault.put(mind(2))
    vault.flush()
    assert vault.problem is None


@pytest.mark.parametrize("damage", ["flipped", "truncated", "empty", "other text"])
def test_a_damaged_file_is_never_used(tmp_path: Path, damage: str):
    """llama.cpp#28007: going on silently from a stale or broken state."""
    first = Vault(tmp_path, 10 * N_BYTES)
    kept, other = mind(1, 2), mind(3)
    first.put(kept)
    first.put(other)
    first.close()
    file = first.path_of(MODEL, kept.chain)
    raw = file.read_bytes()
    flipped = bytearray(raw)
    flipped[len(raw) // 2] ^= 1
    new = {
        "flipped": bytes(flipped),
        "truncated": raw[:-7],
        "empty": b"",
        "other text": first.path_of(MODEL, other.chain).read_bytes(),
    }
    file.write_bytes(new[damage])
    second = Vault(tmp_path, 10 * N_BYTES)
    assert second.get(MODEL, kept.chain) is None
    assert not file.exists()
    assert file.with_suffix(".damaged").exists()
    second.put(kept)
    second.flush()
    assert same(Vault.get(second, MODEL, kept.chain), kept)
    second.close()


def test_a_mind_that_the_model_refused_is_not_offered_again(vault: Vault):
    kept = mind(1)
    vault.put(kept)
    vault.flush()
    vault.discard(MODEL, kept.chain, ValueError("wrong shape"))
    assert vault.get(MODEL, kept.chain) is None
    assert vault.usage().ram_bytes == 0


def test_the_sweep_takes_old_files_that_no_message_holds(tmp_path: Path):
    vault = Vault(tmp_path, 10 * N_BYTES)
    names = {}
    for i in (1, 2, 3):
        vault.put(mind(i))
        names[i] = vault.path_of(MODEL, mind(i).chain).name
    vault.flush()
    (tmp_path / ".temp.part").write_text("of a crash")
    long_ago = time.time() - 2 * 24 * 3600
    for name in (names[1], names[2], ".temp.part"):
        os.utime(tmp_path / name, (long_ago, long_ago))
    assert vault.sweep([names[1]]) == 2
    assert {path.name for path in tmp_path.iterdir()} == {names[1], names[3]}
    assert vault.get(MODEL, mind(1).chain) is not None
    vault.close()


def test_files_are_private(vault: Vault, tmp_path: Path):
    vault.put(mind(1))
    vault.flush()
    [file] = (tmp_path / "states").iterdir()
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert stat.S_IMODE(file.parent.stat().st_mode) == 0o700


def test_the_disk_has_a_budget_too(tmp_path: Path):
    """A year of chats with a 7B model would be terabytes; old minds are rebuilt from their tokens."""
    vault = Vault(tmp_path, 2 * N_BYTES, disk_budget_bytes=5 * N_BYTES)
    for i in range(1, 12):
        vault.put(mind(i))
    vault.flush()
    usage = vault.usage()
    assert usage.disk_bytes <= 5 * N_BYTES
    assert len(list(tmp_path.iterdir())) == usage.n_disk
    assert vault.get(MODEL, mind(11).chain) is not None
    vault.close()


def test_many_threads_may_ask_at_once(vault: Vault):
    minds = [mind(i) for i in range(1, 21)]
    for each in minds:
        vault.put(each)
    vault.flush()
    failures: list[int] = []

    def ask(offset: int) -> None:
        for i in range(60):
            each = minds[(i * 7 + offset) % 20]
            if not same(vault.get(MODEL, each.chain), each):
                failures.append(i)

    threads = [threading.Thread(target=ask, args=(n,)) for n in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failures
    usage = vault.usage()
    assert usage.ram_bytes == usage.n_ram * N_BYTES <= 10 * N_BYTES


def test_disk_stays_within_its_budget_but_pinned_files_stay(tmp_path: Path):
    vault = Vault(tmp_path / "states", budget_bytes=10 * N_BYTES, disk_budget_bytes=8 * N_BYTES)
    first = mind(1)
    vault.put(first)
    vault.pin(MODEL, first.chain)
    for i in range(2, 30):
        vault.put(mind(i))
    vault.flush()
    usage = vault.usage()
    assert usage.disk_bytes <= 8 * N_BYTES
    assert vault.path_of(MODEL, first.chain).exists()
    assert not vault.path_of(MODEL, mind(2).chain).exists()
    assert vault.where(MODEL, first.chain).is_pinned
    vault.close()


def test_a_pinned_file_is_not_swept(vault: Vault):
    pinned, other = mind(1), mind(2)
    vault.put(pinned)
    vault.put(other)
    vault.flush()
    vault.pin(MODEL, pinned.chain)
    for each in (pinned, other):
        os.utime(vault.path_of(MODEL, each.chain), (0, 0))
    assert vault.sweep([]) == 1
    assert vault.path_of(MODEL, pinned.chain).exists()


def test_a_damaged_file_is_said_and_never_used(tmp_path: Path):
    first = Vault(tmp_path, budget_bytes=N_BYTES)
    first.put(mind(1))
    first.close()
    second = Vault(tmp_path, budget_bytes=N_BYTES)
    path = second.path_of(MODEL, mind(1).chain)
    path.write_bytes(path.read_bytes()[:-1] + b"!")
    assert second.get(MODEL, mind(1).chain) is None
    (notice,) = second.take_notices()
    assert "read again" in notice
    assert not second.take_notices()
    second.close()


def test_a_renewed_mind_takes_the_place_of_the_old_one_everywhere(vault: Vault):
    old = mind(1)
    new = Snapshot(State({"wkv": torch.full((100, 100), 7.0)}), old.logits, 1, old.chain, MODEL)
    vault.put(old)
    vault.renew(new)
    assert vault.get(MODEL, old.chain) is new
    vault.flush()
    vault.set_budget(0)
    vault.put(mind(2), durable=False)
    assert same(vault.get(MODEL, old.chain), new)


def aged(tmp_path: Path, *minds: Snapshot) -> Vault:
    """The next start, ten days after these were used."""
    before = Vault(tmp_path, budget_bytes=100 * N_BYTES)
    for each in minds:
        before.put(each)
    before.close()
    for each in minds:
        path, then = before.path_of(MODEL, each.chain), time.time() - 10 * 24 * 3600
        os.utime(path, (then, then))
    return Vault(tmp_path, budget_bytes=100 * N_BYTES)


def until_rounded(vault: Vault, each: Snapshot) -> None:
    wait_until(lambda: vault.where(MODEL, each.chain).is_rounded)


def test_old_minds_are_rounded_only_when_asked_for_and_it_is_said_when_one_is_used(tmp_path: Path):
    old, pinned = mind(1), mind(2)
    vault = aged(tmp_path, old, pinned)
    vault.pin(MODEL, pinned.chain)
    fresh = mind(3)
    vault.put(fresh)
    size = vault.where(MODEL, old.chain).disk_bytes
    vault.round_old(7)
    until_rounded(vault, old)
    vault.flush()
    assert vault.where(MODEL, old.chain).disk_bytes < 0.6 * size
    assert not vault.where(MODEL, pinned.chain).is_rounded
    assert not vault.where(MODEL, fresh.chain).is_rounded
    assert not vault.take_notices()
    assert same(vault.get(MODEL, old.chain), old), "whole numbers survive rounding"
    (notice,) = vault.take_notices()
    assert "half precision" in notice
    vault.close()


def test_a_mind_in_use_is_not_rounded_however_old_its_file(tmp_path: Path):
    active, other = mind(1), mind(2)
    vault = aged(tmp_path, active, other)
    vault.put(active, durable=False)
    vault.round_old(7)
    until_rounded(vault, other)
    assert not vault.where(MODEL, active.chain).is_rounded
    vault.close()
