"""SQLite as this program uses it: private files, one way to connect, one place where its errors get names."""

from __future__ import annotations

import contextlib
import os
import sqlite3
import time
from typing import TYPE_CHECKING

from chatrwkv.errors import StoreCorrupt, StoreError, StoreFull, StoreLocked
from chatrwkv.paths import private_dir

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

BUSY_TIMEOUT_MS = 5000
# A commit takes single milliseconds; whoever still holds the lock after this is stuck, not slow.
_WAL_PATIENCE_S = 5.0

# Primary result codes (the low byte of sqlite_errorcode) to the class that names the way out.
_LOCKED = frozenset({sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED})
_CORRUPT = frozenset({sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB, sqlite3.SQLITE_FORMAT})
_FULL = frozenset(
    {
        sqlite3.SQLITE_FULL,
        sqlite3.SQLITE_READONLY,
        sqlite3.SQLITE_CANTOPEN,
        sqlite3.SQLITE_IOERR,
        sqlite3.SQLITE_PERM,
    }
)


def named(error: sqlite3.Error, path: Path) -> StoreError:
    """The error of ours that says what `error` means for the user."""
    code = getattr(error, "sqlite_errorcode", 0) & 0xFF
    # Python reports some damage (text that is no UTF-8, a truncated file) without a code.
    if code in _CORRUPT or "malformed" in str(error) or "not a database" in str(error):
        return StoreCorrupt(
            f"The chats in {path} are damaged ({error}).",
            hint="Start again: the file is put aside and the newest backup is offered.",
        )
    if code in _LOCKED:
        return StoreLocked(
            f"The chats in {path} are held by another program ({error}).",
            hint="Close the other one, then try again; nothing was lost.",
        )
    if code in _FULL:
        return StoreFull(
            f"The chats in {path} cannot be written ({error}).",
            hint="Free space or correct the folder's permissions, or set CHATRWKV_DATA_DIR to another folder.",
        )
    return StoreError(f"The chats in {path} cannot be used ({error}).", hint="Restart the program.")


@contextlib.contextmanager
def naming_errors(path: Path) -> Iterator[None]:
    """Turn every sqlite3 error inside into one of ours."""
    try:
        yield
    except sqlite3.Error as error:
        raise named(error, path) from error
    except UnicodeDecodeError as error:
        raise StoreCorrupt(
            f"The chats in {path} are damaged (text that is no UTF-8).",
            hint="Start again: the file is put aside and the newest backup is offered.",
        ) from error


def connect(path: Path, *, read_only: bool = False) -> sqlite3.Connection:
    """A connection in autocommit mode with the settings that every connection needs.

    Raises:
        StoreError: one of its classes, by cause.
    """
    private_dir(path.parent)
    with naming_errors(path):
        if not read_only:
            _create_private(path)
        # One thread uses a connection at a time, but opening and using it may be two.
        connection = sqlite3.connect(
            path, timeout=BUSY_TIMEOUT_MS / 1000, isolation_level=None, check_same_thread=False
        )
        try:
            connection.row_factory = sqlite3.Row
            connection.execute("PRAGMA foreign_keys = ON")
            if read_only:
                connection.execute("PRAGMA query_only = ON")
            else:
                _use_wal(connection)
                connection.execute("PRAGMA synchronous = NORMAL")
        except BaseException:
            connection.close()
            raise
    return connection


def _create_private(path: Path) -> None:
    # SQLite gives -wal and -shm the mode of the database, so the mode must be right before it opens.
    try:
        os.close(os.open(path, os.O_CREAT | os.O_RDWR, 0o600))
        path.chmod(0o600)
    except OSError as error:
        raise StoreFull(
            f"The chats in {path} cannot be opened: {error.strerror or error}.",
            hint="Free space or correct the permissions, or set CHATRWKV_DATA_DIR to another folder.",
        ) from error


def _use_wal(connection: sqlite3.Connection) -> None:
    # Switching needs the file alone and does not wait for the busy timeout; two first starts at once meet here.
    deadline = time.monotonic() + _WAL_PATIENCE_S
    while True:
        try:
            connection.execute("PRAGMA journal_mode = WAL")
        except sqlite3.OperationalError as error:
            if (error.sqlite_errorcode & 0xFF) not in _LOCKED or time.monotonic() > deadline:
                raise
            time.sleep(0.01)
        else:
            return


@contextlib.contextmanager
def transaction(connection: sqlite3.Connection, *, full: bool = False) -> Iterator[None]:
    """One write transaction; `full` waits until the disk has it (what a user typed must survive a power cut)."""
    if full:
        connection.execute("PRAGMA synchronous = FULL")
    try:
        connection.execute("BEGIN IMMEDIATE")
        try:
            yield
        except BaseException:
            connection.execute("ROLLBACK")
            raise
        connection.execute("COMMIT")
    finally:
        if connection.in_transaction:  # the commit itself failed, for example on a full disk
            connection.execute("ROLLBACK")
        if full:
            connection.execute("PRAGMA synchronous = NORMAL")


def check(connection: sqlite3.Connection, *, thorough: bool = False) -> list[str]:
    """What SQLite finds wrong with the file; empty is good."""
    pragma = "integrity_check" if thorough else "quick_check"
    found = [str(row[0]) for row in connection.execute(f"PRAGMA {pragma}(10)")]
    return [] if found == ["ok"] else found
