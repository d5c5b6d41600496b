"""Changes of a chat as data, each with its inverse, so that undo and redo outlive the program.

A change is one of
    {"do": "show", "ids": [...]}             messages appear (they are never erased, only hidden)
    {"do": "hide", "ids": [...]}
    {"do": "node", "id": ..., "set": {...}}  columns of a message
    {"do": "chat", "set": {...}}             columns of the chat
    {"do": "restore", "ids": [...]}          other chats appear in the list
    {"do": "delete", "ids": [...]}
An operation is what the user did: a list of changes and the list that takes them back. What made other chats
(a fork, an import) stands in the log of the chat that was open, under a scope of its own: it changes nothing
of that chat's tree, and is passed over once something was done in a chat that it made. Functions here run
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
# What the keys of undo and redo reach in a chat; 'list' is the chat's own place in the list.
_UNDONE_BY_KEY = ("chat", "made")
_OF_CHAT = "chat = ? AND scope IN ('chat', 'made')"
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


@dataclass(frozen=True, slots=True)
class Step:
    """What undo or redo has done."""

    label: str
    chat_id: str
    """In whose log it stands."""
    chats: tuple[str, ...] = ()
    """The chats that it made: undo took them from the list, redo brought them back."""


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
    scopes = _UNDONE_BY_KEY if operation.scope == "chat" else (operation.scope,)
    connection.executemany(
        "DELETE FROM op_log WHERE chat = ? AND scope = ? AND undone = 1",
        [(chat_id, scope) for scope in scopes],
    )
    _log(connection, chat_id, operation)


def record_making(connection: sqlite3.Connection, chat_id: str, label: str, made: Sequence[str]) -> None:
    """Log in a chat that others were made while it was open; what was undone there can still be done again."""
    ids = list(made)
    forward, inverse = [{"do": "restore", "ids": ids}], [{"do": "delete", "ids": ids}]
    _make_newest(
        connection, chat_id, _log(connection, chat_id, Operation(label, forward, inverse, scope="made"))
    )


def _log(connection: sqlite3.Connection, chat_id: str, operation: Operation) -> int:
    scope = operation.scope
    number = connection.execute(
        "INSERT INTO op_log (chat, scope, label, forward, inverse, created) VALUES (?, ?, ?, ?, ?, ?)",
        (
            chat_id,
            scope,
            operation.label,
            dump(list(operation.forward)),
            dump(list(operation.inverse)),
            time.time(),
        ),
    ).lastrowid
    connection.execute(
        "DELETE FROM op_log WHERE chat = ?1 AND scope = ?2 AND id NOT IN"
        " (SELECT id FROM op_log WHERE chat = ?1 AND scope = ?2 ORDER BY id DESC LIMIT ?3)",
        (chat_id, scope, KEPT_STEPS),
    )
    assert number is not None, "an INSERT gives a number"
    return number


def _make_newest(connection: sqlite3.Connection, chat_id: str, number: int) -> None:
    """Give a step the place behind all that are done and before all that are undone."""
    undone = connection.execute(
        f"SELECT id FROM op_log WHERE {_OF_CHAT} AND undone = 1 AND id != ? ORDER BY id",  # noqa: S608 -- our own words
        (chat_id, number),
    ).fetchall()
    for row_id in (number, *(row[0] for row in undone)):
        connection.execute("UPDATE op_log SET id = (SELECT max(id) + 1 FROM op_log) WHERE id = ?", (row_id,))


def step_back(connection: sqlite3.Connection, chat_id: str) -> Step | None:
    """Undo the last operation of the chat, in the end that which made it; None when there is none left."""
    row = _next(connection, chat_id, "undone = 0 ORDER BY id DESC")
    if row is None and (row := _making_of(connection, chat_id)) is not None:
        _make_newest(connection, row["chat"], row["id"])
        return step_back(connection, row["chat"])
    return _take(connection, row, undone=1)


def step_forward(connection: sqlite3.Connection, chat_id: str) -> Step | None:
    """Redo the operation undone last; None when there is none."""
    return _take(connection, _next(connection, chat_id, "undone = 1 ORDER BY id"), undone=0)


def _next(connection: sqlite3.Connection, chat_id: str, which: str) -> sqlite3.Row | None:
    rows = connection.execute(f"SELECT * FROM op_log WHERE {_OF_CHAT} AND {which}", (chat_id,))  # noqa: S608 -- our own words
    return next((row for row in rows if _stands(connection, row)), None)


def _making_of(connection: sqlite3.Connection, chat_id: str) -> sqlite3.Row | None:
    rows = connection.execute(
        "SELECT * FROM op_log WHERE scope = 'made' AND undone = 0 AND instr(forward, ?)", (chat_id,)
    )
    return next((row for row in rows if _stands(connection, row)), None)


def _made(row: sqlite3.Row) -> tuple[str, ...]:
    return tuple(json.loads(row["forward"])[0]["ids"]) if row["scope"] == "made" else ()


def _stands(connection: sqlite3.Connection, row: sqlite3.Row) -> bool:
    """Whether a step can be taken: what it made was neither written in, nor deleted or brought back by hand."""
    made = _made(row)
    found = connection.execute(
        "SELECT count(*) FROM chats c WHERE id IN (SELECT value FROM json_each(?1)) AND (deleted IS NOT NULL) = ?2"
        " AND NOT EXISTS (SELECT 1 FROM op_log WHERE chat = c.id AND scope = 'chat' AND undone = 0)",
        (dump(made), row["undone"]),
    ).fetchone()
    return int(found[0]) == len(made)


def _take(connection: sqlite3.Connection, row: sqlite3.Row | None, *, undone: int) -> Step | None:
    if row is None:
        return None
    apply_changes(connection, row["chat"], json.loads(row["inverse" if undone else "forward"]))
    connection.execute("UPDATE op_log SET undone = ? WHERE id = ?", (undone, row["id"]))
    return Step(row["label"], row["chat"], _made(row))


def apply_changes(connection: sqlite3.Connection, chat_id: str, changes: Iterable[Change]) -> None:
    """Carry out changes in order."""
    for change in changes:
        kind = change["do"]
        if kind in ("show", "hide"):
            connection.executemany(
                "UPDATE nodes SET hidden = ? WHERE id = ? AND chat = ?",
                [(int(kind == "hide"), node_id, chat_id) for node_id in change["ids"]],
            )
        elif kind in ("restore", "delete"):
            gone = time.time() if kind == "delete" else None
            connection.executemany(
                "UPDATE chats SET deleted = ? WHERE id = ?", [(gone, other) for other in change["ids"]]
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
