"""Chats of other programs as trees of ours: ChatGPT, SillyTavern, and plain `User:` / `Assistant:` text.

Only text comes along: other programs' replies have no token ids and no states, so they are read when they are needed.
Whatever cannot be understood is an error, never a guess; what is understood but has no text is stepped over, and what
hung below it moves up.
"""

from __future__ import annotations

import datetime as dt
import math
import re
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from chatrwkv.chat.tree import Conversation, Node, NodeId, Role, new_node
from chatrwkv.errors import StoreError

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

# Times outside of these are nobody's: 1970 and 2200.
_EARLIEST, _LATEST = 0.0, 7_258_118_400.0
_TITLE_CHARS = 200
_HINT = "Choose a JSON, JSONL or text file with a conversation."


class Grower:
    """A conversation that grows node by node, parents first."""

    def __init__(self, title: str) -> None:
        self._title = " ".join(storable(title).split())[:_TITLE_CHARS]
        self._nodes: dict[NodeId, Node] = {}
        self.root = self._add(new_node(None, Role.SYSTEM, ""))

    def _add(self, node: Node) -> NodeId:
        self._nodes[node.id] = node
        return node.id

    @property
    def n_messages(self) -> int:
        """How many were added below the root."""
        return len(self._nodes) - 1

    def set_system(self, text: str) -> None:
        """Give the root its text."""
        self._nodes[self.root] = replace(self._nodes[self.root], text=storable(text))

    def add(self, parent: NodeId, role: Role, text: str, created: object = None) -> NodeId:
        """Add a message and return its id."""
        text = storable(text)
        if role is Role.ASSISTANT and text and not text[0].isspace():
            text = f" {text}"  # as a model writes it after "Assistant:"; shown without
        node = new_node(parent, role, text)
        return self._add(replace(node, created=time_of(created, node.created)))

    def done(self, head: NodeId | None = None) -> Conversation:
        """The conversation."""
        made = Conversation.start(self._title)
        shown = None if head == self.root else head
        return Conversation.build(made.id, self._title, self._nodes.values(), head=shown)


def storable(text: str) -> str:
    """`text` without the halves of characters that JSON can spell and no database takes."""
    return text.encode("utf-8", "replace").decode("utf-8")


def time_of(value: object, default: float) -> float:
    """Seconds since 1970 out of a number of seconds or milliseconds, or an ISO date; else `default`."""
    if isinstance(value, str):
        try:
            value = dt.datetime.fromisoformat(value).timestamp()
        except (ValueError, OverflowError, OSError):
            return default
    if not isinstance(value, int | float) or isinstance(value, bool):
        return default
    try:
        seconds = float(value)
    except OverflowError:
        return default
    seconds = seconds / 1000 if seconds > _LATEST else seconds
    return seconds if math.isfinite(seconds) and _EARLIEST <= seconds <= _LATEST else default


def _refused(source: str, why: str) -> StoreError:
    return StoreError(f"{source} cannot be imported: {why}.", hint=_HINT)


# -- ChatGPT ------------------------------------------------------------------------------------------------


def is_chatgpt(document: object) -> bool:
    """Whether it is a `conversations.json`, or one conversation of it."""
    rows = document if isinstance(document, list) else [document]
    return any(map(_is_conversation, rows))


def _is_conversation(row: object) -> bool:
    return isinstance(row, dict) and isinstance(row.get("mapping"), dict)


def from_chatgpt(document: Any, *, source: str) -> list[Conversation]:
    """Every conversation that has a message; edits and regenerated replies become siblings.

    An entry that is no conversation is passed over: one of them must not keep a thousand others out.

    Raises:
        StoreError: it is none, or holds no message at all.
    """
    rows = document if isinstance(document, list) else [document]
    made = [grown for row in rows if _is_conversation(row) and (grown := _one_chatgpt(row)) is not None]
    if not made:
        raise _refused(source, "there is no message in it")
    return made


def _one_chatgpt(row: Mapping[str, Any]) -> Conversation | None:
    mapping: dict[str, Any] = {str(key): value for key, value in row["mapping"].items()}
    title = row.get("title")
    grower = Grower(title if isinstance(title, str) else "")
    children, roots = _family(mapping)
    place: dict[str, NodeId] = {}
    todo = [(root, grower.root) for root in reversed(roots)]
    while todo:
        key, parent = todo.pop()
        role, text = _said(mapping[key])
        message = mapping[key].get("message") if isinstance(mapping[key], dict) else None
        created = message.get("create_time") if isinstance(message, dict) else None
        if role is Role.SYSTEM and text and parent == grower.root and not grower.n_messages:
            grower.set_system(text)
        elif role is not None and text:
            parent = grower.add(parent, role, text, created)
        place[key] = parent
        todo.extend((child, parent) for child in reversed(children.get(key, ())))
    current = row.get("current_node")
    return (
        grower.done(place.get(current) if isinstance(current, str) else None) if grower.n_messages else None
    )


