"""Migrations: old or new, never between; a copy first; a newer database is left alone."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from typing import TYPE_CHECKING

import pytest

from chatrwkv.chat.database import connect
from chatrwkv.chat.migrations import MIGRATIONS, migrate
from chatrwkv.chat.store import Store
from chatrwkv.chat.tree import Conversation
from chatrwkv.errors import StoreError, StoreTooNew

if TYPE_CHECKING:
    from pathlib import Path


def m998_good(connection: sqlite3.Connection) -> None:
    connection.execute("CREATE TABLE extra (x TEXT)")


def m999_broken(connection: sqlite3.Connection) -> None:
    connection.execute("DROP TABLE settings")
    connection.execute("INSERT INTO nowhere VALUES (1)")


def with_one_chat(path: Path) -> Conversation:
    store = Store.open(path)
    chat = Conversation.start("kept")
    store.create_chat(chat).result()
    store.close()
    return chat


def tables(path: Path) -> set[str]:
    with closing(sqlite3.connect(path)) as connection:
        rows = connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'").fetchall()
    return {row[0] for row in rows}


def test_each_migration_is_applied_once(tmp_path: Path):
    path = tmp_path / "chats.db"
    with closing(connect(path)) as connection:
        assert migrate(connection, path, tmp_path) == ["m001_chats"]
        assert migrate(connection, path, tmp_path) == []


def test_names_are_numbered_in_order():
    numbers = [int(step.__name__[1:4]) for step in MIGRATIONS]
    assert numbers == list(range(1, len(MIGRATIONS) + 1))


def test_a_copy_is_made_before_an_existing_database_changes(tmp_path: Path):
    path = tmp_path / "chats.db"
    with_one_chat(path)
    with closing(connect(path)) as connection:
        assert migrate(connection, path, tmp_path / "b", (*MIGRATIONS, m998_good)) == ["m998_good"]
    assert "extra" in tables(path)
    [backup] = (tmp_path / "b").iterdir()
    assert backup.name == "chats-before-m998_good.db"
    assert "extra" not in tables(backup)
    assert "chats" in tables(backup)


def test_a_broken_migration_leaves_the_database_as_it_was(tmp_path: Path):
    path = tmp_path / "chats.db"
    chat = with_one_chat(path)
    with closing(connect(path)) as connection, pytest.raises(StoreError):
        migrate(connection, path, tmp_path / "b", (*MIGRATIONS, m998_good, m999_broken))
    assert {"settings", "extra"} <= tables(path), "m998 was done, m999 not at all"
    with closing(connect(path)) as connection, pytest.raises(StoreTooNew, match="m998_good"):
        migrate(connection, path, tmp_path / "b")
    assert (tmp_path / "b" / "chats-before-m998_good.db").exists()
    store = Store.open(tmp_path / "b" / "chats-before-m998_good.db")
    assert store.load(chat.id)[0].title == "kept"
    store.close()


def test_a_database_of_a_newer_program_is_refused_untouched(tmp_path: Path):
    """Writing the old form into a new database would destroy it without a word."""
    path = tmp_path / "chats.db"
    with_one_chat(path)
    with closing(connect(path)) as connection:
        migrate(connection, path, tmp_path / "b", (*MIGRATIONS, m998_good))
    before = tables(path)
    with pytest.raises(StoreTooNew, match="newer program"):
        Store.open_or_move_aside(path, tmp_path / "b")
    assert tables(path) == before
    assert path.exists()
