"""Examples for state tuning: from a file, or from the replies that were kept in a chat.

    {"text": "..."}                                   learnt as it stands
    {"turns": [["user", "..."], ["assistant", "..."]]}  written in the template; the replies are learnt

A turn may also be `{"role": ..., "content": ...}`, and the list may be called `messages`.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from chatrwkv.chat.plan import plan_path
from chatrwkv.chat.tree import Conversation, NodeStatus, Role, new_node
from chatrwkv.engine import Lesson
from chatrwkv.errors import BadValue

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Generator, Sequence
    from pathlib import Path

    from chatrwkv.chat.template import PromptTemplate
    from chatrwkv.chat.tree import Node
    from chatrwkv.engine import LoadedModel, Tuned, TuneRecipe

    Tuning = Callable[
        [LoadedModel, Callable[[], bool], Callable[[int, int, str], None]], Generator[None, None, Tuned]
    ]

_SHAPE = 'It must be {"text": ...} or {"turns": [["user", ...], ["assistant", ...]]}.'
_MOST_BYTES = 8 << 20  # a state holds a few dozen examples' worth of style


def read_lessons(path: Path, template: PromptTemplate) -> list[Lesson]:
    """The examples of a .jsonl file.

    Raises:
        BadValue: it cannot be read, is too large, or a line is not what it should be.
    """
    try:
        if path.stat().st_size > _MOST_BYTES:
            raise BadValue(f"{path.name} is larger than 8 MB.", hint="A state learns from a few examples.")
        lines = path.read_text("utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not UTF-8"
        raise BadValue(f"{path} cannot be read: {reason}.", hint="Give a .jsonl file.") from error
    lessons = []
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        try:
            lessons.append(_lesson(json.loads(line), template))
        except (ValueError, RecursionError) as error:
            raise BadValue(f"Line {number} of {path.name} cannot be used: {error}.", hint=_SHAPE) from error
    return lessons


def _lesson(row: Any, template: PromptTemplate) -> Lesson:
    if not isinstance(row, dict):
        raise ValueError("it is no JSON object")  # noqa: TRY004 -- told by line in `read_lessons`
    if isinstance(text := row.get("text"), str) and text.strip():
        return Lesson(((text, True),), template.start_ids)
    turns = row.get("turns", row.get("messages"))
    if not isinstance(turns, list):
        raise ValueError('it has neither "text" nor "turns"')  # noqa: TRY004 -- as above
    chat = Conversation.start()
    for turn in turns:
        role, text = _turn(turn)
        if role is Role.SYSTEM and len(chat.nodes) == 1:
            chat = Conversation.start(system=text)
            continue
        node = new_node(chat.head, role, _reply(text, template) if role is Role.ASSISTANT else text)
        chat = chat.with_node(node).with_head(node.id)
    replies = {node.id for node in chat.nodes.values() if node.role is Role.ASSISTANT}
    if not replies:
        raise ValueError("no turn is the assistant's")
    return _rendered(chat.path(), template, replies)


def _turn(turn: Any) -> tuple[Role, str]:
    if isinstance(turn, dict):
        turn = [turn.get("role"), turn.get("content")]
    if not isinstance(turn, list) or len(turn) != 2 or not all(isinstance(part, str) for part in turn):
        raise ValueError(f"a turn is {json.dumps(turn)[:60]}")
    if turn[0] not in (Role.SYSTEM, Role.USER, Role.ASSISTANT):
        raise ValueError(f"a role is {turn[0]!r}")
    return Role(turn[0]), turn[1]


def _reply(text: str, template: PromptTemplate) -> str:
    """As a model writes it: with the space behind the role."""
    if template.is_raw:
        return text
    return text.strip() if template.reply_prefix().endswith(("\n", " ")) else f" {text.strip()}"


def lessons_of(conversation: Conversation, template: PromptTemplate) -> list[Lesson]:
    """The kept branches of a chat, each whole reply learnt once.

    Raises:
        BadValue: there is no whole reply.
    """
    nodes = conversation.nodes
    replies = {n.id for n in nodes.values() if n.role is Role.ASSISTANT and n.status is NodeStatus.COMPLETE}
    ends = [i for i in conversation.subtree(conversation.root) if not conversation.children.get(i)]
    if not template.multi_turn:  # only the last question and its reply are rendered
        ends = [i for i in conversation.subtree(conversation.root) if i in replies]
    lessons = []
    for end in ends:
        path = conversation.path(end)
        fresh = [node.id for node in path if node.id in replies]
        if not template.multi_turn:
            fresh = fresh[-1:]
        if fresh:
            lessons.append(_rendered(path, template, fresh))
            replies.difference_update(fresh)
    if not lessons:
        raise BadValue(
            "This chat has no whole reply to learn from.",
            hint="Chat first, or name a .jsonl file of examples.",
        )
    return lessons


def _rendered(path: Sequence[Node], template: PromptTemplate, learnt: Collection[str]) -> Lesson:
    """A path as the model reads it, each reply in `learnt` with what ends it."""
    end = _end(template)
    pieces: list[tuple[str, bool]] = []
    segments = plan_path(path, template, for_reply=False).segments
    is_ending = False  # the segment before is a reply that is learnt
    for segment in segments:
        text = segment.text
        if is_ending and end and text.startswith(end):
            pieces.append((end, True))
            text = text.removeprefix(end)
        is_ending = segment.node_id in learnt
        pieces += [(segment.prefix, False), (text, is_ending)]
    if is_ending:
        pieces.append((end, True))
    return Lesson(tuple((text, counts) for text, counts in pieces if text), template.start_ids)


def _end(template: PromptTemplate) -> str:
    """What a reply ends with, so that it stops: the separator, or the first stop string that begins with it."""
    if template.between in template.stops:
        return template.between
    return next((stop for stop in template.stops if stop.startswith(template.between)), template.between)


def tuning(
    lessons: Sequence[Lesson], path: Path, recipe: TuneRecipe | None = None, held_out: Sequence[Lesson] = ()
) -> Tuning:
    """A task for the engine thread: see `chatrwkv.engine.tune`."""

    def task(
        loaded: LoadedModel, cancelled: Callable[[], bool], progress: Callable[[int, int, str], None]
    ) -> Generator[None, None, Tuned]:
        from chatrwkv.engine import tune  # torch is loaded by now, and not before

        return tune(loaded, cancelled, progress, lessons=lessons, path=path, recipe=recipe, held_out=held_out)

    return task
