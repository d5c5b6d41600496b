"""Migrations: old or new, never between; a copy first; a newer database is left alone."""

from __future__ import annotations

import os
import sqlite3
from contextlib import closing
from typing import TYPE_CHECKING

import pytest

from chatrwkv.chat.database import check, connect
from chatrwkv.chat.migrations import MIGRATIONS, migrate
from chatrwkv.chat.search import can_index
from chatrwkv.chat.store import Store
from chatrwkv.chat.tree import Conversation
from chatrwkv.errors import StoreError, StoreTooNew
from tests.chat import schemas
from tests.chat.conftest import what

if TYPE_CHECKING:
    from collections.abc import Callable
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
        assert migrate(connection, path, tmp_path) == [step.__name__ for step in MIGRATIONS]
        assert migrate(connection, path, tmp_path) == []


def test_names_are_numbered_in_order():
    numbers = [int(step.__name__[1:4]) for step in MIGRATIONS]
    assert numbers == list(range(1, len(MIGRATIONS) + 1))


with closing(sqlite3.connect(":memory:")) as probe:
    needs_fts5 = pytest.mark.skipif(not can_index(probe), reason="this SQLite has no FTS5 with trigrams")


@needs_fts5
@pytest.mark.parametrize("number", range(1, len(MIGRATIONS)))
def test_each_migration_makes_of_the_form_before_it_the_one_that_is_committed(tmp_path: Path, number: int):
    """Without the file of each form nobody can tell later whether an old database still opens."""
    before, step = MIGRATIONS[number - 1], MIGRATIONS[number]
    path = tmp_path / "chats.db"
    schemas.load(before.__name__, path)
    with closing(connect(path)) as connection:
        assert migrate(connection, path, tmp_path / "b", MIGRATIONS[: number + 1]) == [step.__name__]
        made, committed = schemas.dump(connection), schemas.fixture(step.__name__)
    if os.environ.get("CHATRWKV_TEST_UPDATE") and not committed.exists():
        committed.write_text(made, encoding="utf-8")
    assert made == committed.read_text(encoding="utf-8")


@needs_fts5
@pytest.mark.parametrize("step", MIGRATIONS, ids=lambda step: step.__name__)
def test_a_database_of_every_form_opens_with_all_it_holds(tmp_path: Path, step: Callable[..., None]):
    path = tmp_path / "chats.db"
    schemas.load(step.__name__, path)
    store = Store.open(path)
    chat = store.load("chat")[0]
    assert [node.text for node in chat.path()] == ["", "三体是什么?", " A novel."]
    assert chat.nodes["user"].name == "a name"
    assert chat.nodes["reply"].tokens == {"tok:1": (1, 2)}
    assert store.linked_places() == {"k.rwkvstate"}
    assert store.draft("chat") == "half"
    assert [hit.node for hit in store.search("三体")] == ["user"]
    assert what(store.undo("chat").result()) == "delete branch"
    assert "gone" in store.load("chat")[0].nodes
    assert not store.integrity()
    store.close()


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


@needs_fts5
@pytest.mark.parametrize("number", range(1, len(MIGRATIONS)))
def test_a_migration_interrupted_at_any_statement_is_made_whole_by_the_next_start(
    tmp_path: Path, number: int
):
    path, before = tmp_path / "chats.db", MIGRATIONS[number - 1].__name__
    schemas.load(before, path)
    for n_statements in range(5):
        steps = (*MIGRATIONS[:number], stopped_after(n_statements, MIGRATIONS[number]))
        with closing(connect(path)) as connection:
            form = schemas.dump(connection)
            with pytest.raises(StoreError):
                migrate(connection, path, tmp_path / "b", steps)
            assert schemas.dump(connection) == form
            assert not check(connection, thorough=True)
    for database in (path, tmp_path / "b" / f"chats-before-{MIGRATIONS[number].__name__}.db"):
        store = Store.open(database, tmp_path / "more")
        assert [node.text for node in store.load("chat")[0].path()] == ["", "三体是什么?", " A novel."]
        store.close()


def stopped_after(n_statements: int, step: Callable[..., None]) -> Callable[[sqlite3.Connection], None]:
    """`step` as a kill leaves it: so many of its statements are done, and it never ends."""

    def work(connection: sqlite3.Connection) -> None:
        left = [n_statements]

        def count(_statement: str) -> None:
            left[0] -= 1
            if left[0] < 0:
                connection.interrupt()

        connection.set_trace_callback(count)
        try:
            step(connection)
        finally:
            connection.set_trace_callback(None)
        raise sqlite3.OperationalError("interrupted")

    work.__name__ = step.__name__
    return work
