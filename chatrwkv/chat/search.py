"""Search over all chats: a trigram index where SQLite has one, else and for short words a look at every text.

The index (`node_text`) holds no text and no positions, so it takes 1.5 times the text (3 times with positions,
measured); what it finds is looked at again. It knows nothing of words under three characters, which are most
words in Chinese. A Python whose SQLite lacks FTS5 cannot even write to a table with such triggers, so every
start looks whether they fit the library at hand (`mend_index`).
"""

from __future__ import annotations

import re
import sqlite3
from dataclasses import dataclass
from typing import TYPE_CHECKING

from chatrwkv.chat.database import transaction
from chatrwkv.chat.tree import Role

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from chatrwkv.chat.tree import ChatId, NodeId

_GRAM = 3
_BEFORE, _AFTER = 24, 120  # characters of a text shown around what was found
_OLDEST_WITH_TRIGRAM = (3, 34)
_TERM = re.compile(r'"([^"]+)"|([^\s"]+)')
_LIKE_SIGNS = re.compile("[%_!]")

_TRIGGERS = {
    "node_text_added": "AFTER INSERT ON nodes BEGIN"
    " INSERT INTO node_text(rowid, text) VALUES (new.seq, new.text); END",
    "node_text_gone": "AFTER DELETE ON nodes BEGIN"
    " INSERT INTO node_text(node_text, rowid, text) VALUES ('delete', old.seq, old.text); END",
    "node_text_changed": "AFTER UPDATE OF text ON nodes BEGIN"
    " INSERT INTO node_text(node_text, rowid, text) VALUES ('delete', old.seq, old.text);"
    " INSERT INTO node_text(rowid, text) VALUES (new.seq, new.text); END",
}


@dataclass(frozen=True, slots=True)
class Hit:
    """A message in which everything that was asked for occurs."""

    chat: ChatId
    title: str
    """Of the chat."""
    node: NodeId
    role: Role
    created: float
    before: str
    """What stands before the match, on one line."""
    match: str
    after: str


@dataclass(frozen=True, slots=True)
class Bookmark:
    """A message that somebody named."""

    chat: ChatId
    title: str
    """Of the chat."""
    node: NodeId
    name: str
    text: str
    """Its beginning, on one line."""


# -- the index ----------------------------------------------------------------------------------------------


def can_index(connection: sqlite3.Connection) -> bool:
    """Whether this SQLite has FTS5 with trigrams."""
    row = connection.execute("SELECT 1 FROM pragma_module_list WHERE name = 'fts5'").fetchone()
    return row is not None and sqlite3.sqlite_version_info >= _OLDEST_WITH_TRIGRAM


def build_index(connection: sqlite3.Connection) -> None:
    """Index every message there is, and from now on each that comes; inside a transaction."""
    connection.execute("DROP TABLE IF EXISTS node_text")
    connection.execute(
        "CREATE VIRTUAL TABLE node_text USING fts5("
        "text, content='nodes', content_rowid='seq', tokenize='trigram', detail=none)"
    )
    connection.execute("INSERT INTO node_text(node_text) VALUES ('rebuild')")
    for name, rest in _TRIGGERS.items():
        connection.execute(f"DROP TRIGGER IF EXISTS {name}")
        connection.execute(f"CREATE TRIGGER {name} {rest}")


def mend_index(connection: sqlite3.Connection) -> None:
    """Make triggers and library fit: an index that was not kept up is built again, one that cannot be rests."""
    if can_index(connection) == _is_kept_up(connection):
        return
    with transaction(connection):
        if can_index(connection):
            build_index(connection)
        else:
            for name in _TRIGGERS:
                connection.execute(f"DROP TRIGGER IF EXISTS {name}")


def _is_kept_up(connection: sqlite3.Connection) -> bool:
    found = {
        row[0] for row in connection.execute("SELECT name FROM sqlite_master WHERE name GLOB 'node_text*'")
    }
    return found >= {"node_text", *_TRIGGERS}


# -- asking -------------------------------------------------------------------------------------------------


def terms_of(query: str) -> list[str]:
    """The words of a query; what stands between quotes is one."""
    return [quoted or plain for quoted, plain in _TERM.findall(query) if (quoted or plain).strip()]


def matches(text: str, query: str) -> bool:
    """Whether all words of `query` occur in `text`; none does if it asks nothing."""
    patterns = _patterns(query)
    return bool(patterns) and all(pattern.search(text) for pattern in patterns)


