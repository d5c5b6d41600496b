"""Export and import: lossless as JSON, readable as Markdown and text, never over somebody's file."""

from __future__ import annotations

import json
import stat
from typing import TYPE_CHECKING, Any

import pytest

from chatrwkv.chat.export import from_json, to_json, to_markdown, to_text, write_file
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


def test_markdown_has_a_front_matter_and_the_path_shown(desk: Desk):
    conversation = grown(desk)
    text = to_markdown(conversation)
    head, _, body = text.removeprefix("---\n").partition("---\n")
    assert 'title: "one"' in head
    assert 'model: "fake"' in head
    assert '"temperature": 1.0' in head
    assert body.count("## User") == body.count("## Assistant") == 2
    assert "be kind" in body


def test_thoughts_are_quotes_and_may_be_left_out():
    chat = Conversation.start("t")
    user = new_node(chat.root, Role.USER, "q")
    reply = new_node(user.id, Role.ASSISTANT, ">\nhm, well\n</think>\nThe answer.")
    chat = chat.with_nodes([user, reply]).with_head(reply.id)
    assert "hm, well" not in to_markdown(chat, thoughts=False)
    assert "> hm, well" in to_markdown(chat)
    assert to_text(chat) == "User: q\n\nAssistant: The answer.\n"


def test_a_file_is_replaced_only_when_told_and_a_link_is_never_written_through(tmp_path: Path):
    precious, link = tmp_path / "precious.md", tmp_path / "link.md"
    precious.write_text("precious")
    link.symlink_to(precious)
    for path in (precious, link):
        with pytest.raises(StoreError, match="exists already"):
            write_file(path, "new")
    write_file(link, "new", force=True)
    assert (precious.read_text(), link.read_text()) == ("precious", "new")
    assert stat.S_IMODE(link.stat().st_mode) == 0o600


def test_a_folder_that_cannot_be_is_named_and_nothing_is_left(tmp_path: Path):
    (tmp_path / "file").write_text("")
    with pytest.raises(StoreFull, match="file"):
        write_file(tmp_path / "file" / "t.md", "text")
    assert [path.name for path in tmp_path.iterdir()] == ["file"]
