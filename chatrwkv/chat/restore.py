"""Bring the chats of a backup back, beside those that are there by now."""

from __future__ import annotations

import sqlite3
import tempfile
from contextlib import closing
from pathlib import Path

from chatrwkv.chat.backup import backup_to
from chatrwkv.chat.database import connect, naming_errors, transaction
from chatrwkv.chat.migrations import migrate
from chatrwkv.paths import private_dir

# Parents before children, since foreign keys are on.
_TABLES = (
    "chats",
    "nodes",
    "node_tokens",
    "node_records",
    "snapshots",
    "node_snapshot",
    "op_log",
    "drafts",
    "settings",
)


def take_over(connection: sqlite3.Connection, backup: Path, folder: Path) -> int:
    """Add all rows of `backup` that are not here, whatever program wrote it; returns how many chats came.

    Raises:
        StoreError: it is damaged, or newer than this program.
    """
    private_dir(folder)
    with tempfile.TemporaryDirectory(dir=folder, prefix=".restore-") as place:
        copy = Path(place) / "chats.db"  # brought to the newest form there; the backup stays as it is
        with naming_errors(backup):
            with closing(sqlite3.connect(f"{backup.absolute().as_uri()}?mode=ro", uri=True)) as source:
                backup_to(source, Path(place), "old").replace(copy)
            with closing(connect(copy)) as migrated:
                migrate(migrated, copy, Path(place))
            connection.execute("ATTACH ? AS backup", (str(copy),))
            try:
                return _copy_rows(connection)
            finally:
                connection.execute("DETACH backup")


def _copy_rows(connection: sqlite3.Connection) -> int:
    n_before = connection.execute("SELECT count(*) FROM main.chats").fetchone()[0]
    with transaction(connection, full=True):
        for table in _TABLES:
            # Numbers that only order rows are given anew: the same ones may be in use here.
            skipped = {"nodes": "seq", "op_log": "id"}.get(table)
            names = [row[1] for row in connection.execute(f"PRAGMA main.table_info({table})")]
            columns = ", ".join(name for name in names if name != skipped)
            order = f" ORDER BY {skipped}" if skipped else ""
            known = " WHERE chat NOT IN (SELECT chat FROM main.op_log)" if table == "op_log" else ""
            statement = f"INSERT OR IGNORE INTO main.{table} ({columns}) SELECT {columns} FROM backup.{table}{known}{order}"  # noqa: S608 -- our own names
            connection.execute(statement)
        # A chat that is open may have got back what it had lost, so its view is stale now.
        connection.execute("UPDATE main.chats SET revision = revision + 1")
    n_after = connection.execute("SELECT count(*) FROM main.chats").fetchone()[0]
    return int(n_after - n_before)
