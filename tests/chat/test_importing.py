"""Chats of other programs: the tree comes along; what is broken or hostile is one sentence and changes nothing."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

from chatrwkv.chat.export import to_json, to_text
from chatrwkv.chat.importing import parse_chats, read_chats
from chatrwkv.chat.tree import Conversation, Role, new_node
from chatrwkv.errors import StoreError
from tests.chat.conftest import said
from tests.chat.foreign_files import chatgpt, shape, sillytavern

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tests.chat.conftest import Desk


def read(content: Any) -> list[Conversation]:
    text = content if isinstance(content, str) else json.dumps(content)
    return parse_chats(text.encode("utf-8", "surrogatepass"), title="file", source="file.json")


def small(title: str = "Foxes") -> Conversation:
    made = Conversation.start(title, "be kind")
    ask = new_node(made.root, Role.USER, "三体?")
    one, two = (new_node(ask.id, Role.ASSISTANT, text) for text in (" A novel.", " Three bodies."))
    more = new_node(one.id, Role.USER, "Who wrote it?")
    return made.with_nodes([ask, one, two, more]).with_head(more.id)


# -- ChatGPT ------------------------------------------------------------------------------------------------


def test_chatgpts_conversations_come_with_their_branches_and_the_one_shown():
    first, second = read([chatgpt(small()), chatgpt(small("Other"))])
    assert (first.title, second.title) == ("Foxes", "Other")
    assert shape(first) == shape(small())
    assert [node.text for node in first.path()] == ["be kind", "三体?", " A novel.", "Who wrote it?"]
    assert not set(first.nodes) & set(second.nodes)
    assert not first.problems()


def test_an_entry_that_is_no_conversation_keeps_no_other_out():
    odd = {"title": "nothing in it"}
    assert [made.title for made in read([odd, chatgpt(small()), None, chatgpt(small("Other"))])] == [
        "Foxes",
        "Other",
    ]


def test_odd_nodes_of_chatgpt_are_stepped_over_and_what_hangs_below_moves_up():
    row = chatgpt(small())
    asked, *_ = (key for key, node in row["mapping"].items() if node["message"] and "三体" in str(node))
    reply = row["mapping"][asked]["children"][0]
    tool = {"author": {"role": "tool"}, "content": {"content_type": "execution_output", "text": "42"}}
    picture = {
        "author": {"role": "user"},
        "content": {"content_type": "multimodal_text", "parts": [{"asset": 1}]},
    }
    row["mapping"] |= {
        "tool": {"message": tool, "parent": asked, "children": ["picture"]},
        "picture": {"message": picture, "parent": "tool", "children": [reply]},
        "lost": {"message": row["mapping"][reply]["message"], "parent": "nowhere", "children": []},
        "loop a": {"message": tool, "parent": "loop b", "children": ["loop b"]},
        "loop b": {"message": tool, "parent": "loop a", "children": ["loop a"]},
        "empty": {},
        "odd": {"message": {"author": 3, "content": []}, "parent": reply, "children": 7},
    }
    row["mapping"][reply]["parent"] = "picture"
    row["mapping"][asked]["children"] = ["tool", row["mapping"][asked]["children"][1], "absent", 4]
    [made] = read(row)
    assert not made.problems()
    assert [node.text for node in made.path()] == ["be kind", "三体?", " A novel.", "Who wrote it?"]
    assert shape(made)[2][0] == shape(small())[2][0]
    assert shape(made)[2][1][1] == "A novel.", "what lost its parent hangs below the root"


def test_a_chatgpt_thread_of_fifty_thousand_messages_is_no_problem():
    mapping: dict[str, Any] = {}
    for i in range(50_000):
        author = {"role": "user" if i % 2 == 0 else "assistant"}
        message = {"author": author, "content": {"content_type": "text", "parts": [f"m{i}"]}}
        mapping[str(i)] = {"message": message, "parent": str(i - 1) if i else None, "children": [str(i + 1)]}
    [made] = read({"title": None, "mapping": mapping, "current_node": "49999"})
    assert len(made.path()) == 50_001


# -- SillyTavern --------------------------------------------------------------------------------------------


def test_swipes_of_sillytavern_become_siblings_below_the_one_chosen():
    chat = small()
    [made] = read(sillytavern(chat))
    assert made.title == "Foxes"
    assert [node.text for node in made.path()[1:]] == [node.text for node in chat.path()[1:]]
    asked = made.path()[1]
    assert [made.nodes[child].text for child in made.children[asked.id]] == [" A novel.", " Three bodies."]


def test_a_swipe_that_was_edited_and_one_out_of_range_keep_their_text():
    rows = [
        {"user_name": "You", "character_name": "Mia"},
        {"is_user": False, "mes": "edited", "swipes": ["first", "as it was"], "swipe_id": 1},
        {"is_user": True, "mes": "hi", "swipe_id": 10**9, "swipes": "no list"},
        {"is_user": False, "mes": "a wind blows", "extra": {"type": "narrator"}},
    ]
    [made] = read("\n".join(map(json.dumps, rows)))
    assert [(node.role, node.text) for node in made.path()[1:]] == [
        (Role.ASSISTANT, " edited"),
        (Role.USER, "hi"),
        (Role.SYSTEM, "a wind blows"),
    ]
    assert [made.nodes[n].text for n in made.children[made.root]] == [" first", " edited"]


# -- text ---------------------------------------------------------------------------------------------------


def test_text_comes_back_as_it_was_exported():
    chat = small()
    [made] = read(to_text(chat))
    assert [(node.role, node.text) for node in made.path()] == [
        (node.role, node.text) for node in chat.path()
    ]
    assert made.title == "file"
    assert to_text(made) == to_text(chat)


def test_other_names_of_speakers_windows_lines_and_a_mark_at_the_start_are_understood():
    [made] = read("\ufeffA talk.\r\n\r\nHuman: hi\r\nthere\r\nAI: hello\r\n\r\n用户:你好\r\n助手:您好\r\n")
    assert [(node.role, node.text) for node in made.path()] == [
        (Role.SYSTEM, "A talk."),
        (Role.USER, "hi\nthere"),
        (Role.ASSISTANT, " hello"),
        (Role.USER, "你好"),
        (Role.ASSISTANT, " 您好"),
    ]


# -- what is wrong ------------------------------------------------------------------------------------------


def damaged(change: Callable[[dict[str, Any]], object]) -> str:
    document = json.loads(to_json(small()))
    change(document)
    return json.dumps(document)


HOSTILE: dict[str, str | bytes] = {
    "empty": "",
    "blank": " \n\t ",
    "prose": "Once upon a time there was a fox.",
    "only a system": "System: be kind",
    "half a file": to_json(small())[: len(to_json(small())) // 2],
    "half of ChatGPT": json.dumps([chatgpt(small())])[:-40],
    "half of SillyTavern": sillytavern(small())[:-30],
    "deep list": "[" * 200_000,
    "deep objects": '{"a":' * 100_000,
    "deep closed": "[" * 50_000 + "]" * 50_000,
    "a number": "7",
    "a long number": "[" + "9" * 5000 + "]",
    "empty list": "[]",
    "list of lists": "[[], []]",
    "not UTF-8": b"\xff\xfe\x00",
    "NULs": b"\0" * 4096,
    "binary": bytes(range(256)) * 100,
    "another program's": '{"messages": [{"role": "user", "content": "hi"}]}',
    "no mapping": '[{"title": "x", "mapping": {}}]',
    "mapping of nothing": '[{"mapping": {"a": null, "b": 7}}]',
    "line that is no message": sillytavern(small()) + '\n{"mes": 7}',
    "node twice": damaged(lambda d: d["nodes"].append(d["nodes"][1])),
    "own parent": damaged(lambda d: d["nodes"][1].update(parent=d["nodes"][1]["id"])),
    "two roots": damaged(lambda d: d["nodes"][1].update(parent=None)),
    "text that is none": damaged(lambda d: d["nodes"][1].update(text={"a": 1})),
    "time that is none": damaged(lambda d: d["nodes"][1].update(created=float("nan"))),
    "time beyond": damaged(lambda d: d["nodes"][1].update(created=10**400)),
    "nodes that are none": damaged(lambda d: d.update(nodes="abc")),
    "ids that are none": damaged(lambda d: d["nodes"][1].update(tokens={"a": [1, 2**40]})),
    "record that is none": damaged(lambda d: d["nodes"][1].update(record={"rows": "AA", "row_bytes": 0})),
    "newer": damaged(lambda d: d.update(version=99)),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_what_cannot_be_understood_is_one_sentence_and_changes_nothing(name: str, desk: Desk, tmp_path: Path):
    content = HOSTILE[name]
    path = tmp_path / "file.json"
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    before = desk.workspace.chats()
    with pytest.raises(StoreError) as caught:
        desk.workspace.import_file(path)
    assert "file.json" in caught.value.message
    assert "\n" not in caught.value.message
    assert len(caught.value.message) < 400
    assert caught.value.hint
    assert desk.workspace.chats() == before


def test_a_file_that_is_none_or_too_large_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    for path in (tmp_path, tmp_path / "missing.json"):
        with pytest.raises(StoreError, match="is not a file"):
            read_chats(path)
    (tmp_path / "large.json").write_text(to_json(small()))
    monkeypatch.setattr("chatrwkv.chat.importing._LARGEST_BYTES", 100)
    with pytest.raises(StoreError, match="larger than 100 bytes"):
        read_chats(tmp_path / "large.json")


def test_a_state_file_is_called_one(desk: Desk, tmp_path: Path):
    chat = desk.workspace.new_chat()
    said(chat, "one")
    chat.save_state(tmp_path / "mind.rwkvstate").result(20)
    with pytest.raises(StoreError, match="/state load"):
        read_chats(tmp_path / "mind.rwkvstate")


def test_hostile_text_is_kept_as_text_and_the_chat_can_be_used(desk: Desk, tmp_path: Path):
    """Escapes, NULs, halves of characters and bidi marks: stored raw where a database can, shown clean."""
    made = Conversation.start("\x1b]0;owned\x07\u202etitle", "\0")
    made = made.with_node(new_node(made.root, Role.USER, "\x1b[2J\u202e[/red] \ud800 end"))
    row = chatgpt(made)
    path = tmp_path / "file.json"
    path.write_text(json.dumps([row]))
    [chat_id] = desk.workspace.import_file(path)
    chat = desk.workspace.open_chat(chat_id)
    assert chat.path()[-1].text == "\x1b[2J\u202e[/red] ? end"
    said(chat, "and now?")
    assert len(chat.conversation.nodes) == 4


def test_an_imported_chat_goes_on(desk: Desk, tmp_path: Path):
    path = tmp_path / "conversations.json"
    path.write_text(json.dumps([chatgpt(small()), chatgpt(small("Other"))]))
    first, _ = desk.workspace.import_file(path)
    assert [chat.title for chat in desk.workspace.chats()] == ["Foxes", "Other"]
    chat = desk.workspace.open_chat(first)
    assert chat.retry(chat.head)[0].wait(20).text
    assert said(chat, "And then?").text