def _family(mapping: Mapping[str, Any]) -> tuple[dict[str, list[str]], list[str]]:
    """Children by parent in the order the file gives, and the roots. What only reaches itself is in neither."""
    parents = {key: node.get("parent") if isinstance(node, dict) else None for key, node in mapping.items()}
    order: dict[str, list[str]] = {}
    for key, node in mapping.items():
        listed = node.get("children") if isinstance(node, dict) else None
        for child in listed if isinstance(listed, list) else ():
            if (
                isinstance(child, str)
                and parents.get(child) == key
                and child not in order.setdefault(key, [])
            ):
                order[key].append(child)
    roots = []
    for key, parent in parents.items():
        if not isinstance(parent, str) or parent not in mapping:
            roots.append(key)
        elif key not in order.setdefault(parent, []):
            order[parent].append(key)
    return order, roots


def _said(node: object) -> tuple[Role | None, str]:
    """Who says what; no role for what is no message of the conversation (tools, pictures, hidden notes)."""
    message = node.get("message") if isinstance(node, dict) else None
    if not isinstance(message, dict):
        return None, ""
    author, content = message.get("author"), message.get("content")
    name = author.get("role") if isinstance(author, dict) else None
    role = {"user": Role.USER, "assistant": Role.ASSISTANT, "system": Role.SYSTEM}.get(str(name))
    if not isinstance(content, dict) or content.get("content_type") not in ("text", "multimodal_text"):
        return None, ""
    parts = content.get("parts")
    found = [part for part in parts if isinstance(part, str)] if isinstance(parts, list) else []
    text = "\n".join(found)
    return role, text if text.strip() else ""


# -- SillyTavern --------------------------------------------------------------------------------------------


def is_sillytavern(rows: Sequence[object]) -> bool:
    """Whether the lines of a JSONL file are a chat of SillyTavern."""
    return any(isinstance(row, dict) and isinstance(row.get("mes"), str) for row in rows[:2])


def from_sillytavern(rows: Sequence[object], *, source: str) -> Conversation:
    """The chat; swipes become siblings, and it goes on below the one that was chosen.

    Raises:
        StoreError: a line is no message.
    """
    header = rows[0] if isinstance(rows[0], dict) and "mes" not in rows[0] else {}
    name = header.get("character_name")
    grower = Grower(name if isinstance(name, str) else "")
    at = grower.root
    for number, row in enumerate(rows, 1):
        if row is header:
            continue
        if not isinstance(row, dict) or not isinstance(row.get("mes"), str):
            raise _refused(source, f"line {number} is no message")
        at = _swiped(grower, at, row)
    if not grower.n_messages:
        raise _refused(source, "there is no message in it")
    return grower.done(at)


def _swiped(grower: Grower, parent: NodeId, row: Mapping[str, Any]) -> NodeId:
    extra = row.get("extra")
    is_narrator = isinstance(extra, dict) and extra.get("type") == "narrator"
    role = Role.USER if row.get("is_user") is True else Role.SYSTEM if is_narrator else Role.ASSISTANT
    swipes = row.get("swipes")
    texts = [text for text in swipes if isinstance(text, str)] if isinstance(swipes, list) else []
    chosen = row.get("swipe_id")
    # The text of the message counts: it may have been edited since the swipe was made.
    if isinstance(chosen, int) and 0 <= chosen < len(texts):
        texts[chosen] = row["mes"]
    else:
        texts, chosen = [*texts, row["mes"]], len(texts)
    ids = [grower.add(parent, role, text, row.get("send_date")) for text in texts]
    return ids[chosen]


# -- text ---------------------------------------------------------------------------------------------------

_SPEAKERS = {
    "system": Role.SYSTEM, "user": Role.USER, "human": Role.USER, "you": Role.USER, "question": Role.USER,
    "assistant": Role.ASSISTANT, "bot": Role.ASSISTANT, "ai": Role.ASSISTANT, "answer": Role.ASSISTANT,
    "text": Role.RAW, "用户": Role.USER, "助手": Role.ASSISTANT,
}  # fmt: skip
_TURN = re.compile(rf"^({'|'.join(_SPEAKERS)})[::][ \t]?", re.IGNORECASE | re.MULTILINE)


def has_turns(text: str) -> bool:
    """Whether a line begins with `User:` or another speaker."""
    return _TURN.search(text) is not None


def from_text(text: str, *, title: str, source: str) -> Conversation:
    """The chat; what stands before the first speaker, and a first `System:`, is the system text.

    Raises:
        StoreError: no line begins with a speaker.
    """
    turns = list(_TURN.finditer(text))
    if not turns:
        raise _refused(source, "no line begins with User: or Assistant:")
    grower, at = Grower(title), ""
    at = grower.root
    system = [text[: turns[0].start()].strip()]
    for turn, said in zip(turns, _between(text, turns), strict=True):
        role = _SPEAKERS[turn[1].casefold()]
        if role is Role.SYSTEM and not grower.n_messages:
            system.append(said)
        elif said:
            at = grower.add(at, role, said)
    grower.set_system("\n\n".join(filter(None, system)))
    if not grower.n_messages:
        raise _refused(source, "there is no message in it")
    return grower.done(at)


def _between(text: str, turns: Sequence[re.Match[str]]) -> Iterable[str]:
    ends = [*(turn.start() for turn in turns[1:]), len(text)]
    return [text[turn.end() : end].strip() for turn, end in zip(turns, ends, strict=True)]
