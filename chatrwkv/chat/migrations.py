"""Numbered changes of the database, each applied once and recorded by name.

A released migration is never edited; the next change is a new function at the end of MIGRATIONS. Before the
first one that an existing database lacks, a copy of the file goes to the backups folder.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from chatrwkv.chat.backup import backup_to
from chatrwkv.chat.database import naming_errors, transaction
from chatrwkv.chat.search import build_index, can_index
from chatrwkv.errors import StoreTooNew

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Callable
    from pathlib import Path


def m001_chats(connection: sqlite3.Connection) -> None:
    """Chats, messages with the ids that were fed, snapshots by content, the log of changes, small things."""
    for statement in _M001:
        connection.execute(statement)


_M001 = (
    """CREATE TABLE chats (
        id TEXT PRIMARY KEY,
        title TEXT NOT NULL DEFAULT '',
        template TEXT NOT NULL DEFAULT '',      -- empty follows the model's family
        thinking TEXT NOT NULL DEFAULT '',
        params TEXT,                            -- JSON; NULL is the template's defaults
        head TEXT,
        revision INTEGER NOT NULL DEFAULT 0,    -- rises with every change of the tree: stale views notice
        created REAL NOT NULL,
        updated REAL NOT NULL,
        deleted REAL                            -- when; NULL is not deleted
    )""",
    """CREATE TABLE nodes (
        seq INTEGER PRIMARY KEY AUTOINCREMENT,  -- order of making, so of siblings; clocks may jump
        id TEXT NOT NULL UNIQUE,
        chat TEXT NOT NULL REFERENCES chats(id) ON DELETE CASCADE,
        parent TEXT REFERENCES nodes(id) ON DELETE CASCADE,
        role TEXT NOT NULL,
        text TEXT NOT NULL,
        status TEXT NOT NULL,
        meta TEXT,                              -- JSON of ReplyMeta
        name TEXT NOT NULL DEFAULT '',
        shown TEXT,                             -- the child shown most recently
        hidden INTEGER NOT NULL DEFAULT 0,      -- 1 is deleted or undone, kept for undo
        created REAL NOT NULL
    )""",
    "CREATE INDEX nodes_of_chat ON nodes(chat, hidden, seq)",
    "CREATE INDEX nodes_of_parent ON nodes(parent)",
    "CREATE UNIQUE INDEX one_root ON nodes(chat) WHERE parent IS NULL",
    """CREATE TABLE node_tokens (
        node TEXT NOT NULL REFERENCES nodes(id) ON DELETE CASCADE,
        dialect TEXT NOT NULL,                  -- tokenizer and hash of the rendered text
        ids BLOB NOT NULL,                      -- u32 little endian
        PRIMARY KEY (node, dialect)
    ) WITHOUT ROWID""",
    """CREATE TABLE snapshots (
        key TEXT PRIMARY KEY,                   -- of fingerprint and chain
        fingerprint TEXT NOT NULL,
        chain TEXT NOT NULL,
        n_tokens INTEGER NOT NULL,
        n_bytes INTEGER NOT NULL,
        place TEXT NOT NULL,                    -- file name in the states folder
        created REAL NOT NULL
    ) WITHOUT ROWID""",
    """CREATE TABLE node_snapshot (
        node TEXT NOT NULL REFERENCES nodes(id) ON DELETE CASCADE,
        key TEXT NOT NULL REFERENCES snapshots(key) ON DELETE CASCADE,
        PRIMARY KEY (node, key)
    ) WITHOUT ROWID""",
    "CREATE INDEX nodes_of_snapshot ON node_snapshot(key)",
    """CREATE TABLE op_log (
        id INTEGER PRIMARY KEY AUTOINCREMENT,
        chat TEXT NOT NULL REFERENCES chats(id) ON DELETE CASCADE,
        scope TEXT NOT NULL,                    -- 'chat': undone inside the chat; 'list': in the list of chats
        label TEXT NOT NULL,
        forward TEXT NOT NULL,                  -- JSON list of changes
        inverse TEXT NOT NULL,
        undone INTEGER NOT NULL DEFAULT 0,
        created REAL NOT NULL
    )""",
    "CREATE INDEX ops_of_chat ON op_log(chat, scope, id)",
    """CREATE TABLE drafts (
        chat TEXT PRIMARY KEY REFERENCES chats(id) ON DELETE CASCADE,
        text TEXT NOT NULL,
        updated REAL NOT NULL
    ) WITHOUT ROWID""",
    "CREATE TABLE settings (key TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID",
)


def m002_search(connection: sqlite3.Connection) -> None:
    """The index of all texts; an SQLite without FTS5 gets none, and searches without."""
    if can_index(connection):
        build_index(connection)


def m003_token_records(connection: sqlite3.Connection) -> None:
    """What was likely at each token of a reply."""
    connection.execute(
        """CREATE TABLE node_records (
            node TEXT PRIMARY KEY REFERENCES nodes(id) ON DELETE CASCADE,
            tokenizer TEXT NOT NULL,
            text TEXT NOT NULL,                 -- what the rows cover: an edit makes only the rest stale
            row_bytes INTEGER NOT NULL,
            rows BLOB NOT NULL                  -- see engine/record.py
        )"""
    )


def m004_base(connection: sqlite3.Connection) -> None:
    """The state that a chat begins with, by its chain; empty is the blank one."""
    connection.execute("ALTER TABLE nodes ADD COLUMN base TEXT NOT NULL DEFAULT ''")


MIGRATIONS: tuple[Callable[[sqlite3.Connection], None], ...] = (
    m001_chats,
    m002_search,
    m003_token_records,
    m004_base,
)


def migrate(
    connection: sqlite3.Connection,
    path: Path,
    backups: Path,
    migrations: tuple[Callable[[sqlite3.Connection], None], ...] = MIGRATIONS,
) -> list[str]:
    """Bring the database to the newest form; each step is one transaction.

    Returns:
        The names of what was applied now.

    Raises:
        StoreTooNew: it holds a migration that this program does not know.
        StoreError: by cause; the database is as before that step, and a backup exists.
    """
    with naming_errors(path):
        done = _recorded(connection)
        unknown = sorted(done - {step.__name__ for step in migrations})
        if unknown:
            raise StoreTooNew(
                f"The chats in {path} were written by a newer program (it did {unknown[-1]}).",
                hint="Install the newest version, or set CHATRWKV_DATA_DIR to another folder.",
            )
        missing = [step for step in migrations if step.__name__ not in done]
        if missing and done:
            backup_to(connection, backups, f"before-{missing[0].__name__}")
        return [step.__name__ for step in missing if _apply(connection, step)]


def _recorded(connection: sqlite3.Connection) -> set[str]:
    table = "SELECT 1 FROM sqlite_master WHERE type = 'table' AND name = 'migrations'"
    if connection.execute(table).fetchone() is None:
        return set()
    return {row[0] for row in connection.execute("SELECT name FROM migrations")}


def _apply(connection: sqlite3.Connection, step: Callable[[sqlite3.Connection], None]) -> bool:
    with transaction(connection, full=True):
        connection.execute(
            "CREATE TABLE IF NOT EXISTS migrations (name TEXT PRIMARY KEY, applied REAL NOT NULL)"
        )
        if step.__name__ in _recorded(connection):
            return False  # another process was faster
        step(connection)
        connection.execute("INSERT INTO migrations VALUES (?, ?)", (step.__name__, time.time()))
    return True