def _patterns(query: str) -> Sequence[re.Pattern[str]]:
    return [re.compile(re.escape(term), re.IGNORECASE) for term in terms_of(query)]


def search(
    connection: sqlite3.Connection, query: str, *, limit: int, chat_id: ChatId | None = None
) -> list[Hit]:
    """Messages in which all words of `query` occur, the newest first; nothing that was deleted.

    Args:
        connection: for reading.
        query: words, or "several words" in quotes.
        limit: how many at most.
        chat_id: only in this chat.
    """
    patterns = _patterns(query)
    if not patterns:
        return []
    found = []
    for row in _candidates(connection, terms_of(query), chat_id):
        if first := _first([pattern.search(row["text"]) for pattern in patterns]):
            found.append(_hit(row, first))
            if len(found) == limit:
                break
    return found


def bookmarks(connection: sqlite3.Connection) -> list[Bookmark]:
    """Every named message that is not deleted, the newest first."""
    rows = connection.execute(
        "SELECT n.id, n.chat, n.name, substr(n.text, 1, ?) AS text, c.title"
        " FROM nodes n JOIN chats c ON c.id = n.chat"
        " WHERE n.name != '' AND n.hidden = 0 AND c.deleted IS NULL ORDER BY n.seq DESC",
        (_AFTER,),
    )
    return [Bookmark(r["chat"], r["title"], r["id"], r["name"], _one_line(r["text"]).strip()) for r in rows]


def _first(found: Sequence[re.Match[str] | None]) -> re.Match[str] | None:
    """The one that comes first, if all of them matched."""
    there = [match for match in found if match]
    return min(there, key=lambda match: match.start()) if len(there) == len(found) else None


def _candidates(
    connection: sqlite3.Connection, terms: Sequence[str], chat_id: ChatId | None
) -> Iterator[sqlite3.Row]:
    values: list[object] = []
    grams = _grams(terms) if can_index(connection) and _is_kept_up(connection) else []
    if grams:
        source, order = "node_text CROSS JOIN nodes n ON n.seq = node_text.rowid", "node_text.rowid"
        where = ["node_text MATCH ?"]
        values.append(" AND ".join(f'"{gram}"' for gram in grams))
    else:
        source, order = "nodes n", "n.seq"
        where = []
        for term in terms:
            # LIKE folds only ASCII.
            forms = dict.fromkeys((term, term.lower(), term.upper(), term.title()))
            where.append(f"({' OR '.join(['n.text LIKE ? ESCAPE ?'] * len(forms))})")
            for form in forms:
                values += [f"%{_LIKE_SIGNS.sub(lambda sign: '!' + sign[0], form)}%", "!"]
    where += ["n.hidden = 0", "c.deleted IS NULL"]
    if chat_id is not None:
        where.append("n.chat = ?")
        values.append(chat_id)
    # CROSS JOIN keeps the order of the tables: from the newest message on, so that the limit ends it.
    return connection.execute(
        "SELECT n.id, n.chat, n.role, n.created, n.text, c.title"  # noqa: S608 -- only our own words
        f" FROM {source} CROSS JOIN chats c ON c.id = n.chat"
        f" WHERE {' AND '.join(where)} ORDER BY {order} DESC",
        values,
    )


def _grams(terms: Sequence[str]) -> list[str]:
    """Every three characters in a row of the longer words, as the index has them; quotes doubled."""
    long = [term for term in terms if len(term) >= _GRAM and "\0" not in term]
    grams = (term[i : i + _GRAM] for term in long for i in range(len(term) - _GRAM + 1))
    return [gram.replace('"', '""') for gram in dict.fromkeys(grams)]


def _hit(row: sqlite3.Row, match: re.Match[str]) -> Hit:
    text = match.string
    start, end = match.span()
    begin = max(0, start - _BEFORE)
    before = ("…" if begin else "") + _one_line(text[begin:start])
    return Hit(
        chat=row["chat"],
        title=row["title"],
        node=row["id"],
        role=Role(row["role"]),
        created=row["created"],
        before=before.lstrip(),
        match=_one_line(match[0]),
        after=_one_line(text[end : end + _AFTER]),
    )


def _one_line(text: str) -> str:
    return re.sub(r"\s+", " ", text)
