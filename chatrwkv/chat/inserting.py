"""Chats and messages as they enter the database; functions here run inside a write transaction."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from chatrwkv.chat.record import put_record
from chatrwkv.chat.rows import dump, node_columns, pack_ids, params_to_dict

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Iterable, Mapping

    from chatrwkv.chat.tree import Conversation, Node, NodeId


def insert_chat(connection: sqlite3.Connection, conversation: Conversation) -> None:
    """Add a chat with all its messages."""
    now = time.time()
    connection.execute(
        "INSERT INTO chats (id, title, template, thinking, params, head, created, updated)"
        " VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
        (
            conversation.id,
            conversation.title,
            conversation.template,
            conversation.thinking,
            dump(params_to_dict(conversation.params)) if conversation.params else None,
            conversation.head,
            now,
            now,
        ),
    )
    insert_nodes(connection, conversation.id, conversation.nodes.values())
    remember_shown(connection, conversation.shown)


def insert_nodes(connection: sqlite3.Connection, chat_id: str, nodes: Iterable[Node]) -> None:
    """Add messages with their ids."""
    for node in nodes:
        columns = node_columns(node)
        connection.execute(
            "INSERT INTO nodes (id, chat, parent, role, created, base, text, status, meta, name)"
            " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
            (node.id, chat_id, node.parent, node.role.value, node.created, node.base, *columns.values()),
        )
        put_tokens(connection, node.id, node.tokens)
        if node.record is not None:
            put_record(connection, node.id, node.record)


def put_tokens(connection: sqlite3.Connection, node_id: str, tokens: Mapping[str, tuple[int, ...]]) -> None:
    """Store the ids that were fed for a message, by dialect."""
    connection.executemany(
        "INSERT OR REPLACE INTO node_tokens (node, dialect, ids) VALUES (?, ?, ?)",
        [(node_id, dialect, pack_ids(ids)) for dialect, ids in tokens.items()],
    )


def remember_shown(connection: sqlite3.Connection, shown: Mapping[NodeId, NodeId]) -> None:
    """Note which child of each of these messages was shown most recently."""
    connection.executemany(
        "UPDATE nodes SET shown = ?1 WHERE id = ?2 AND shown IS NOT ?1", [(c, p) for p, c in shown.items()]
    )
