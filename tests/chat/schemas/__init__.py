"""The database after each migration, as SQL with one chat in it: `m001_chats.sql` and so on.

Each file but the first is what the next migration made of the one before it; `CHATRWKV_TEST_UPDATE=1` writes
the file of a new migration. Released files never change.
"""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

FOLDER = Path(__file__).parent


def fixture(name: str) -> Path:
    """The file of one migration."""
    return FOLDER / f"{name}.sql"


def load(name: str, path: Path) -> None:
    """Make the database as the program of that time left it."""
    with closing(sqlite3.connect(path)) as connection:
        connection.executescript(fixture(name).read_text(encoding="utf-8"))


def dump(connection: sqlite3.Connection) -> str:
    """Tables, indexes and triggers, then the rows of every ordinary table."""
    master = connection.execute(
        "SELECT type, name, sql FROM sqlite_master WHERE sql IS NOT NULL AND name NOT LIKE 'sqlite_%'"
        " ORDER BY type = 'trigger', rowid"
    ).fetchall()
    virtual = {name for _, name, sql in master if sql.startswith("CREATE VIRTUAL")}
    own = [
        row
        for row in master
        if not any(row[1].startswith(f"{name}_") and row[0] == "table" for name in virtual)
    ]
    made = [f"{sql};" for kind, _, sql in own if kind != "trigger"]
    rows = [
        line
        for kind, name, _ in own
        if kind == "table" and name not in virtual
        for line in _rows(connection, name)
    ]
    indexed = [f"INSERT INTO {name}({name}) VALUES ('rebuild');" for name in sorted(virtual)]
    triggers = [f"{sql};" for kind, _, sql in own if kind == "trigger"]
    return "\n".join([*made, *rows, *indexed, *triggers]) + "\n"


def _rows(connection: sqlite3.Connection, table: str) -> list[str]:
    columns = [row[1] for row in connection.execute(f"PRAGMA table_info({table})")]
    quoted = " || ', ' || ".join(f"quote({column})" for column in columns)
    # When a migration was applied says nothing about its schema.
    quoted = quoted.replace("quote(applied)", "'0.0'") if table == "migrations" else quoted
    lines = connection.execute(f"SELECT {quoted} FROM {table} ORDER BY 1").fetchall()
    return [f"INSERT INTO {table} VALUES ({line[0]});" for line in lines]
