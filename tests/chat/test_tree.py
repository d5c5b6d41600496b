"""The conversation tree: siblings, the way shown last, removal, copies."""

from __future__ import annotations

import pytest

from chatrwkv.chat.tree import Conversation, Node, NodeStatus, Role, new_node
from chatrwkv.errors import StoreCorrupt


def grown(conversation: Conversation, parent: str, *texts: str) -> tuple[Conversation, list[Node]]:
    """`texts` as children of `parent`, the last one shown."""
    nodes = [new_node(parent, Role.USER, text) for text in texts]
    conversation = conversation.with_nodes(nodes).with_head(nodes[-1].id)
    return conversation, nodes


def test_path_runs_from_the_root_to_the_head():
    chat = Conversation.start("t", "be brief")
    chat, [a] = grown(chat, chat.root, "a")
    chat, _ = grown(chat, a.id, "b")
    assert [node.text for node in chat.path()] == ["be brief", "a", "b"]
    assert [node.id for node in chat.path(a.id)] == [chat.root, a.id]


def test_siblings_keep_the_order_of_their_making():
    """A sibling that is replaced (its reply ended) must not move to the end."""
    chat = Conversation.start()
    chat, [a, b, c] = grown(chat, chat.root, "a", "b", "c")
    chat = chat.with_node(Node(a.id, a.parent, a.role, "changed", NodeStatus.STOPPED))
    assert chat.siblings(b.id) == (a.id, b.id, c.id)
    assert chat.sibling(b.id, 1) == c.id
    assert chat.sibling(a.id, -1) is None
    assert chat.sibling(c.id, 1) is None
    assert chat.siblings(chat.root) == (chat.root,)


def test_returning_to_a_branch_shows_the_leaf_seen_there_last():
    """SillyTavern and others jump to the first or newest leaf and lose the reader's place."""
    chat = Conversation.start()
    chat, [a, b] = grown(chat, chat.root, "a", "b")
    chat, [a1, a2, a3] = grown(chat, a.id, "a1", "a2", "a3")
    chat = chat.with_head(a2.id).with_head(b.id)
    assert chat.leaf_below(a.id) == a2.id
    assert chat.with_head(a1.id).with_head(b.id).leaf_below(chat.root) == b.id
    assert a3.id in chat.nodes


def test_removing_a_branch_shows_its_neighbour():
    chat = Conversation.start()
    chat, [a, b, c] = grown(chat, chat.root, "a", "b", "c")
    chat, [b1] = grown(chat, b.id, "b1")
    assert chat.head == b1.id
    smaller = chat.without(b.id)
    assert smaller.head == a.id
    assert smaller.siblings(a.id) == (a.id, c.id)
    assert smaller.without(a.id).head == c.id
    assert smaller.without(a.id).without(c.id).head == chat.root
    assert not smaller.problems()
    assert b1.id in chat.nodes, "the old value changed"


def test_removing_elsewhere_leaves_the_head_alone():
    chat = Conversation.start()
    chat, [a, b] = grown(chat, chat.root, "a", "b")
    assert chat.without(a.id).head == b.id


def test_the_root_cannot_be_removed_or_doubled():
    chat = Conversation.start()
    with pytest.raises(StoreCorrupt):
        chat.without(chat.root)
    with pytest.raises(StoreCorrupt):
        chat.with_node(new_node(None, Role.SYSTEM, "second"))
    with pytest.raises(StoreCorrupt):
        chat.with_node(new_node("missing", Role.USER, "orphan"))


def test_a_copied_path_has_new_ids_and_the_same_text_and_tokens():
    chat = Conversation.start("t", "sys", template="g1-chat")
    chat, [a, _] = grown(chat, chat.root, "a", "b")
    a = Node(a.id, a.parent, a.role, a.text, tokens={"x": (1, 2)})
    chat = chat.with_node(a)
    copy, renamed = chat.copy_path(a.id, "copy")
    assert [node.text for node in copy.path()] == ["sys", "a"]
    assert copy.path()[-1].tokens == {"x": (1, 2)}
    assert copy.path()[-1].id == renamed[a.id] != a.id
    assert copy.template == "g1-chat"
    assert not set(copy.nodes) & set(chat.nodes)
    assert not copy.problems()


@pytest.mark.parametrize(
    "nodes",
    [
        [],
        [Node("a", "missing", Role.USER, "")],
        [Node("a", None, Role.SYSTEM, ""), Node("b", None, Role.SYSTEM, "")],
    ],
)
def test_a_broken_tree_is_refused_when_it_is_built(nodes: list[Node]):
    """jan#8376: replies became phantom roots and vanished."""
    with pytest.raises(StoreCorrupt):
        Conversation.build("chat", "t", nodes)


def test_ten_thousand_messages_in_one_line_are_no_problem():
    """Recursion over the depth of a chat ends at Python's limit of 1,000."""
    chat = Conversation.start()
    nodes, parent = [chat.nodes[chat.root]], chat.root
    for i in range(10_000):
        nodes.append(new_node(parent, Role.USER, str(i)))
        parent = nodes[-1].id
    chat = Conversation.build(chat.id, "", nodes, head=parent)
    assert len(chat.path()) == len(chat.subtree(chat.root)) == 10_001
    assert chat.leaf_below(chat.root) == parent
    assert len(chat.copy_path(parent, "copy")[0].nodes) == 10_001
    assert not chat.with_node(new_node(parent, Role.USER, "more")).problems()
