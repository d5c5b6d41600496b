"""Export and import: lossless as JSON, readable as Markdown and text, never over somebody's file."""

from __future__ import annotations

import json
import stat
from typing import TYPE_CHECKING, Any

import pytest

from chatrwkv.chat.export import from_json, read_chat, to_json, to_markdown, to_text, write_chat
from chatrwkv.chat.tree import Conversation, NodeStatus, Role, new_node
from chatrwkv.errors import StoreError, StoreFull
from tests.chat.conftest import ended, said

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tests.chat.conftest import Desk


def grown(desk: Desk) -> Conversation:
    """A tree with siblings, a bookmark and a branch."""
    chat = desk.workspace.new_chat(system="be kind")
    first = said(chat, "one")
    said(chat, "two")
    for reply in chat.retry(first.id, n=2):
        ended(reply)
    chat.bookmark(first.id, "here")
    chat.select(first.id)
    return chat.conversation


def test_export_import_export_is_byte_identical(desk: Desk):
    conversation = grown(desk)
    text = to_json(conversation)
    assert to_json(from_json(text)) == text


def test_an_imported_chat_is_a_chat_of_its_own_that_goes_on_the_same(
    desk: Desk, make_desk: Callable[..., Desk]
):
    conversation = grown(desk)
    other = make_desk("other")
    chat = other.workspace.import_chat(from_json(to_json(conversation)))
    twice = other.workspace.import_chat(from_json(to_json(conversation)))
    assert len(other.workspace.chats()) == 2
    assert not set(chat.conversation.nodes) & set(twice.conversation.nodes)
    assert [n.text for n in chat.path()] == [n.text for n in conversation.path()]
    here = desk.workspace.open_chat(conversation.id)
    assert said(chat, "three").text == said(here, "three").text


def test_a_chat_of_unusual_text_survives():
    chat = Conversation.start("a\nb", "\0\u202e")
    chat = chat.with_node(
        new_node(chat.root, Role.USER, "三体 👩‍👩‍👧 \r\n \ud800"[:-1], status=NodeStatus.FAILED)
    )
    assert to_json(from_json(to_json(chat))) == to_json(chat)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda d: d.update(format="other"), "no chat exported"),
        (lambda d: d.update(version=99), "newer program"),
        (lambda d: d.update(nodes=[]), "damaged"),
        (lambda d: d.pop("title"), "damaged"),
        (lambda d: d["nodes"][1].update(parent="missing"), "damaged"),
        (lambda d: d["nodes"][1].update(role="robot"), "damaged"),
        (lambda d: d["nodes"][2].update(tokens={"x": [-1]}), "damaged"),
        (lambda d: d["nodes"][2]["meta"]["params"].update(temperature=1e9), "damaged"),
        (lambda d: d.update(shown=7), "damaged"),
    ],
)
def test_what_is_no_chat_of_ours_is_refused(
    desk: Desk, change: Callable[[dict[str, Any]], object], message: str
):
    document = json.loads(to_json(grown(desk)))
    change(document)
    with pytest.raises(StoreError, match=message):
        from_json(json.dumps(document))


def test_files_that_are_not_json_are_refused(tmp_path: Path):
    (tmp_path / "a.json").write_text("{")
    (tmp_path / "b.json").write_bytes(b"\xff\xfe")
    (tmp_path / "c.json").write_text("[" * 100_000)
    for name in ("a.json", "b.json", "c.json", "missing.json"):
        with pytest.raises(StoreError, match=name):
            read_chat(tmp_path / name)


def test_markdown_has_a_front_matter_and_the_path_shown(desk: Desk):
    conversation = grown(desk)
    text = to_markdown(conversation)
    head, _, body = text.removeprefix("---\n").partition("---\n")
    assert 'title: "one"' in head
    assert 'model: "fake"' in head
    assert '"temperature": 1.0' in head
    assert body.count("## User") == body.count("## Assistant") == 2
    assert "be kind" in body


def test_thoughts_are_left_out_unless_asked_for():
    chat = Conversation.start("t")
    user = new_node(chat.root, Role.USER, "q")
    reply = new_node(user.id, Role.ASSISTANT, ">\nhm, well\n</think>\nThe answer.")
    chat = chat.with_nodes([user, reply]).with_head(reply.id)
    assert "hm, well" not in to_markdown(chat)
    assert "> hm, well" in to_markdown(chat, thoughts=True)
    assert to_text(chat) == "User: q\n\nAssistant: The answer.\n"


@pytest.mark.parametrize(
    "title", ["../../etc/passwd", "三体问答", "", "a/b:c", "x" * 400, "CON", "\x1b]0;x\x07"]
)
def test_files_stay_in_their_folder_and_replace_nothing(tmp_path: Path, title: str):
    """oterm made an empty name of a Chinese title; others wrote where the title said."""
    chat = Conversation.start(title, "text")
    folder = tmp_path / "exports"
    files = [write_chat(chat, folder, kind) for kind in ("md", "md", "json", "txt")]
    assert len({file.name for file in files}) == 4
    assert {file.parent for file in files} == {folder}
    assert {stat.S_IMODE(file.stat().st_mode) for file in files} == {0o600}
    assert sorted(folder.iterdir()) == sorted(files)
    if title == "三体问答":
        assert files[0].name == "三体问答.md"


def test_a_link_out_of_the_folder_is_not_followed(tmp_path: Path):
    (tmp_path / "precious.md").write_text("precious")
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "t.md").symlink_to(tmp_path / "precious.md")
    made = write_chat(Conversation.start("t", "text"), tmp_path / "out")
    assert (tmp_path / "precious.md").read_text() == "precious"
    assert made.name == "t (2).md"


def test_a_folder_that_cannot_be_is_named(tmp_path: Path):
    (tmp_path / "file").write_text("")
    with pytest.raises(StoreFull, match="file"):
        write_chat(Conversation.start("t"), tmp_path / "file" / "exports")
