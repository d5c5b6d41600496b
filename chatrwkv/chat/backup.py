"""Copies of the database: one a day, before each migration, and what happens to a damaged one."""

from __future__ import annotations

import contextlib
import datetime as dt
import os
import sqlite3
from typing import TYPE_CHECKING

from chatrwkv.chat.database import check, naming_errors
from chatrwkv.errors import StoreCorrupt
from chatrwkv.paths import private_dir

if TYPE_CHECKING:
    from pathlib import Path

KEPT_DAILY = 7
_DAILY = "chats-daily-"


class DatabaseMoved(StoreCorrupt):
    """A damaged database was put aside; nothing of it was thrown away."""

    def __init__(self, message: str, *, hint: str, moved_to: Path, backup: Path | None) -> None:
        super().__init__(message, hint=hint)
        self.moved_to = moved_to
        self.backup = backup


def _now() -> dt.datetime:
    return dt.datetime.now().astimezone()


def label_by_hand() -> str:
    """A name for a copy made on demand, which replaces no other."""
    return f"by-hand-{_now():%Y-%m-%d-%H%M%S}"


def backup_to(connection: sqlite3.Connection, folder: Path, label: str) -> Path:
    """Copy the database behind `connection` into `folder`, whole or not at all; returns the file."""
    private_dir(folder)
    final = folder / f"chats-{label}.db"
    part = folder / f".{final.name}.{os.getpid()}.part"
    with naming_errors(final):
        os.close(os.open(part, os.O_CREAT | os.O_WRONLY | os.O_TRUNC, 0o600))
        try:
            with contextlib.closing(sqlite3.connect(part)) as copy:
                connection.backup(copy)
                copy.execute("PRAGMA journal_mode = DELETE")  # one file, no -wal beside it
            with part.open("rb") as written:
                os.fsync(written.fileno())
            part.replace(final)
        finally:
            part.unlink(missing_ok=True)
    return final


def backup_daily(connection: sqlite3.Connection, folder: Path) -> Path | None:
    """Today's copy unless it exists; the oldest beyond seven go."""
    label = f"{_DAILY.removeprefix('chats-')}{_now():%Y-%m-%d}"
    if (folder / f"chats-{label}.db").exists():
        return None
    made = backup_to(connection, folder, label)
    for old in sorted(folder.glob(f"{_DAILY}*.db"))[:-KEPT_DAILY]:
        old.unlink(missing_ok=True)
    return made


def backups_in(folder: Path) -> list[Path]:
    """All copies, the newest first."""
    return sorted(folder.glob("chats-*.db"), key=lambda path: path.stat().st_mtime, reverse=True)


def newest_backup(folder: Path) -> Path | None:
    """The newest copy that is whole."""
    return next((path for path in backups_in(folder) if _is_whole(path)), None)


def _is_whole(path: Path) -> bool:
    try:
        with contextlib.closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True)) as connection:
            return not check(connection)
    except sqlite3.Error:
        return False


def move_aside(path: Path, backups: Path) -> DatabaseMoved:
    """Put a damaged database where nothing overwrites it; returns the error that tells where and what next."""
    stamp = f"{_now():%Y-%m-%d-%H%M%S}"
    aside = path.with_name(f"{path.name}.damaged-{stamp}")
    number = 1
    while aside.exists():
        number += 1
        aside = path.with_name(f"{path.name}.damaged-{stamp}-{number}")
    for suffix in ("-wal", "-shm", ""):
        source = path.with_name(path.name + suffix)
        if source.exists():
            source.replace(aside.with_name(aside.name + suffix))
    offered = newest_backup(backups)
    return DatabaseMoved(
        f"The chats were damaged; the file is now {aside}.",
        hint=f"The newest backup is {offered}; /backup restore brings it back."
        if offered
        else "There is no backup yet; the list of chats starts empty.",
        moved_to=aside,
        backup=offered,
    )
