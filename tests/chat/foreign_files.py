"""Files as other programs write them, made from a tree of ours: what an import must understand."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from chatrwkv.chat.tree import Role

if TYPE_CHECKING:
    from chatrwkv.chat.tree import Conversation, NodeId


def chatgpt(conversation: Conversation) -> dict[str, Any]:
    """One entry of `conversations.json`."""
    mapping: dict[str, Any] = {
        "client-created-root": {
            "id": "client-created-root",
            "message": None,
            "parent": None,
            "children": [conversation.root],
        }
    }
    for node_id in conversation.subtree(conversation.root):
        node = conversation.nodes[node_id]
        mapping[node_id] = {
            "id": node_id,
            "message": {
                "id": node_id,
                "author": {"role": node.role.value, "name": None, "metadata": {}},
                "create_time": node.created,
                "content": {"content_type": "text", "parts": [node.text.removeprefix(" ")]},
                "status": "finished_successfully",
            },
            "parent": node.parent or "client-created-root",
            "children": list(conversation.children.get(node_id, ())),
        }
    return {
        "title": conversation.title,
        "create_time": 1.0,
        "mapping": mapping,
        "current_node": conversation.head,
    }


def sillytavern(conversation: Conversation) -> str:
    """A chat file: the path, with the siblings of each message as its swipes."""
    rows: list[dict[str, Any]] = [
        {"user_name": "You", "character_name": conversation.title, "chat_metadata": {}}
    ]
    for node in conversation.path()[1:]:
        row = conversation.siblings(node.id)
        swipes = [conversation.nodes[sibling].text.removeprefix(" ") for sibling in row]
        rows.append(
            {
                "name": "You" if node.role is Role.USER else conversation.title,
                "is_user": node.role is Role.USER,
                "send_date": "2024-05-05T10:00:00Z",
                "mes": node.text.removeprefix(" "),
                "swipe_id": row.index(node.id),
                "swipes": swipes,
                "extra": {},
            }
        )
    return "\n".join(json.dumps(row) for row in rows)


Shape = tuple[str, str, tuple[Any, ...]]


def shape(conversation: Conversation, node_id: NodeId | None = None) -> Shape:
    """Roles and texts of a tree, without ids and times."""
    node = conversation.nodes[node_id or conversation.root]
    below = tuple(shape(conversation, child) for child in conversation.children.get(node.id, ()))
    return node.role.value, node.text.strip(), below
