"""Changes of a chat as data, each with its inverse, so that undo and redo outlive the program.

A change is one of
    {"do": "show", "ids": [...]}             messages appear (they are never erased, only hidden)
    {"do": "hide", "ids": [...]}
    {"do": "node", "id": ..., "set": {...}}  columns of a message
    {"do": "chat", "set": {...}}             columns of the chat
An operation is what the user did: a list of changes and the list that takes them back. Functions here run
inside a write transaction.
"""

from __future__ import annotations

import json
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from chatrwkv.chat.inserting import insert_nodes
from chatrwkv.chat.rows import dump, node_columns
from chatrwkv.errors import StoreCorrupt

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Iterable, Mapping, Sequence

    from chatrwkv.chat.tree import Node

Change = dict[str, Any]

# Column names are put into SQL text, so only these may come out of the log.
_NODE_COLUMNS = frozenset({"text", "status", "meta", "name"})
_CHAT_COLUMNS = frozenset({"title", "template", "thinking", "params", "head", "deleted"})
# Steps kept per chat; the goal is 100, and a row is small.
KEPT_STEPS = 200


@dataclass(frozen=True, slots=True)
class Operation:
    """What the user did, and how to take it back."""

    label: str
    forward: Sequence[Change]
    inverse: Sequence[Change]
    adds: Sequence[Node] = ()
    """Messages made by it, parents first."""
    scope: str = "chat"


def setting(column: str, new: object, old: object) -> tuple[Change, Change]:
    """A change of one column of the chat and its inverse."""
    return {"do": "chat", "set": {column: new}}, {"do": "chat", "set": {column: old}}


def rewriting(new: Node, old: Node) -> tuple[Change, Change]:
    """A change of a message in place and its inverse."""
    before, after = node_columns(old), node_columns(new)
    changed = [key for key in after if after[key] != before[key]]
    return (
        {"do": "node", "id": new.id, "set": {key: after[key] for key in changed}},
        {"do": "node", "id": new.id, "set": {key: before[key] for key in changed}},
    )


def record(connection: sqlite3.Connection, chat_id: str, operation: Operation) -> None:
    """Do `operation` and log it; what was undone before can no longer be redone."""
    insert_nodes(connection, chat_id, operation.adds)
    apply_changes(connection, chat_id, operation.forward)
    scope = operation.scope
    connection.execute("DELETE FROM op_log WHERE chat = ? AND scope = ? AND undone = 1", (chat_id, scope))
    connection.execute(
        "INSERT INTO op_log (chat, scope, label, forward, inverse, created) VALUES (?, ?, ?, ?, ?, ?)",
        (
            chat_id,
            scope,
            operation.label,
            dump(list(operation.forward)),
            dump(list(operation.inverse)),
            time.time(),
        ),
    )
    connection.execute(
        "DELETE FROM op_log WHERE chat = ?1 AND scope = ?2 AND id NOT IN"
        " (SELECT id FROM op_log WHERE chat = ?1 AND scope = ?2 ORDER BY id DESC LIMIT ?3)",
        (chat_id, scope, KEPT_STEPS),
    )


def step_back(connection: sqlite3.Connection, chat_id: str) -> str | None:
    """Undo the last operation inside the chat; returns its label, or None when there is none left."""
    row = connection.execute(
        "SELECT id, label, inverse FROM op_log WHERE chat = ? AND scope = 'chat' AND undone = 0"
        " ORDER BY id DESC LIMIT 1",
        (chat_id,),
    ).fetchone()
    return _take(connection, chat_id, row, undone=1)


def step_forward(connection: sqlite3.Connection, chat_id: str) -> str | None:
    """Redo the operation undone last; returns its label, or None."""
    row = connection.execute(
        "SELECT id, label, forward FROM op_log WHERE chat = ? AND scope = 'chat' AND undone = 1"
        " ORDER BY id LIMIT 1",
        (chat_id,),
    ).fetchone()
    return _take(connection, chat_id, row, undone=0)


def _take(
    connection: sqlite3.Connection, chat_id: str, row: sqlite3.Row | None, *, undone: int
) -> str | None:
    if row is None:
        return None
    apply_changes(connection, chat_id, json.loads(row[2]))
    connection.execute("UPDATE op_log SET undone = ? WHERE id = ?", (undone, row["id"]))
    return str(row["label"])


def apply_changes(connection: sqlite3.Connection, chat_id: str, changes: Iterable[Change]) -> None:
    """Carry out changes in order."""
    for change in changes:
        kind = change["do"]
        if kind in ("show", "hide"):
            connection.executemany(
                "UPDATE nodes SET hidden = ? WHERE id = ? AND chat = ?",
                [(int(kind == "hide"), node_id, chat_id) for node_id in change["ids"]],
            )
        elif kind == "node":
            _set(connection, "nodes", change["set"], _NODE_COLUMNS, change["id"])
        elif kind == "chat":
            _set(connection, "chats", change["set"], _CHAT_COLUMNS, chat_id)
        else:
            raise StoreCorrupt(f"The log of changes holds {kind!r}, which no version wrote.")


def _set(
    connection: sqlite3.Connection,
    table: str,
    values: Mapping[str, object],
    allowed: frozenset[str],
    row_id: str,
) -> None:
    unknown = set(values) - allowed
    if unknown:
        raise StoreCorrupt(f"The log of changes sets {sorted(unknown)} of {table}, which no version wrote.")
    if values:
        assignments = ", ".join(f"{column} = ?" for column in values)
        statement = f"UPDATE {table} SET {assignments} WHERE id = ?"  # noqa: S608 -- both are from fixed sets
        connection.execute(statement, (*values.values(), row_id))
