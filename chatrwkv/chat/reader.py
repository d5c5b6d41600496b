"""Reading the chats: a connection a thread, each query one consistent view."""

from __future__ import annotations

import json
import threading
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from chatrwkv.chat.database import check, connect, naming_errors
from chatrwkv.chat.record import read_records
from chatrwkv.chat.rows import node_from_row, params_from_dict, unpack_ids
from chatrwkv.chat.search import Bookmark, Hit, bookmarks, search
from chatrwkv.chat.tree import ChatId, Conversation, NodeId
from chatrwkv.errors import StoreError

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Iterable
    from pathlib import Path

    from chatrwkv.chat.record import TokenRecord

_RECORDS = "SELECT r.node, r.tokenizer, r.text, r.row_bytes, r.rows FROM node_records r"


@dataclass(frozen=True, slots=True)
class ChatSummary:
    """What a list of chats shows."""

    id: ChatId
    title: str
    template: str
    created: float
    updated: float
    n_messages: int
    deleted: float | None = None


class Reader:
    """What can be asked of the chats, from any thread."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._own = threading.local()
        self._all: list[sqlite3.Connection] = []
        self._lock = threading.Lock()

    def close(self) -> None:
        """Close the connections of all threads."""
        with self._lock:
            for connection in self._all:
                connection.close()
            self._all.clear()

    def chats(self, *, deleted: bool = False) -> list[ChatSummary]:
        """All chats, the one used last first; or those that are deleted."""
        rows = self._query(
            "SELECT c.id, c.title, c.template, c.created, c.updated, c.deleted, count(n.seq) - 1 AS n"
            " FROM chats c LEFT JOIN nodes n ON n.chat = c.id AND n.hidden = 0"
            " WHERE (c.deleted IS NOT NULL) = ? GROUP BY c.id ORDER BY c.updated DESC, c.id",
            (deleted,),
        )
        return [
            ChatSummary(
                id=row["id"],
                title=row["title"],
                template=row["template"],
                created=row["created"],
                updated=row["updated"],
                n_messages=max(0, row["n"]),
                deleted=row["deleted"],
            )
            for row in rows
        ]

    def load(self, chat_id: ChatId, *, with_records: bool = False) -> tuple[Conversation, int]:
        """A conversation and its revision.

        Args:
            chat_id: which.
            with_records: with what was likely at each token, which is ten times the text.

        Raises:
            StoreError: there is no such chat, or it is damaged.
        """
        with naming_errors(self.path):
            connection = self._connection()
            connection.execute("BEGIN")  # one view over all queries
            try:
                return read_conversation(connection, chat_id, with_records=with_records)
            finally:
                connection.execute("COMMIT")

    def record(self, node_id: NodeId) -> TokenRecord | None:
        """What was likely at each token of a message; None if nothing was kept."""
        rows = self._query(f"{_RECORDS} WHERE r.node = ?", (node_id,))
        return read_records(rows).get(node_id)

    def revision(self, chat_id: ChatId) -> int:
        """How often the chat was changed, by any process; -1 when it is gone."""
        rows = self._query("SELECT revision FROM chats WHERE id = ?", (chat_id,))
        return int(rows[0][0]) if rows else -1

    def search(self, query: str, *, limit: int = 200, chat_id: ChatId | None = None) -> list[Hit]:
        """Messages in which all words of `query` occur, the newest first; deleted ones are left out.

        Args:
            query: words in any case, or "several words" in quotes.
            limit: how many at most.
            chat_id: only in this chat.
        """
        with naming_errors(self.path):
            return search(self._connection(), query, limit=limit, chat_id=chat_id)

    def bookmarks(self) -> list[Bookmark]:
        """Every named message, the newest first; deleted ones are left out."""
        with naming_errors(self.path):
            return bookmarks(self._connection())

    def linked_places(self) -> set[str]:
        """File names of snapshots that some message holds."""
        return {
            row[0]
            for row in self._query("SELECT place FROM snapshots WHERE key IN (SELECT key FROM node_snapshot)")
        }

    def snapshot_keys(self, node_ids: Iterable[NodeId]) -> set[str]:
        """Under which keys the vault keeps the minds after these messages."""
        statement = "SELECT key FROM node_snapshot WHERE node IN (SELECT value FROM json_each(?))"
        return {row[0] for row in self._query(statement, (json.dumps(list(node_ids)),))}

    def draft(self, chat_id: ChatId) -> str:
        """What was typed and not sent."""
        rows = self._query("SELECT text FROM drafts WHERE chat = ?", (chat_id,))
        return str(rows[0][0]) if rows else ""

    def setting(self, key: str, default: Any = None) -> Any:
        """A remembered value (JSON), such as the prompt history."""
        rows = self._query("SELECT value FROM settings WHERE key = ?", (key,))
        return json.loads(rows[0][0]) if rows else default

    def integrity(self) -> list[str]:
        """What a thorough check finds wrong; empty is good."""
        with naming_errors(self.path):
            return check(self._connection(), thorough=True)

    def _query(self, statement: str, values: Iterable[object] = ()) -> list[sqlite3.Row]:
        with naming_errors(self.path):
            return self._connection().execute(statement, tuple(values)).fetchall()

    def _connection(self) -> sqlite3.Connection:
        connection: sqlite3.Connection | None = getattr(self._own, "connection", None)
        if connection is None:
            connection = connect(self.path, read_only=True)
            self._own.connection = connection
            with self._lock:
                self._all.append(connection)
        return connection


def read_conversation(
    connection: sqlite3.Connection, chat_id: ChatId, *, with_records: bool = False
) -> tuple[Conversation, int]:
    """A conversation and its revision, inside a transaction.

    Raises:
        StoreError: there is no such chat, or it is damaged.
    """
    chat = connection.execute("SELECT * FROM chats WHERE id = ?", (chat_id,)).fetchone()
    if chat is None:
        raise no_such_chat(chat_id)
    rows = connection.execute(
        "SELECT * FROM nodes WHERE chat = ? AND hidden = 0 ORDER BY seq", (chat_id,)
    ).fetchall()
    tokens: dict[NodeId, dict[str, tuple[int, ...]]] = {}
    for node_id, dialect, blob in connection.execute(
        "SELECT t.node, t.dialect, t.ids FROM nodes n JOIN node_tokens t ON t.node = n.id"
        " WHERE n.chat = ? AND n.hidden = 0",
        (chat_id,),
    ):
        tokens.setdefault(node_id, {})[dialect] = unpack_ids(blob)
    nodes = [node_from_row(row, tokens.get(row["id"], {})) for row in rows]
    if with_records:
        found = connection.execute(f"{_RECORDS} JOIN nodes n ON n.id = r.node WHERE n.chat = ?", (chat_id,))
        records = read_records(found)
        nodes = [replace(node, record=records.get(node.id)) for node in nodes]
    conversation = Conversation.build(
        chat_id,
        chat["title"],
        nodes,
        head=chat["head"],
        shown={row["id"]: row["shown"] for row in rows if row["shown"]},
        template=chat["template"],
        thinking=chat["thinking"],
        params=params_from_dict(json.loads(chat["params"])) if chat["params"] else None,
    )
    return conversation, chat["revision"]


def no_such_chat(chat_id: ChatId) -> StoreError:
    """What is said when a chat does not exist."""
    return StoreError(f"There is no chat {chat_id}.", hint="Choose one from the list of chats.")
