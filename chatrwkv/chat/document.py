"""A conversation as JSON values and back: every node, its ids and how it came about."""

from __future__ import annotations

import math
import re
from dataclasses import replace
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from chatrwkv.chat.record import record_from_dict, record_to_dict
from chatrwkv.chat.rows import meta_from_dict, meta_to_dict, params_from_dict, params_to_dict
from chatrwkv.chat.tree import Conversation, Node, NodeStatus, Role, new_id
from chatrwkv.errors import ChatRWKVError, StoreError

if TYPE_CHECKING:
    from collections.abc import Mapping

FORMAT = "chatrwkv chat"
VERSION = 1


def to_document(conversation: Conversation) -> dict[str, Any]:
    """Everything about a conversation, as JSON values in a fixed order."""
    return {
        "format": FORMAT,
        "version": VERSION,
        "id": conversation.id,
        "title": conversation.title,
        "template": conversation.template,
        "thinking": conversation.thinking,
        "params": params_to_dict(conversation.params) if conversation.params else None,
        "head": conversation.head,
        "shown": dict(sorted(conversation.shown.items())),
        "nodes": [_node_to_dict(node) for node in _in_order(conversation)],
    }


def _in_order(conversation: Conversation) -> list[Node]:
    return [conversation.nodes[node_id] for node_id in conversation.subtree(conversation.root)]


def _node_to_dict(node: Node) -> dict[str, Any]:
    return {
        "id": node.id,
        "parent": node.parent,
        "role": node.role.value,
        "text": node.text,
        "status": node.status.value,
        "created": node.created,
        "name": node.name,
        "meta": meta_to_dict(node.meta) if node.meta else None,
        "tokens": {name: list(ids) for name, ids in sorted(node.tokens.items())},
        **({"base": node.base} if node.base else {}),
        **({"record": record_to_dict(node.record)} if node.record else {}),
    }


def from_document(document: Mapping[str, Any], *, source: str) -> Conversation:
    """The conversation as it was written, ids and all; `with_new_ids` makes it one of this database.

    Raises:
        StoreError: it is no conversation of ours, or a newer program wrote it.
    """
    if not isinstance(document, dict) or document.get("format") != FORMAT:
        raise StoreError(
            f"{source} is no chat exported by chatrwkv.", hint="Choose a file it exported as JSON."
        )
    if not isinstance(document.get("version"), int) or document["version"] > VERSION:
        raise StoreError(f"{source} was written by a newer program.", hint="Install the newest version.")
    try:
        params = document["params"]
        made = Conversation.build(
            str(document["id"]),
            _text(document["title"]),
            [_node_from_dict(values) for values in document["nodes"]],
            head=str(document["head"]),
            shown={str(p): str(c) for p, c in document["shown"].items()},
            template=str(document["template"]),
            thinking=str(document["thinking"]),
            params=params_from_dict(params) if params else None,
        )
    except ChatRWKVError as error:
        raise StoreError(f"{source} is damaged: {error.message}", hint="Choose another file.") from error
    except (KeyError, TypeError, ValueError, AttributeError, OverflowError) as error:
        raise StoreError(f"{source} is damaged ({error!r}).", hint="Choose another file.") from error
    if len(made.nodes) != len(document["nodes"]):
        raise StoreError(f"{source} is damaged (two messages have one id).", hint="Choose another file.")
    return made


def _node_from_dict(values: Mapping[str, Any]) -> Node:
    status = NodeStatus(values["status"])
    return Node(
        id=str(values["id"]),
        parent=None if values["parent"] is None else str(values["parent"]),
        role=Role(values["role"]),
        text=_text(values["text"]),
        # Whoever wrote it is not writing it here.
        status=NodeStatus.STOPPED if status is NodeStatus.STREAMING else status,
        meta=meta_from_dict(values["meta"]) if values["meta"] else None,
        created=_time(values["created"]),
        tokens=MappingProxyType({str(k): _ids(v) for k, v in values["tokens"].items()}),
        name=_text(values["name"]),
        base=_chain(values.get("base", "")),
        record=record_from_dict(values["record"]) if values.get("record") else None,
    )


def _chain(value: object) -> str:
    if value and not (isinstance(value, str) and re.fullmatch("[0-9a-f]{64}", value)):
        raise ValueError("a state that cannot be")
    return str(value)


def _text(value: object) -> str:
    """A text as a database takes it: JSON can spell halves of characters."""
    if not isinstance(value, str):
        raise TypeError(f"{type(value).__name__} where a text belongs")
    return value.encode("utf-8", "replace").decode("utf-8")


def _time(value: Any) -> float:
    seconds = float(value)
    if not math.isfinite(seconds):
        raise ValueError("a time that is no number")
    return seconds


def _ids(values: list[Any]) -> tuple[int, ...]:
    ids = tuple(int(value) for value in values)
    if any(not 0 <= token_id < 1 << 32 for token_id in ids):
        raise ValueError("a token id out of range")
    return ids


def with_new_ids(conversation: Conversation) -> Conversation:
    """A copy that can stand beside the original in one database."""
    renamed = {node_id: new_id() for node_id in conversation.nodes}
    nodes = [
        replace(node, id=renamed[node.id], parent=renamed[node.parent] if node.parent else None)
        for node in _in_order(conversation)
    ]
    return Conversation.build(
        new_id(),
        conversation.title,
        nodes,
        head=renamed[conversation.head],
        shown={renamed[p]: renamed[c] for p, c in conversation.shown.items()},
        template=conversation.template,
        thinking=conversation.thinking,
        params=conversation.params,
    )
