"""Import: trees come back from every format that can hold them, and no bytes at all break it."""

from __future__ import annotations

import contextlib
import json

from hypothesis import given
from hypothesis import strategies as st

from chatrwkv.chat.export import to_json, to_text
from chatrwkv.chat.importing import parse_chats
from chatrwkv.chat.tree import Conversation, Role, new_node
from chatrwkv.errors import StoreError
from tests.chat.foreign_files import chatgpt, shape, sillytavern

words = st.text(st.characters(exclude_categories=["Cs", "Cc", "Z"]), min_size=1, max_size=12)


@st.composite
def trees(draw: st.DrawFn, *, is_path: bool = False) -> Conversation:
    """Turns that alternate, below a system text, with siblings anywhere unless it is to be a path."""
    made = Conversation.start(draw(words), draw(words))
    ids = [made.root]
    for _ in range(draw(st.integers(1, 8))):
        parent = made.nodes[ids[-1] if is_path else draw(st.sampled_from(ids))]
        is_user = parent.role is not Role.USER
        text = draw(words) if is_user else " " + draw(words)
        node = new_node(parent.id, Role.USER if is_user else Role.ASSISTANT, text)
        made = made.with_node(node)
        ids.append(node.id)
    return made.with_head(made.leaf_below(draw(st.sampled_from(ids))))


def back(text: str) -> Conversation:
    [made] = parse_chats(text.encode(), title="t", source="file")
    assert not made.problems()
    return made


@given(trees())
def test_our_own_json_gives_the_tree_back(chat: Conversation):
    made = back(to_json(chat))
    assert shape(made) == shape(chat)
    assert [node.text for node in made.path()] == [node.text for node in chat.path()]


@given(trees())
def test_chatgpts_json_gives_the_tree_back(chat: Conversation):
    made = back(json.dumps([chatgpt(chat)]))
    assert shape(made) == shape(chat)
    assert [node.text for node in made.path()] == [node.text for node in chat.path()]


@given(trees())
def test_sillytaverns_lines_give_the_path_back_with_all_siblings(chat: Conversation):
    if len(chat.path()) == 1:
        return
    made = back(sillytavern(chat))
    for ours, theirs in zip(made.path()[1:], chat.path()[1:], strict=True):
        assert [made.nodes[n].text for n in made.siblings(ours.id)] == [
            chat.nodes[n].text for n in chat.siblings(theirs.id)
        ]


@given(trees(is_path=True))
def test_text_gives_the_path_back(chat: Conversation):
    made = back(to_text(chat))
    assert [(node.role, node.text) for node in made.path()] == [
        (node.role, node.text) for node in chat.path()
    ]


@given(trees(), st.sampled_from(["own", "chatgpt", "sillytavern"]), st.data())
def test_a_damaged_file_is_refused_or_a_whole_tree(chat: Conversation, kind: str, data: st.DataObject):
    text = {"own": to_json(chat), "chatgpt": json.dumps([chatgpt(chat)]), "sillytavern": sillytavern(chat)}[
        kind
    ]
    raw = bytearray(text.encode())
    for _ in range(data.draw(st.integers(1, 4))):
        start = data.draw(st.integers(0, 999)) * len(raw) // 1000  # the length differs from run to run
        raw[start : start + data.draw(st.integers(0, 20))] = data.draw(st.binary(max_size=8))
    with contextlib.suppress(StoreError):
        assert all(not one.problems() for one in parse_chats(bytes(raw), title="t", source="file"))


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
        lambda inner: (
            st.lists(inner, max_size=4)
            | st.dictionaries(
                st.sampled_from(
                    [
                        "mapping",
                        "message",
                        "author",
                        "role",
                        "content",
                        "parts",
                        "parent",
                        "children",
                        "mes",
                        "swipes",
                        "swipe_id",
                        "nodes",
                        "format",
                        "a",
                        "b",
                    ]
                ),
                inner,
                max_size=5,
            )
        ),
        max_leaves=30,
    )
)
def test_any_json_is_refused_or_a_whole_tree(value: object):
    with contextlib.suppress(StoreError):
        made = parse_chats(json.dumps(value).encode(), title="t", source="file")
        assert all(not one.problems() for one in made)
