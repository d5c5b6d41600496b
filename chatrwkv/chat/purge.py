"""Erase for good what deletion hid: messages that undo could bring back, and deleted chats."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import sqlite3

    from chatrwkv.chat.tree import ChatId

_DOOMED = (
    "SELECT n.id FROM nodes n JOIN chats c ON c.id = n.chat"
    " WHERE (?1 IS NULL AND (n.hidden = 1 OR c.deleted IS NOT NULL)) OR (n.hidden = 1 AND n.chat = ?1)"
)


@dataclass(frozen=True, slots=True)
class Purgeable:
    """What a purge erases."""

    n_messages: int
    n_chats: int
    text_bytes: int
    places: tuple[str, ...]
    """File names of the states that no other message holds."""
    state_bytes: int

    def __bool__(self) -> bool:
        return bool(self.n_messages or self.n_chats)

    @property
    def words(self) -> str:
        """For example `12 messages, 2 chats and 5 states`."""
        counts = {"message": self.n_messages, "chat": self.n_chats, "state": len(self.places)}
        parts = [f"{n:,} {name}{'' if n == 1 else 's'}" for name, n in counts.items() if n]
        return " and ".join([", ".join(parts[:-1]), parts[-1]]) if len(parts) > 1 else "".join(parts)


def purgeable(connection: sqlite3.Connection, chat_id: ChatId | None) -> Purgeable:
    """What a purge would erase.

    Args:
        connection: inside a transaction.
        chat_id: only what is hidden in this chat; None is that of every chat, and deleted chats.
    """
    n_messages, text_bytes = connection.execute(
        f"SELECT count(*), coalesce(sum(length(CAST(text AS BLOB))), 0) FROM nodes"  # noqa: S608 -- our own words
        f" WHERE parent IS NOT NULL AND id IN ({_DOOMED})",
        (chat_id,),
    ).fetchone()
    n_chats = connection.execute(
        "SELECT count(*) FROM chats WHERE deleted IS NOT NULL AND ?1 IS NULL", (chat_id,)
    ).fetchone()[0]
    states = connection.execute(
        f"WITH doomed AS ({_DOOMED}) SELECT place, n_bytes FROM snapshots"  # noqa: S608 -- our own words
        " WHERE key IN (SELECT key FROM node_snapshot WHERE node IN doomed)"
        " AND key NOT IN (SELECT key FROM node_snapshot WHERE node NOT IN doomed)",
        (chat_id,),
    ).fetchall()
    return Purgeable(
        n_messages, n_chats, text_bytes, tuple(row[0] for row in states), sum(row[1] for row in states)
    )


def purge(connection: sqlite3.Connection, chat_id: ChatId | None) -> Purgeable:
    """Erase it, and the steps of undo and redo that would bring it back; returns what went.

    Args:
        connection: inside a transaction.
        chat_id: as for `purgeable`.
    """
    gone = purgeable(connection, chat_id)
    doomed = {row[0] for row in connection.execute(_DOOMED, (chat_id,))}
    _forget_steps(connection, doomed)
    connection.executemany("DELETE FROM snapshots WHERE place = ?", [(place,) for place in gone.places])
    connection.executemany("DELETE FROM nodes WHERE id = ?", [(node_id,) for node_id in doomed])
    if chat_id is None:
        connection.execute("DELETE FROM chats WHERE deleted IS NOT NULL")
    return gone


def shrink(connection: sqlite3.Connection) -> None:
    """Give the room back to the disk; not inside a transaction."""
    connection.execute("VACUUM")
    connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")


def _forget_steps(connection: sqlite3.Connection, doomed: set[str]) -> None:
    """Undo goes back step by step, so it ends at the newest step that needs what is erased; redo likewise."""
    chats = connection.execute(
        "SELECT DISTINCT chat FROM nodes WHERE id IN (SELECT value FROM json_each(?))",
        (json.dumps(list(doomed)),),
    )
    for (chat_id,) in chats.fetchall():
        steps = connection.execute(
            "SELECT id, undone, forward, inverse FROM op_log WHERE chat = ? AND scope = 'chat'", (chat_id,)
        ).fetchall()
        needing = [
            (row[0], row[1]) for row in steps if not doomed.isdisjoint(_named(row[2]) | _named(row[3]))
        ]
        undo = max((step for step, undone in needing if not undone), default=-1)
        redo = min((step for step, undone in needing if undone), default=None)
        connection.execute(
            "DELETE FROM op_log WHERE chat = ? AND scope IN ('chat', 'made')"
            " AND ((undone = 0 AND id <= ?) OR (undone = 1 AND id >= ?))",
            (chat_id, undo, redo),
        )


def _named(changes: str) -> set[str]:
    """The messages that a list of changes shows, hides or rewrites."""
    found: set[str] = set()
    for change in json.loads(changes):
        found.update(change.get("ids", ()))
        if "id" in change:
            found.add(change["id"])
    return found
