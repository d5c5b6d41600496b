"""The one way a session changes its tree: commit first, then show.

A view that another process made stale is built again inside the very transaction that changes the tree, so
that no change rests on a tree that is gone and no process can starve another one.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Literal

from chatrwkv.chat.journal import Operation, rewriting, setting
from chatrwkv.chat.rows import dump, params_to_dict
from chatrwkv.errors import StoreError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from chatrwkv.chat.journal import Change, Step
    from chatrwkv.chat.rearrange import Rearranged
    from chatrwkv.chat.store import Store
    from chatrwkv.chat.tree import ChatId, Conversation, Node, NodeId
    from chatrwkv.engine import SamplingParams


class Changes:
    """The view of one chat and the revision it rests on."""

    def __init__(self, store: Store, chat_id: ChatId) -> None:
        self._store = store
        self._id = chat_id
        self._fresh: dict[NodeId, Node] = {}
        self._stored_shown: Mapping[NodeId, NodeId] = {}
        self._stored_head = ""
        self.view, self.revision = store.load(chat_id)
        self._note_stored(self.view)

    def refresh(self, *, force: bool = False) -> None:
        """Load the chat again if anybody changed it since; what is shown stays shown as far as it still exists."""
        if force or self._store.revision(self._id) != self.revision:
            stored, self.revision = self._store.load(self._id)
            self.view = self._merged(stored)

    def _merged(self, stored: Conversation) -> Conversation:
        """What is stored, with what only this view knows: newer texts, and the place on the screen."""
        self._note_stored(stored)
        shown = {p: c for p, c in self.view.shown.items() if c in stored.nodes}
        head = next(node.id for node in reversed(self.view.path()) if node.id in stored.nodes)
        return replace(self._freshened(stored), shown={**stored.shown, **shown}).with_head(head)

    def _freshened(self, stored: Conversation) -> Conversation:
        # A copy of the values: the writing thread takes out what it has stored.
        return stored.with_nodes([node for node in list(self._fresh.values()) if node.id in stored.nodes])

    # -- what the database does not have yet --------------------------------------------------------------

    def overlay(self, node: Node) -> None:
        """Show a node newer than the stored one; it also survives a reload."""
        node = self._fresh[node.id] = _light(node)
        if node.id in self.view.nodes:
            self.view = self.view.with_node(node)

    def learn(self, node: Node) -> None:
        """Show a node with what is stored for it anyway, such as its ids."""
        if node.id in self.view.nodes:
            self.view = self.view.with_node(node)

    def settle(self, node: Node) -> None:
        """`node` is stored now."""
        if self._fresh.get(node.id) == _light(node):
            self._fresh.pop(node.id, None)

    # -- operations ---------------------------------------------------------------------------------------

    def add(
        self, label: str, nodes: Sequence[Node], *, head: NodeId, title: str | None = None, full: bool = False
    ) -> None:
        """Add messages, parents first, and show `head`."""

        def build(view: Conversation) -> tuple[Operation, Conversation]:
            if nodes[0].parent not in view.nodes:
                raise StoreError(
                    "The message above was deleted in another window.",
                    hint="Choose another place and try again.",
                )
            ids = [node.id for node in nodes]
            forward: list[Change] = [{"do": "show", "ids": ids}]
            inverse: list[Change] = [{"do": "hide", "ids": ids}]
            after = view.with_nodes(map(_light, nodes)).with_head(head)
            if title is not None and title != view.title:
                _also(forward, inverse, setting("title", title, view.title))
                after = replace(after, title=title)
            _also(forward, inverse, setting("head", head, view.head))
            return Operation(label, forward, inverse, nodes), after

        self._commit(build, full=full)

    def hide(self, label: str, node_id: NodeId) -> None:
        """Remove a branch."""

        def build(view: Conversation) -> tuple[Operation, Conversation]:
            if node_id not in view.nodes:
                raise StoreError("The message was already deleted in another window.")
            after = view.without(node_id)
            ids = view.subtree(node_id)
            forward: list[Change] = [{"do": "hide", "ids": ids}]
            inverse: list[Change] = [{"do": "show", "ids": ids}]
            _also(forward, inverse, setting("head", after.head, view.head))
            return Operation(label, forward, inverse), after

        self._commit(build)

    def rearrange(self, label: str, plan: Callable[[Conversation], Rearranged]) -> Rearranged:
        """Put messages elsewhere.

        Args:
            label: what it is called when it is undone.
            plan: gets the tree as it is in the very transaction; raises what the user should read.
        """
        made: list[Rearranged] = []

        def build(view: Conversation) -> tuple[Operation, Conversation]:
            made[:] = [change := plan(view)]
            after = change.applied(view)
            came = [node.id for node in change.adds]
            gone = [node_id for root in change.hides for node_id in view.subtree(root)]
            forward: list[Change] = [{"do": "show", "ids": came}, {"do": "hide", "ids": gone}]
            inverse: list[Change] = [{"do": "hide", "ids": came}, {"do": "show", "ids": gone}]
            _also(forward, inverse, setting("head", after.head, view.head))
            return Operation(label, forward, inverse, change.adds), after

        self._commit(build)
        self._store.share_records({new: old for old, new in made[0].renamed.items()})
        return made[0]

    def rewrite(self, label: str, node: Node, old: Node | None = None) -> None:
        """Put `node` in the place of the one with its id; `old` is what undo returns to, if not that one."""

        def build(view: Conversation) -> tuple[Operation, Conversation]:
            if node.id not in view.nodes:
                raise StoreError("The message was deleted in another window.")
            forward, inverse = rewriting(node, old or view.nodes[node.id])
            return Operation(label, [forward], [inverse]), view.with_node(_light(node))

        self._commit(build)

    def set(self, label: str, column: Literal["title", "template"], value: str) -> None:
        """Change the title or the template."""

        def build(view: Conversation) -> tuple[Operation, Conversation]:
            forward, inverse = setting(column, value, getattr(view, column))
            after = replace(view, title=value) if column == "title" else replace(view, template=value)
            return Operation(label, [forward], [inverse]), after

        self._commit(build)

    def _commit(
        self, build: Callable[[Conversation], tuple[Operation, Conversation]], *, full: bool = False
    ) -> None:
        before = [self.view]

        def on_stored(stored: Conversation | None) -> tuple[Operation, Conversation]:
            if stored is not None:
                before[0] = self._merged(stored)
            return build(before[0])

        revision, after = self._store.apply(self._id, self.revision, on_stored, full=full).result()
        self.view, self.revision = after, revision
        self._save_shown()

    # -- steps of undo ------------------------------------------------------------------------------------

    def undo(self) -> Step | None:
        """Take the last operation back."""
        return self._step(self._store.undo(self._id).result())

    def redo(self) -> Step | None:
        """Do it again."""
        return self._step(self._store.redo(self._id).result())

    def _step(self, step: Step | None) -> Step | None:
        if step is not None:
            stored, self.revision = self._store.load(self._id)
            self._note_stored(stored)
            self.view = self._freshened(stored)
        return step

    # -- what is no step of undo --------------------------------------------------------------------------

    def show(self, head: NodeId) -> None:
        """Show another path and remember it."""
        self.view = self.view.with_head(head)
        self._save_shown()

    def set_params(self, params: SamplingParams | None) -> None:
        """Change the chat's sampling; None is the template's."""
        stored = dump(params_to_dict(params)) if params else None
        self._store.set_quietly(self._id, "params", stored).result()
        self.view = replace(self.view, params=params)

    def set_thinking(self, mode: str) -> None:
        """Change the chat's thinking mode."""
        self._store.set_quietly(self._id, "thinking", mode).result()
        self.view = replace(self.view, thinking=mode)

    def _note_stored(self, stored: Conversation) -> None:
        # What is shown on the path to the head follows from the head and may not be stored.
        on_path = {node.id for node in stored.path()}
        self._stored_shown = {p: c for p, c in stored.shown.items() if p not in on_path}
        self._stored_head = stored.head

    def _save_shown(self) -> None:
        head, shown = self.view.head, self.view.shown
        if head == self._stored_head and shown is self._stored_shown:
            return
        changed = {p: c for p, c in shown.items() if self._stored_shown.get(p) != c}
        self._store.set_head(self._id, head, changed)
        self._stored_shown, self._stored_head = shown, head


def _light(node: Node) -> Node:
    """As a view holds it: a long chat's records are larger than its states."""
    return replace(node, record=None)


def _also(forward: list[Change], inverse: list[Change], pair: tuple[Change, Change]) -> None:
    forward.append(pair[0])
    inverse.insert(0, pair[1])
