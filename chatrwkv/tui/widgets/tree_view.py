"""The tree of a chat. Only forks are indented, so that a long chat without them stays a list."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from textual.message import Message

from chatrwkv.text import sanitise_name
from chatrwkv.tui import keys
from chatrwkv.tui.widgets.rows import Row, RowList

if TYPE_CHECKING:
    from collections.abc import Callable

    from textual.binding import BindingType

    from chatrwkv.chat.tree import Conversation, Node

_LONGEST_LABEL = 60
_DEEPEST = 8  # forks beyond this depth are not indented further: the panel is narrow


class TreeView(RowList):
    """Nodes as rows: ● on the path shown, ○ beside it."""

    BINDINGS: ClassVar[list[BindingType]] = list(keys.TREE)

    class Walked(Message):
        """Left or right was pressed: the sibling of the row under the cursor is wanted."""

        def __init__(self, node_id: str, step: int) -> None:
            super().__init__()
            self.node_id = node_id
            self.step = step

    def __init__(self) -> None:
        super().__init__(widget_id="tree-rows")
        self._conversation: Conversation | None = None
        self._tree_rows = TreeRows()

    def show(self, conversation: Conversation | None, label_of: Callable[[Node], str]) -> None:
        """Draw the tree.

        Args:
            conversation: the cursor goes to its head, unless the person walks here.
            label_of: the words that stand for a message.
        """
        if conversation is self._conversation:
            return
        self._conversation = conversation
        if conversation is None:
            self.set_rows([])
            return
        rows = self._tree_rows.of(conversation, label_of)
        key = conversation.head if not self.has_focus or self.cursor_key not in conversation.nodes else ""
        self.set_rows(rows or [Row("", ((" nothing said yet", "muted"),))], key=key)

    def action_across(self, step: int) -> None:
        """Move to a sibling of the row under the cursor."""
        if self.cursor_key:
            self.post_message(self.Walked(self.cursor_key, step))


class TreeRows:
    """Makes the rows of a tree and remembers them: of ten thousand only a few change at a time."""

    def __init__(self) -> None:
        self._made: dict[str, tuple[object, Row]] = {}

    def of(self, conversation: Conversation, label_of: Callable[[Node], str]) -> list[Row]:
        """The rows from the root down; the root itself only when it has a text."""
        on_path = {node.id for node in conversation.path()}
        root = conversation.nodes[conversation.root]
        rows: list[Row] = []
        if root.text.strip():
            rows.append(_row(root, label_of(root), "", is_on=True, place=0))
        # (node, what its children's lines begin with, its own branch sign, place among siblings)
        todo = _branches(conversation.children.get(root.id, ()), "")[::-1]
        fresh: dict[str, tuple[object, Row]] = {}
        while todo:
            node_id, indent, sign, place = todo.pop()
            node = conversation.nodes[node_id]
            shape = (id(node), indent, sign, place, node_id in on_path)
            known = self._made.get(node_id)
            if known is None or known[0] != shape:
                row = _row(node, label_of(node), indent + sign, is_on=node_id in on_path, place=place)
                known = (shape, row)
            fresh[node_id] = known
            rows.append(known[1])
            below = indent + {"├─": "│ ", "└─": "  ", "": ""}[sign]
            todo.extend(_branches(conversation.children.get(node_id, ()), below)[::-1])
        self._made = fresh
        return rows


def _branches(children: tuple[str, ...], indent: str) -> list[tuple[str, str, str, int]]:
    if len(children) < 2 or len(indent) >= 2 * _DEEPEST:
        return [
            (child, indent, "", place if len(children) > 1 else 0) for place, child in enumerate(children, 1)
        ]
    last = len(children)
    return [
        (child, indent, "└─" if place == last else "├─", place) for place, child in enumerate(children, 1)
    ]


def _row(node: Node, words: str, prefix: str, *, is_on: bool, place: int) -> Row:
    label = sanitise_name(node.name or " ".join(words[: 4 * _LONGEST_LABEL].split())[:_LONGEST_LABEL])
    right = ((f" ‹{place}", "muted"),) if place else ()
    mark = "◆ " if node.name else "● " if is_on else "○ "
    style = "" if is_on else "muted"
    return Row(
        node.id,
        ((prefix, "faint"), (mark, "accent" if is_on else "muted"), (label or f"({node.status})", style)),
        right,
    )
