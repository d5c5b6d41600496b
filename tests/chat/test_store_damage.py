"""Damaged, full and forbidden databases: the program starts, nothing is thrown away, the way out is said."""

from __future__ import annotations

import random
import resource
import sqlite3
from typing import TYPE_CHECKING

import pytest

from chatrwkv.chat.backup import newest_backup
from chatrwkv.chat.database import named
from chatrwkv.chat.store import Store
from chatrwkv.chat.tree import Conversation, Role, new_node
from chatrwkv.errors import StoreCorrupt, StoreFull, StoreLocked

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path


def filled(path: Path, n_chats: int = 30) -> list[str]:
    store = Store.open(path)
    ids = []
    for i in range(n_chats):
        chat = Conversation.start(f"chat {i}")
        nodes = [new_node(chat.root, Role.USER, f"text {j} " * 40) for j in range(10)]
        store.create_chat(chat.with_nodes(nodes))
        ids.append(chat.id)
    store.backup_daily().result()
    store.close()
    return ids


def truncated(path: Path) -> None:
    raw = path.read_bytes()
    path.write_bytes(raw[: len(raw) // 2])


def overwritten(path: Path) -> None:
    raw = bytearray(path.read_bytes())
    start = 4096 * (len(raw) // 4096 // 2)
    raw[start : start + 4096] = random.randbytes(4096)
    path.write_bytes(bytes(raw))


def header_gone(path: Path) -> None:
    raw = path.read_bytes()
    path.write_bytes(b"\0" * 100 + raw[100:])


def not_a_database(path: Path) -> None:
    path.write_bytes(b"<!DOCTYPE html><title>404</title>" * 200)


@pytest.mark.parametrize("damage", [truncated, overwritten, header_gone, not_a_database])
def test_a_damaged_database_is_put_aside_and_the_backup_offered(
    tmp_path: Path, damage: Callable[[Path], None]
):
    """lmstudio#2343: a damaged file must not end the program, nor be overwritten by an empty one."""
    path, backups = tmp_path / "chats.db", tmp_path / "backups"
    ids = filled(path)
    damage(path)
    broken = path.read_bytes()
    store, moved = Store.open_or_move_aside(path, backups)
    assert moved is not None
    assert store.chats() == []
    store.create_chat(Conversation.start("goes on")).result()
    store.close()
    assert moved.moved_to.name.startswith("chats.db.damaged-20")
    assert moved.moved_to.read_bytes() == broken
    assert moved.backup is not None
    assert str(moved.backup) in moved.hint
    assert str(moved.moved_to) in moved.message
    saved = Store.open(moved.backup)
    assert {chat.id for chat in saved.chats()} == set(ids)
    saved.close()


def test_two_damaged_databases_in_one_second_are_both_kept(tmp_path: Path):
    path = tmp_path / "chats.db"
    kept = set()
    for _ in range(2):
        not_a_database(path)
        store, moved = Store.open_or_move_aside(path, tmp_path / "b")
        store.close()
        assert moved is not None
        kept.add(moved.moved_to)
    assert len(kept) == 2
    assert all(file.exists() for file in kept)


def test_a_damaged_backup_is_not_offered(tmp_path: Path):
    filled(tmp_path / "chats.db")
    [good] = (tmp_path / "backups").iterdir()
    bad = good.with_name("chats-newer.db")
    not_a_database(bad)
    assert newest_backup(tmp_path / "backups") == good


def test_one_backup_a_day_and_seven_of_them(tmp_path: Path):
    store = Store.open(tmp_path / "chats.db")
    for day in range(1, 10):
        old = store.backups / f"chats-daily-2020-01-0{day}.db"
        old.parent.mkdir(exist_ok=True)
        old.write_bytes(b"")
    assert store.backup_daily().result() is not None
    assert store.backup_daily().result() is None
    kept = sorted(path.name for path in store.backups.iterdir())
    assert len(kept) == 7
    assert kept[0] == "chats-daily-2020-01-04.db"
    store.close()


def test_a_full_disk_is_said_and_nothing_saved_before_is_harmed(tmp_path: Path):
    """The limit on file size stands in for a full disk: SQLite sees the same failing write."""
    import signal

    store = Store.open(tmp_path / "chats.db")
    chat = Conversation.start("before")
    store.create_chat(chat).result()
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    old = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (300_000, old[1]))
    try:
        with pytest.raises(StoreFull) as caught:
            store.save_draft(chat.id, "x" * 1_000_000).result()
        assert caught.value.hint
        problems = [store.problem]
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, old)
    store.save_draft(chat.id, "x" * 1_000_000).result()
    problems.append(store.problem)
    assert problems == [caught.value, None]
    assert store.load(chat.id)[0].title == "before"
    assert not store.integrity()
    store.close()


def test_a_path_that_cannot_be_written_is_named(tmp_path: Path):
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(StoreFull, match="file"):
        Store.open(tmp_path / "file" / "chats.db")
    (tmp_path / "folder").mkdir()
    with pytest.raises(StoreFull, match="folder"):
        Store.open(tmp_path / "folder")


@pytest.mark.parametrize(
    ("code", "kind"),
    [
        (sqlite3.SQLITE_BUSY, StoreLocked),
        (sqlite3.SQLITE_LOCKED, StoreLocked),
        (sqlite3.SQLITE_BUSY_SNAPSHOT, StoreLocked),
        (sqlite3.SQLITE_CORRUPT, StoreCorrupt),
        (sqlite3.SQLITE_NOTADB, StoreCorrupt),
        (sqlite3.SQLITE_FULL, StoreFull),
        (sqlite3.SQLITE_READONLY, StoreFull),
        (sqlite3.SQLITE_CANTOPEN, StoreFull),
        (sqlite3.SQLITE_IOERR_WRITE, StoreFull),
    ],
)
def test_every_sqlite_code_we_claim_to_map_has_its_class(tmp_path: Path, code: int, kind: type):
    error = sqlite3.OperationalError("why")
    error.sqlite_errorcode = code
    found = named(error, tmp_path / "chats.db")
    assert type(found) is kind
    assert found.hint
    assert "chats.db" in found.message
