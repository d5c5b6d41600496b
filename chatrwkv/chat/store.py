"""Chats in SQLite: one writer thread, any number of reading threads, every change in one transaction.

Text is the truth; snapshots are only linked here and live in the vault. Nothing a user wrote is erased:
deleted chats and branches are hidden and come back with undo.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

from chatrwkv.chat import journal
from chatrwkv.chat.backup import backup_daily, backup_to, move_aside
from chatrwkv.chat.database import check, connect, naming_errors
from chatrwkv.chat.inserting import insert_chat, put_tokens, remember_shown
from chatrwkv.chat.migrations import migrate
from chatrwkv.chat.purge import Purgeable, purge, purgeable, shrink
from chatrwkv.chat.reader import Reader, no_such_chat, read_conversation
from chatrwkv.chat.record import copy_records, put_record
from chatrwkv.chat.restore import take_over
from chatrwkv.chat.rows import dump, node_columns
from chatrwkv.chat.search import mend_index
from chatrwkv.chat.tree import ChatId, Conversation, Node, NodeId, NodeStatus
from chatrwkv.chat.writer import Writer
from chatrwkv.errors import StoreCorrupt, StoreError

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Callable, Mapping, Sequence
    from concurrent.futures import Future
    from pathlib import Path

    from chatrwkv.chat.backup import DatabaseMoved
    from chatrwkv.chat.journal import Operation, Step
    from chatrwkv.chat.record import TokenRecord
    from chatrwkv.chat.vault import Stored

    Build = Callable[[Conversation | None], tuple[Operation, Conversation]]


# A check at the start reads the whole file, 1.2 ms a MB; with more than this, damage is found when it is met.
_CHECKED_BYTES = 200_000_000


class Store(Reader):
    """The chats of one user; safe to use from any thread."""

    def __init__(self, path: Path, backups: Path, connection: sqlite3.Connection) -> None:
        super().__init__(path)
        self.backups = backups
        self._writer = Writer(connection, path)

    # -- opening and closing ------------------------------------------------------------------------------

    @classmethod
    def open(cls, path: Path, backups: Path | None = None) -> Store:
        """Open or create the database, and bring it to the newest form.

        Raises:
            StoreError: by cause; StoreCorrupt leaves the file where it is (`open_or_move_aside` does not).
        """
        backups = backups or path.parent / "backups"
        connection = connect(path)
        try:
            _refuse_damage(connection, path, backups)
            migrate(connection, path, backups)
            with naming_errors(path):
                mend_index(connection)
        except BaseException:
            connection.close()
            raise
        return cls(path, backups, connection)

    @classmethod
    def open_or_move_aside(cls, path: Path, backups: Path) -> tuple[Store, DatabaseMoved | None]:
        """Open the database; a damaged one is put aside under a dated name and an empty one takes its place."""
        try:
            return cls.open(path, backups), None
        except StoreCorrupt as error:
            moved = move_aside(path, backups)
            moved.__cause__ = error
            return cls.open(path, backups), moved

    def close(self) -> None:
        """Write what is queued and close every connection."""
        self._writer.close()
        super().close()

    @property
    def problem(self) -> StoreError | None:
        """What the last write failed with; None once one succeeded again."""
        return self._writer.problem

    def flush(self) -> None:
        """Wait until everything queued so far is committed."""
        self._writer.submit(lambda _: None, in_transaction=False).result()

    def backup(self, label: str) -> Path:
        """Copy the database into the backups folder, now."""
        return self._writer.submit(lambda c: backup_to(c, self.backups, label), in_transaction=False).result()

    def backup_daily(self) -> Future[Path | None]:
        """Make today's copy in the background unless it exists."""
        return self._writer.submit(lambda c: backup_daily(c, self.backups), in_transaction=False)

    def take_over(self, backup: Path) -> Future[int]:
        """Add everything of a backup that is not here; returns how many chats came.

        Raises:
            StoreError: the backup cannot be read.
        """
        return self._writer.submit(lambda c: take_over(c, backup, self.backups), in_transaction=False)

    # -- chats --------------------------------------------------------------------------------------------

    def create_chat(self, conversation: Conversation) -> Future[None]:
        """Store a whole conversation as a new chat."""
        return self.create_chats([conversation])

    def create_chats(
        self, conversations: Sequence[Conversation], *, undo_in: ChatId = "", label: str = ""
    ) -> Future[None]:
        """Store conversations as new chats, all of them or none; the first is the newest.

        Args:
            conversations: what is stored.
            undo_in: the chat whose undo takes them away again; none unless given.
            label: what that step is called.
        """

        def work(connection: sqlite3.Connection) -> None:
            for conversation in reversed(conversations):
                insert_chat(connection, conversation)
            if undo_in:
                journal.record_making(connection, undo_in, label, [chat.id for chat in conversations])

        return self._writer.submit(work, full=True)

    # -- changes ------------------------------------------------------------------------------------------

    def apply(
        self, chat_id: ChatId, revision: int, build: Build, *, full: bool = False
    ) -> Future[tuple[int, Conversation]]:
        """Do and log an operation, on top of what is stored and nothing else.

        Args:
            chat_id: the chat.
            revision: what the caller's view rests on.
            build: makes the operation and the tree after it; gets the stored tree if that view is stale,
                else None. Runs on the writing thread while no other process can write.
            full: wait for the disk (what a user typed).

        Returns:
            The new revision, and the tree after it.
        """

        def work(connection: sqlite3.Connection) -> tuple[int, Conversation]:
            is_stale = _revision(connection, chat_id) != revision
            operation, after = build(read_conversation(connection, chat_id)[0] if is_stale else None)
            journal.record(connection, chat_id, operation)
            return _bump(connection, chat_id), after

        return self._writer.submit(work, full=full)

    def undo(self, chat_id: ChatId) -> Future[Step | None]:
        """Take back the last operation; None when there is none."""
        return self._writer.submit(_then_bump(chat_id, journal.step_back))

    def redo(self, chat_id: ChatId) -> Future[Step | None]:
        """Do again what was undone last; None when there is nothing."""
        return self._writer.submit(_then_bump(chat_id, journal.step_forward))

    def rename(self, chat_id: ChatId, title: str) -> Future[int | None]:
        """Give a chat another title; undoable inside the chat."""
        return self._set_chat(chat_id, "rename", "title", title, scope="chat")

    def delete_chat(self, chat_id: ChatId) -> Future[int | None]:
        """Hide a chat from the list; `restore_chat` brings it back."""
        return self._set_chat(chat_id, "delete chat", "deleted", time.time(), scope="list")

    def restore_chat(self, chat_id: ChatId) -> Future[int | None]:
        """Bring a deleted chat back."""
        return self._set_chat(chat_id, "restore chat", "deleted", None, scope="list")

    def _set_chat(
        self, chat_id: ChatId, label: str, column: str, value: object, *, scope: str
    ) -> Future[int | None]:
        def work(connection: sqlite3.Connection) -> int | None:
            _revision(connection, chat_id)
            row = connection.execute(f"SELECT {column} FROM chats WHERE id = ?", (chat_id,)).fetchone()  # noqa: S608 -- fixed names
            forward, inverse = journal.setting(column, value, row[0])
            journal.record(connection, chat_id, journal.Operation(label, [forward], [inverse], scope=scope))
            return _bump(connection, chat_id)

        return self._writer.submit(work)

    def purgeable(self, chat_id: ChatId | None = None) -> Future[Purgeable]:
        """What `purge` would erase."""
        return self._writer.submit(lambda c: purgeable(c, chat_id))

    def purge(self, chat_id: ChatId | None = None) -> Future[Purgeable]:
        """Erase for good what deletion hid in one chat, or in all of them with the deleted chats.

        Steps of undo that would bring it back go, too; the files of its states are the caller's to remove.
        """
        done = self._writer.submit(lambda c: purge(c, chat_id))
        # Freeing the room needs the file alone; where another process reads just then, it stays free inside.
        self._writer.submit(shrink, in_transaction=False)
        return done

    def set_quietly(self, chat_id: ChatId, column: str, value: object) -> Future[None]:
        """Set a column of a chat that is no step of undo: sampling, thinking."""
        change = {"do": "chat", "set": {column: value}}
        return self._writer.submit(lambda c: journal.apply_changes(c, chat_id, [change]))

    def set_head(self, chat_id: ChatId, head: NodeId, shown: Mapping[NodeId, NodeId]) -> Future[None]:
        """Remember what is shown; `shown` holds the changed parents only."""

        def work(connection: sqlite3.Connection) -> None:
            journal.apply_changes(connection, chat_id, [{"do": "chat", "set": {"head": head}}])
            remember_shown(connection, shown)

        return self._writer.submit(work)

    def update_text(self, node_id: NodeId, text: str, record: TokenRecord | None = None) -> Future[None]:
        """Save a reply so far."""

        def work(connection: sqlite3.Connection) -> None:
            connection.execute("UPDATE nodes SET text = ? WHERE id = ?", (text, node_id))
            if record is not None:
                put_record(connection, node_id, record)

        return self._writer.submit(work)

    def finish_node(self, node: Node) -> Future[None]:
        """The final commit of a reply: text, ids, record, how it came about."""

        def work(connection: sqlite3.Connection) -> None:
            change = {"do": "node", "id": node.id, "set": node_columns(node)}
            journal.apply_changes(connection, "", [change])
            put_tokens(connection, node.id, node.tokens)
            if node.record is not None:
                put_record(connection, node.id, node.record)
            connection.execute(
                "UPDATE chats SET updated = ? WHERE id = (SELECT chat FROM nodes WHERE id = ?)",
                (time.time(), node.id),
            )

        return self._writer.submit(work)

    def put_tokens(self, tokens: Mapping[NodeId, Mapping[str, tuple[int, ...]]]) -> Future[None]:
        """Store ids that were fed for messages."""

        def work(connection: sqlite3.Connection) -> None:
            for node_id, by_dialect in tokens.items():
                put_tokens(connection, node_id, dict(by_dialect))

        return self._writer.submit(work)

    def stop_interrupted(self, chat_id: ChatId) -> Future[int]:
        """Mark replies that a crash left streaming as stopped; returns how many."""
        return self._writer.submit(
            lambda c: (
                c.execute(
                    "UPDATE nodes SET status = ? WHERE chat = ? AND status = ?",
                    (NodeStatus.STOPPED.value, chat_id, NodeStatus.STREAMING.value),
                ).rowcount
            )
        )

    # -- snapshots ----------------------------------------------------------------------------------------

    def link_snapshot(self, node_id: NodeId, snapshot: Stored) -> Future[None]:
        """Note that a snapshot on disk belongs to a message."""

        def work(connection: sqlite3.Connection) -> None:
            connection.execute(
                "INSERT OR REPLACE INTO snapshots (key, fingerprint, chain, n_tokens, n_bytes, place, created)"
                " VALUES (?, ?, ?, ?, ?, ?, ?) ",
                (
                    snapshot.key,
                    snapshot.fingerprint,
                    snapshot.chain,
                    snapshot.n_tokens,
                    snapshot.n_bytes,
                    snapshot.place,
                    time.time(),
                ),
            )
            connection.execute(
                "INSERT OR IGNORE INTO node_snapshot (node, key) VALUES (?, ?)", (node_id, snapshot.key)
            )

        return self._writer.submit(work)

    def share_snapshots(self, copies: Mapping[NodeId, NodeId]) -> Future[None]:
        """Let copied messages (new to old) hold the snapshots and records of those they were copied from."""
        statement = (
            "INSERT OR IGNORE INTO node_snapshot (node, key) SELECT ?, key FROM node_snapshot WHERE node = ?"
        )

        def work(connection: sqlite3.Connection) -> None:
            connection.executemany(statement, list(copies.items()))
            copy_records(connection, copies)

        return self._writer.submit(work)

    def share_records(self, copies: Mapping[NodeId, NodeId]) -> Future[None]:
        """Let copied messages (new to old) that stand elsewhere hold the records alone."""
        return self._writer.submit(lambda c: copy_records(c, copies))

    # -- drafts and small things --------------------------------------------------------------------------

    def save_draft(self, chat_id: ChatId, text: str) -> Future[None]:
        """Keep what is typed; an empty text forgets it."""
        if not text:
            return self._writer.submit(
                lambda c: _nothing(c.execute("DELETE FROM drafts WHERE chat = ?", (chat_id,)))
            )
        return self._writer.submit(
            lambda c: _nothing(
                c.execute("INSERT OR REPLACE INTO drafts VALUES (?, ?, ?)", (chat_id, text, time.time()))
            )
        )

    def set_setting(self, key: str, value: Any) -> Future[None]:
        """Remember a JSON value under `key`."""
        text = dump(value)
        return self._writer.submit(
            lambda c: _nothing(c.execute("INSERT OR REPLACE INTO settings VALUES (?, ?)", (key, text)))
        )


