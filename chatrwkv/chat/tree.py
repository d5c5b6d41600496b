"""A conversation as a tree of messages: pure values, so that undo is keeping the old one.

One root a chat: a SYSTEM node (its text may be empty), below which user and assistant turns alternate as
they like; every node may have siblings. `head` is the leaf shown now. Knows no storage, no model, no ids
of its own making beyond `new_id`.
"""

from __future__ import annotations

import time
import uuid
from collections.abc import Mapping  # noqa: TC003 -- an annotation of a module value
from dataclasses import dataclass, field, replace
from enum import StrEnum
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from chatrwkv.errors import StoreCorrupt

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from chatrwkv.chat.record import TokenRecord
    from chatrwkv.engine import GenerationStats, SamplingParams

NodeId = str
ChatId = str

_NOTHING: Mapping[str, tuple[int, ...]] = MappingProxyType({})


def _nothing() -> Mapping[str, tuple[int, ...]]:
    return _NOTHING


class Role(StrEnum):
    """Who wrote a node."""

    SYSTEM = "system"
    USER = "user"
    ASSISTANT = "assistant"
    RAW = "raw"


class NodeStatus(StrEnum):
    """How far a node's text has come."""

    COMPLETE = "complete"
    STREAMING = "streaming"
    STOPPED = "stopped"
    FAILED = "failed"


@dataclass(frozen=True, slots=True)
class ReplyMeta:
    """How a reply came about: enough to make it again."""

    model: str
    fingerprint: str
    template: str
    thinking: str
    params: SamplingParams
    seed: int | None = None
    """None until the first token is drawn."""
    reason: str = ""
    """A FinishReason, or the sentence of the failure."""
    stats: GenerationStats | None = None
    n_drawn: int = 0
    """How many ids at the end of the node's were drawn, over all runs; a continued reply counts on."""
    mu: float | None = None
    """Mirostat's bound after the last of them; a continued reply goes on with it, another begins anew."""
    chosen: tuple[int, ...] = ()
    """Which of the drawn ids, from 0, a person chose in place of a draw."""
    resumed: tuple[int, ...] = ()
    """After how many drawn ids the reply had come to its end and was told to go on."""
    voices: tuple[str, ...] = ()
    """Saved states that were heard beside the chat's own mind, by name."""


@dataclass(frozen=True, slots=True)
class Node:
    """One message; `text` is raw as generated and cleaned only where it is shown."""

    id: NodeId
    parent: NodeId | None
    role: Role
    text: str
    status: NodeStatus = NodeStatus.COMPLETE
    meta: ReplyMeta | None = None
    created: float = 0.0
    tokens: Mapping[str, tuple[int, ...]] = field(default_factory=_nothing)
    """Dialect (tokenizer and template) to the ids that were fed for this node."""
    name: str = ""
    """A bookmark; empty is none."""
    base: str = ""
    """Of a root: the chain of the state that the chat begins with; empty is the blank state."""
    record: TokenRecord | None = None
    """What was likely at each token; also None where it was not asked for (`Store.record` has it)."""


def new_id() -> str:
    """A fresh node or chat id."""
    return uuid.uuid4().hex


def new_node(parent: NodeId | None, role: Role, text: str, **more: Any) -> Node:
    """A node with a fresh id, made now."""
    return Node(id=new_id(), parent=parent, role=role, text=text, created=time.time(), **more)


