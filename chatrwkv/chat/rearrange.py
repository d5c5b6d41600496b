"""Changes that put messages elsewhere, as values: which copies appear, what goes, what is shown then.

A message never changes its parent, so whatever moves is copied under new ids and the originals are hidden:
undo and redo are those two steps back or forth, and no state can be found for a place it was not read at.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Literal

from chatrwkv.chat.tree import Conversation, Node, NodeId, NodeStatus, Role, new_id
from chatrwkv.errors import BadValue

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

Scope = Literal["path", "siblings", "tree"]


@dataclass(frozen=True, slots=True)
class Rearranged:
    """What a change does to a tree."""

    adds: Sequence[Node]
    """Parents first."""
    hides: Sequence[NodeId]
    """Each goes with all below it."""
    head: NodeId
    renamed: dict[NodeId, NodeId] = field(default_factory=dict)
    """Original to copy."""

    def applied(self, view: Conversation) -> Conversation:
        """The tree after it."""
        after = view.with_nodes(self.adds)
        memory = {
            self.renamed[p]: self.renamed[c] for p, c in view.shown.items() if {p, c} <= self.renamed.keys()
        }
        after = replace(after, shown={**after.shown, **memory})
        for node_id in self.hides:
            after = after.without(node_id)
        return after.with_head(self.head)


def grafted(view: Conversation, node_id: NodeId, below: NodeId, *, move: bool) -> Rearranged:
    """A branch copied, or moved, below another message.

    Raises:
        BadValue: it is the first message, or the place is inside the branch that moves.
    """
    node = view.nodes[node_id]
    if node.parent is None:
        raise BadValue("The first message of a chat stays where it is.", hint="Choose one below it.")
    if move and view.is_below(below, node_id):
        raise BadValue(
            "A branch cannot move below itself.", hint="Choose another place, or copy it with /graft."
        )
    if move and node.parent == below:
        raise BadValue("The branch is there already.", hint="Choose another place.")
    adds, renamed = _copies(view, [node_id], below)
    shown = renamed.get(view.head) or renamed[view.leaf_below(node_id)]
    return Rearranged(adds, [node_id] if move else [], shown, renamed)


def neighbour(view: Conversation, node_id: NodeId) -> tuple[Node, Node]:
    """The two messages of one side that a merge of `node_id` means, the upper one first.

    Raises:
        BadValue: neither the message above nor the one shown below is of the same side.
    """
    node = view.nodes[node_id]
    if node.parent is not None and (above := view.nodes[node.parent]).parent and above.role is node.role:
        return above, node
    row = view.children.get(node_id, ())
    below = view.nodes[view.shown.get(node_id, row[-1])] if row else None
    if node.parent is None or below is None or below.role is not node.role:
        raise BadValue(
            "The messages above and below are of the other side.",
            hint="Two neighbouring messages of one side can be merged.",
        )
    return node, below


def merged(view: Conversation, node_id: NodeId) -> Rearranged:
    """Two neighbouring messages of one side as one; what was below the lower one is below both."""
    upper, lower = neighbour(view, node_id)
    text = f"{upper.text.rstrip()}\n\n{lower.text.strip()}" if lower.text.strip() else upper.text
    one = _rewritten(upper, text, lower.status, name=upper.name or lower.name)
    adds, renamed = _copies(view, view.children.get(lower.id, ()), one.id)
    # Other versions of the lower message stay where they are, below the upper one.
    gone = upper.id if len(view.children[upper.id]) == 1 else lower.id
    shown = renamed.get(view.head) or renamed.get(view.leaf_below(lower.id), one.id)
    return Rearranged([one, *adds], [gone], shown, renamed)


def split(view: Conversation, node_id: NodeId, at: int) -> Rearranged:
    """A message as two of the same side, cut after `at` characters; what was below it is below the second.

    Raises:
        BadValue: it is the first message, or one of the two would be empty.
    """
    node = view.nodes[node_id]
    if node.parent is None:
        raise BadValue("The system text cannot be split.", hint="Choose a message below it.")
    first, second = node.text[:at].rstrip(), node.text[at:].lstrip()
    if not first.strip() or not second.strip():
        raise BadValue(
            f"There is nothing on one side of character {at:,} of {len(node.text):,}.",
            hint="Split where text stands on both sides.",
        )
    if node.role is Role.ASSISTANT:  # what stands between role and reply belongs to the reply
        second = node.text[: len(node.text) - len(node.text.lstrip())] + second
    upper = _rewritten(node, first, NodeStatus.COMPLETE, name=node.name)
    lower = replace(_rewritten(node, second, node.status), parent=upper.id)
    adds, renamed = _copies(view, view.children.get(node_id, ()), lower.id)
    shown = renamed.get(view.head) or renamed.get(view.leaf_below(node_id), lower.id)
    return Rearranged([upper, lower, *adds], [node_id], shown, renamed)


def forked(
    view: Conversation, node_id: NodeId, scope: Scope, title: str
) -> tuple[Conversation, dict[NodeId, NodeId]]:
    """A new chat with a copy of a part of this one, and which message became which.

    Args:
        view: this chat.
        node_id: where the new chat's path ends, or where its subtree begins.
        scope: the path; the path with the other versions of each message on it; all below `node_id`, too.
        title: of the new chat.
    """
    wanted = [node.id for node in view.path(node_id)]
    if scope == "siblings":
        wanted = [sibling for on_path in wanted for sibling in view.siblings(on_path)]
    elif scope == "tree":
        wanted += view.subtree(node_id)[1:]
    return view.copy(wanted, view.leaf_below(node_id) if scope == "tree" else node_id, title)


def _rewritten(node: Node, text: str, status: NodeStatus, name: str = "") -> Node:
    """A new message beside `node` with another text, which nobody drew as it stands."""
    meta = node.meta and replace(
        node.meta, seed=None, stats=None, reason="", n_drawn=0, mu=None, chosen=(), resumed=()
    )
    return replace(node, id=new_id(), text=text, status=status, meta=meta, tokens={}, record=None, name=name)


def _copies(
    view: Conversation, roots: Iterable[NodeId], below: NodeId
) -> tuple[list[Node], dict[NodeId, NodeId]]:
    """Copies of whole branches below `below`, parents first."""
    renamed: dict[NodeId, NodeId] = {}
    found = []
    for root in roots:
        for node_id in view.subtree(root):
            node = view.nodes[node_id]
            renamed[node_id] = new_id()
            parent = below if node_id == root else renamed[node.parent or ""]
            found.append(replace(node, id=renamed[node_id], parent=parent))
    return found, renamed
