"""The one way a session changes its tree: commit first, then show; never on top of a stale view."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Literal

from chatrwkv.chat.journal import Operation, rewriting, setting
from chatrwkv.chat.rows import dump, params_to_dict
from chatrwkv.errors import StoreError, StoreLocked

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from chatrwkv.chat.journal import Change
    from chatrwkv.chat.store import Store
    from chatrwkv.chat.tree import ChatId, Conversation, Node, NodeId
    from chatrwkv.engine import SamplingParams

# Two people would have to click this often in the same millisecond.
_TRIES = 20


class Changes:
    """The view of one chat and the revision it rests on."""

    def __init__(self, store: Store, chat_id: ChatId) -> None:
        self._store = store
        self._id = chat_id
        self._fresh: dict[NodeId, Node] = {}
        self.view, self._revision = store.load(chat_id)

    def refresh(self, *, force: bool = False) -> None:
        """Load the chat again if anybody changed it since; what is shown stays shown as far as it still exists."""
        if not force and self._store.revision(self._id) == self._revision:
            return
        self._load(keep_head=True)

    def _load(self, *, keep_head: bool) -> None:
        shown, old_path = self.view.shown, self.view.path()
        view, self._revision = self._store.load(self._id)
        view = view.with_nodes([node for node in list(self._fresh.values()) if node.id in view.nodes])
        if keep_head:
            known = {p: c for p, c in shown.items() if c in view.nodes}
            head = next(node.id for node in reversed(old_path) if node.id in view.nodes)
            view = replace(view, shown={**view.shown, **known}).with_head(head)
        self.view = view

    # -- what the database does not have yet --------------------------------------------------------------

    def overlay(self, node: Node) -> None:
        """Show a node newer than the stored one; it also survives a reload."""
        self._fresh[node.id] = node
        if node.id in self.view.nodes:
            self.view = self.view.with_node(node)

    def learn(self, node: Node) -> None:
        """Show a node with what is stored for it anyway, such as its ids."""
        if node.id in self.view.nodes:
            self.view = self.view.with_node(node)

    def settle(self, node: Node) -> None:
        """`node` is stored now."""
        if self._fresh.get(node.id) is node:
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
            after = view.with_nodes(nodes).with_head(head)
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

    def rewrite(self, label: str, node: Node, old: Node | None = None) -> None:
        """Put `node` in the place of the one with its id; `old` is what undo returns to, if not that one."""

        def build(view: Conversation) -> tuple[Operation, Conversation]:
            if node.id not in view.nodes:
                raise StoreError("The message was deleted in another window.")
            forward, inverse = rewriting(node, old or view.nodes[node.id])
            return Operation(label, [forward], [inverse]), view.with_node(node)

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
        for _ in range(_TRIES):
            self.refresh()
            operation, after = build(self.view)
            done = self._store.apply(self._id, operation, revision=self._revision, full=full).result()
            if done is not None:
                before, self.view, self._revision = self.view, after, done
                self._save_shown(before)
                return
        raise StoreLocked(
            "Another window changes this chat all the time.", hint="Close it there, then try again."
        )

    # -- steps of undo ------------------------------------------------------------------------------------

    def undo(self) -> str | None:
        """Take the last operation back; its label."""
        return self._step(self._store.undo(self._id).result())

    def redo(self) -> str | None:
        """Do it again; its label."""
        return self._step(self._store.redo(self._id).result())

    def _step(self, label: str | None) -> str | None:
        if label is not None:
            self._load(keep_head=False)
        return label

    # -- what is no step of undo --------------------------------------------------------------------------

    def show(self, head: NodeId) -> None:
        """Show another path and remember it."""
        before, self.view = self.view, self.view.with_head(head)
        self._save_shown(before)

    def set_params(self, params: SamplingParams | None) -> None:
        """Change the chat's sampling; None is the template's."""
        stored = dump(params_to_dict(params)) if params else None
        self._store.set_quietly(self._id, "params", stored).result()
        self.view = replace(self.view, params=params)

    def set_thinking(self, mode: str) -> None:
        """Change the chat's thinking mode."""
        self._store.set_quietly(self._id, "thinking", mode).result()
        self.view = replace(self.view, thinking=mode)

    def _save_shown(self, before: Conversation) -> None:
        after = self.view
        if after.shown is not before.shown or after.head != before.head:
            changed = {p: c for p, c in after.shown.items() if before.shown.get(p) != c}
            self._store.set_head(self._id, after.head, changed)


def _also(forward: list[Change], inverse: list[Change], pair: tuple[Change, Change]) -> None:
    forward.append(pair[0])
    inverse.insert(0, pair[1])