@dataclass(frozen=True, eq=False)
class Conversation:
    """One chat: nodes, the order of siblings, which child was shown last, and the chat's own settings."""

    id: ChatId
    title: str
    root: NodeId
    nodes: Mapping[NodeId, Node]
    children: Mapping[NodeId, tuple[NodeId, ...]]
    """Parent to children in the order they were made; a leaf is absent."""
    head: NodeId
    """The leaf shown now."""
    shown: Mapping[NodeId, NodeId]
    """Parent to the child on the path shown most recently."""
    template: str = ""
    """Empty follows the model's family."""
    thinking: str = ""
    params: SamplingParams | None = None
    """None is the template's defaults."""

    @classmethod
    def start(cls, title: str = "", system: str = "", *, base: str = "", **settings: Any) -> Conversation:
        """A new chat with nothing but its root, on top of the blank state or of the one with the chain `base`."""
        root = new_node(None, Role.SYSTEM, system, base=base)
        return cls.build(new_id(), title, [root], head=root.id, **settings)

    @classmethod
    def build(
        cls,
        chat_id: ChatId,
        title: str,
        nodes: Iterable[Node],
        *,
        head: NodeId | None = None,
        shown: Mapping[NodeId, NodeId] | None = None,
        **settings: Any,
    ) -> Conversation:
        """A conversation from nodes in the order of their making, parents first.

        Raises:
            StoreCorrupt: no root, two roots, or a node whose parent is missing.
        """
        by_id: dict[NodeId, Node] = {}
        children: dict[NodeId, list[NodeId]] = {}
        root = ""
        for node in nodes:
            if node.parent is None:
                if root:
                    raise StoreCorrupt(
                        f"Chat {chat_id} has two roots.", hint="Restore a backup of the chats."
                    )
                root = node.id
            elif node.parent not in by_id:
                raise StoreCorrupt(
                    f"Message {node.id} of chat {chat_id} hangs below a message that is missing.",
                    hint="Restore a backup of the chats.",
                )
            else:
                children.setdefault(node.parent, []).append(node.id)
            by_id[node.id] = node
        if not root:
            raise StoreCorrupt(f"Chat {chat_id} has no first message.", hint="Restore a backup of the chats.")
        memory = {p: c for p, c in (shown or {}).items() if c in by_id and by_id[c].parent == p}
        kept = {parent: tuple(ids) for parent, ids in children.items()}
        made = cls(chat_id, title, root, by_id, kept, root, memory, **settings)
        return made.with_head(head if head in by_id else made.leaf_below(root))

    # -- looking ------------------------------------------------------------------------------------------

    def path(self, node_id: NodeId | None = None) -> list[Node]:
        """Nodes from the root to `node_id`, or to the head."""
        found = []
        at: NodeId | None = self.head if node_id is None else node_id
        while at is not None:
            node = self.nodes[at]
            found.append(node)
            at = node.parent
        return found[::-1]

    def siblings(self, node_id: NodeId) -> tuple[NodeId, ...]:
        """All children of the parent, `node_id` among them; the root stands alone."""
        parent = self.nodes[node_id].parent
        return (node_id,) if parent is None else self.children[parent]

    def sibling(self, node_id: NodeId, step: int) -> NodeId | None:
        """The sibling `step` places further, or None past either end."""
        row = self.siblings(node_id)
        place = row.index(node_id) + step
        return row[place] if 0 <= place < len(row) else None

    def leaf_below(self, node_id: NodeId) -> NodeId:
        """The leaf reached from `node_id` by the children shown most recently, else the newest ones."""
        at = node_id
        while row := self.children.get(at):
            at = self.shown.get(at, row[-1])
        return at

    def subtree(self, node_id: NodeId) -> list[NodeId]:
        """`node_id` and everything below it, parents first."""
        found = [node_id]
        for at in found:  # grows while it is walked
            found.extend(self.children.get(at, ()))
        return found

    def is_below(self, node_id: NodeId, ancestor: NodeId) -> bool:
        """Whether `ancestor` is `node_id` or on its path."""
        return any(node.id == ancestor for node in self._upwards(node_id))

    def _upwards(self, node_id: NodeId) -> Iterator[Node]:
        at: NodeId | None = node_id
        while at is not None:
            node = self.nodes[at]
            yield node
            at = node.parent

    # -- new values ---------------------------------------------------------------------------------------

    def with_node(self, node: Node) -> Conversation:
        """The same with `node` replaced, or added as the last child of its parent."""
        return self.with_nodes([node])

    def with_nodes(self, nodes: Iterable[Node]) -> Conversation:
        """The same with all of `nodes` replaced or added, parents first."""
        by_id, children = dict(self.nodes), dict(self.children)
        for node in nodes:
            old = by_id.get(node.id)
            if old is None:
                if node.parent is None or node.parent not in by_id:
                    raise StoreCorrupt(f"Message {node.id} has no parent in chat {self.id}.")
                children[node.parent] = (*children.get(node.parent, ()), node.id)
            elif old.parent != node.parent:
                raise StoreCorrupt(f"Message {node.id} cannot move to another parent.")
            by_id[node.id] = node
        return replace(self, nodes=by_id, children=children)

    def with_head(self, node_id: NodeId) -> Conversation:
        """The same showing `node_id`; every fork on its path remembers this way."""
        changed = {
            node.parent: node.id
            for node in self._upwards(node_id)
            if node.parent is not None and self.shown.get(node.parent) != node.id
        }
        return replace(self, head=node_id, shown={**self.shown, **changed} if changed else self.shown)

    def without(self, node_id: NodeId) -> Conversation:
        """The same without `node_id` and everything below; the head moves to a sibling's leaf or the parent."""
        node = self.nodes[node_id]
        if node.parent is None:
            raise StoreCorrupt(
                "The first message of a chat cannot be removed.", hint="Delete the chat instead."
            )
        gone = set(self.subtree(node_id))
        row = self.children[node.parent]
        rest = tuple(n for n in row if n != node_id)
        children = {p: c for p, c in self.children.items() if p not in gone}
        if rest:
            children[node.parent] = rest
        else:
            del children[node.parent]
        smaller = replace(
            self,
            nodes={i: n for i, n in self.nodes.items() if i not in gone},
            children=children,
            shown={p: c for p, c in self.shown.items() if p not in gone and c not in gone},
        )
        if self.head not in gone:
            return smaller
        # The neighbour that takes the place on the screen: the one before, else the one after.
        place = row.index(node_id)
        near = rest[max(0, place - 1)] if rest else node.parent
        return smaller.with_head(smaller.leaf_below(near))

    def copy(
        self, node_ids: Iterable[NodeId], head: NodeId, title: str
    ) -> tuple[Conversation, dict[NodeId, NodeId]]:
        """A new chat with copies of some messages, and which old one became which new one.

        Args:
            node_ids: parents before children; siblings keep their order.
            head: which of them is shown last.
            title: of the new chat.
        """
        renamed = {node_id: new_id() for node_id in node_ids}
        copies = []
        for old, new in renamed.items():
            node = self.nodes[old]
            parent = renamed[node.parent] if node.parent is not None else None
            copies.append(replace(node, id=new, parent=parent))
        made = self.build(
            new_id(),
            title,
            copies,
            head=renamed[head],
            shown={renamed[p]: renamed[c] for p, c in self.shown.items() if p in renamed and c in renamed},
            template=self.template,
            thinking=self.thinking,
            params=self.params,
        )
        return made, renamed

    def copy_path(self, node_id: NodeId, title: str) -> tuple[Conversation, dict[NodeId, NodeId]]:
        """The same for the path to `node_id`."""
        return self.copy([node.id for node in self.path(node_id)], node_id, title)

    def problems(self) -> list[str]:
        """Which invariants are broken; empty is good."""
        found = []
        if [n.id for n in self.nodes.values() if n.parent is None] != [self.root]:
            found.append("not exactly one root")
        if len(self.subtree(self.root)) != len(self.nodes):
            found.append("nodes that the root does not reach")
        for parent, row in self.children.items():
            if not row or len(set(row)) != len(row):
                found.append(f"children of {parent} are empty or doubled")
            if any(child not in self.nodes or self.nodes[child].parent != parent for child in row):
                found.append(f"children of {parent} are not its own")
        if any(child not in self.children.get(parent, ()) for parent, child in self.shown.items()):
            found.append("shown children that do not exist")
        if self.head not in self.nodes:
            found.append("the head does not exist")
        return found