def _refuse_damage(connection: sqlite3.Connection, path: Path, backups: Path) -> None:
    with naming_errors(path):
        connection.execute("SELECT count(*) FROM sqlite_master").fetchone()
        found = check(connection) if path.stat().st_size <= _CHECKED_BYTES else []
    if found:
        raise StoreCorrupt(
            f"The chats in {path} are damaged ({found[0]}).",
            hint=f"Put the file aside, then copy the newest file of {backups} in its place.",
        )


def _nothing(_: object) -> None:
    return None


def _revision(connection: sqlite3.Connection, chat_id: ChatId) -> int:
    row = connection.execute("SELECT revision FROM chats WHERE id = ?", (chat_id,)).fetchone()
    if row is None:
        raise no_such_chat(chat_id)
    return int(row[0])


def _bump(connection: sqlite3.Connection, chat_id: ChatId) -> int:
    connection.execute(
        "UPDATE chats SET revision = revision + 1, updated = ? WHERE id = ?", (time.time(), chat_id)
    )
    return _revision(connection, chat_id)


def _then_bump(
    chat_id: ChatId, step: Callable[[sqlite3.Connection, ChatId], Step | None]
) -> Callable[[sqlite3.Connection], Step | None]:
    def work(connection: sqlite3.Connection) -> Step | None:
        done = step(connection, chat_id)
        if done is not None:
            _bump(connection, chat_id)
        return done

    return work
