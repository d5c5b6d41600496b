"""The tree under random operations: one root, no orphans, a head that exists, old values untouched."""

from __future__ import annotations

from typing import Any

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, consumes, invariant, rule

from chatrwkv.chat.document import from_document, to_document, with_new_ids
from chatrwkv.chat.tree import Conversation, Role, new_node


class Trees(RuleBasedStateMachine):
    """Grows, cuts, copies and walks one conversation."""

    nodes = Bundle("nodes")

    def __init__(self) -> None:
        super().__init__()
        self.chat = Conversation.start("t")
        self.before: list[tuple[Conversation, dict[str, Any]]] = []

    def change(self, chat: Conversation) -> None:
        if len(self.before) < 4:
            self.before.append((self.chat, to_document(self.chat)))
        self.chat = chat

    @rule(target=nodes)
    def begin(self) -> str:
        return self.chat.root

    @rule(target=nodes, parent=nodes, text=st.text(max_size=3), shown=st.booleans())
    def add(self, parent: str, text: str, shown: bool) -> str:
        if parent not in self.chat.nodes:
            parent = self.chat.root
        node = new_node(parent, Role.USER, text)
        grown = self.chat.with_node(node)
        self.change(grown.with_head(node.id) if shown else grown)
        return node.id

    @rule(node=consumes(nodes))
    def remove(self, node: str) -> None:
        if node not in self.chat.nodes or node == self.chat.root:
            return
        gone = set(self.chat.subtree(node))
        smaller = self.chat.without(node)
        assert set(smaller.nodes) == set(self.chat.nodes) - gone
        self.change(smaller)

    @rule(node=nodes)
    def show(self, node: str) -> None:
        if node in self.chat.nodes:
            self.change(self.chat.with_head(self.chat.leaf_below(node)))
            assert self.chat.is_below(self.chat.head, node)

    @rule(node=nodes, step=st.integers(-2, 2))
    def step(self, node: str, step: int) -> None:
        if node in self.chat.nodes:
            row = self.chat.siblings(node)
            found = self.chat.sibling(node, step)
            wanted = row.index(node) + step
            assert found == (row[wanted] if 0 <= wanted < len(row) else None)

    @rule(node=nodes)
    def copy(self, node: str) -> None:
        if node in self.chat.nodes:
            made, renamed = self.chat.copy_path(node, "copy")
            assert not made.problems()
            assert [n.text for n in made.path()] == [n.text for n in self.chat.path(node)]
            assert made.head == renamed[node]

    @invariant()
    def nothing_is_broken(self) -> None:
        assert not self.chat.problems()
        assert self.chat.path()[0].id == self.chat.root

    @invariant()
    def building_again_gives_the_same(self) -> None:
        document = to_document(self.chat)
        assert to_document(from_document(document, source="test")) == document
        assert not with_new_ids(self.chat).problems()

    @invariant()
    def old_values_did_not_change(self) -> None:
        assert all(to_document(chat) == document for chat, document in self.before)


Trees.TestCase.settings = settings(max_examples=25, stateful_step_count=30, deadline=None)
TestTrees = Trees.TestCase
