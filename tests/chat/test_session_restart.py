"""The next start: chats go on with nothing prefilled, crashes cost at most a second, undo remembers."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from chatrwkv.chat.document import to_document
from chatrwkv.chat.tree import NodeStatus
from tests.chat.conftest import ended, said, what

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.chat.conftest import Desk


def test_after_a_restart_only_the_new_message_is_prefilled(desk: Desk, make_desk: Callable[..., Desk]):
    """koboldcpp and others: yesterday's chat was read again from its first word."""
    chat = desk.workspace.new_chat()
    said(chat, "one")
    said(chat, "two")
    desk.again().load()
    chat = desk.workspace.open_chat(chat.id)
    third = said(chat, "three")
    assert desk.n_scanned == len("\n\nUser: three\n\nAssistant:")
    whole = make_desk("whole").workspace.new_chat()
    for text in ("one", "two"):
        said(whole, text)
    assert said(whole, "three").text == third.text


def test_after_a_restart_regenerating_prefills_nothing(desk: Desk):
    chat = desk.workspace.new_chat()
    first = said(chat, "one")
    desk.again().load()
    chat = desk.workspace.open_chat(chat.id)
    [reply] = chat.retry(params=[chat.params])
    assert ended(reply).text == first.text, "the same seed from the same state"
    assert desk.n_scanned == 0


def test_after_a_restart_a_reply_goes_on_with_nothing_prefilled(desk: Desk, make_desk: Callable[..., Desk]):
    long = make_desk("long", sampling={"max_tokens": 24, "seed": 7})
    full = said(long.workspace.new_chat(), "one")
    chat = desk.workspace.new_chat()
    said(chat, "one")
    desk.again().load()
    chat = desk.workspace.open_chat(chat.id)
    assert ended(chat.continue_reply()).text == full.text
    assert desk.n_scanned == 0


def test_without_any_state_file_the_stored_ids_are_fed_again(desk: Desk):
    """States are a cache: text and ids are enough to go on with the same words."""
    chat = desk.workspace.new_chat()
    said(chat, "one")
    said(chat, "two")
    n_read = sum(len(ids) for node in chat.conversation.path() for ids in node.tokens.values())
    expected = None
    for wipe in (False, True):
        desk.again()
        if wipe:
            for file in (desk.root / "data" / "states").iterdir():
                file.unlink()
        desk.load()
        chat = desk.workspace.open_chat(chat.id)
        [reply] = chat.retry(params=[replace(chat.params, seed=99)])
        text = ended(reply).text
        expected = expected or text
        assert text == expected
        chat.undo()
    assert desk.n_scanned == n_read - len(chat.path()[-1].text)


def test_a_reply_that_a_crash_interrupted_goes_on_from_its_saved_text(
    desk: Desk, make_desk: Callable[..., Desk]
):
    """Only the text was saved; its ids are made from it, on top of the prompt's own state."""
    chat = desk.workspace.new_chat()
    full = said(chat, "one")
    # What a crash leaves: the text so far, STREAMING, no ids.
    crashed = replace(full, text=full.text[:5], status=NodeStatus.STREAMING)
    desk.workspace._store.finish_node(crashed).result()
    desk.workspace._store._writer.submit(
        lambda c: c.execute("DELETE FROM node_tokens WHERE node = ?", (full.id,))
    ).result()
    desk.again().load()
    chat = desk.workspace.open_chat(chat.id)
    found = chat.node(full.id)
    assert (found.text, found.status) == (full.text[:5], NodeStatus.STOPPED)
    view = ended(chat.continue_reply())
    assert view.text.startswith(full.text[:5])
    assert len(view.text) == 5 + 12
    assert desk.n_scanned == 5, "the five characters, nothing of the prompt"


def test_undo_and_redo_work_after_a_restart(desk: Desk):
    """Delete, quit, start, `u`: the tree is as before, byte for byte."""
    chat = desk.workspace.new_chat()
    said(chat, "one")
    documents = [to_document(chat.conversation)]
    for text in ("two", "three"):
        said(chat, text)
        documents.append(to_document(chat.conversation))
    chat.delete(chat.path()[2].id)
    deleted = to_document(chat.conversation)
    desk.again().load()
    chat = desk.workspace.open_chat(chat.id)
    assert to_document(chat.conversation) == deleted
    assert what(chat.undo()) == "delete branch"
    assert to_document(chat.conversation) == documents[2]
    assert what(chat.undo()) == "send"
    assert to_document(chat.conversation) == documents[1]
    desk.again().load()
    chat = desk.workspace.open_chat(chat.id)
    assert what(chat.redo()) == "send"
    assert to_document(chat.conversation) == documents[2]
    assert what(chat.redo()) == "delete branch"
    assert chat.redo() is None
    assert to_document(chat.conversation) == deleted


def test_closing_saves_what_is_being_written(make_desk: Callable[..., Desk]):
    """Quitting in the middle of a reply must not cost a word of what was on the screen."""
    desk = make_desk(sampling={"max_tokens": 100_000, "seed": 1})
    chat = desk.workspace.new_chat()
    reply = chat.send("one")
    while len(reply.poll().text) < 20:
        reply.job.done.wait(0.001)
    seen = reply.view.text
    desk.again().load()
    chat = desk.workspace.open_chat(chat.id)
    node = chat.path()[-1]
    assert node.text.startswith(seen)
    assert node.status is NodeStatus.STOPPED
    before = desk.n_scanned
    going = chat.continue_reply()
    while len(going.poll().text) < len(node.text) + 5:
        going.job.done.wait(0.001)
    chat.stop()
    ended(going)
    assert desk.n_scanned == before


def test_what_is_shown_is_remembered(desk: Desk):
    chat = desk.workspace.new_chat()
    first = said(chat, "one")
    said(chat, "two")
    [other] = chat.retry(chat.path()[1].id)
    ended(other)
    chat.select(first.id)
    leaf = chat.head
    desk.again().load()
    chat = desk.workspace.open_chat(chat.id)
    assert chat.head == leaf
    chat.step_sibling(first.id, 1)
    assert chat.head == other.node_id
    desk.again()
    chat = desk.workspace.open_chat(chat.id)
    assert chat.head == other.node_id
    assert chat.step_sibling(other.node_id, -1) == first.id
    assert chat.head == leaf


def test_a_damaged_state_is_read_again_and_never_used(desk: Desk):
    chat = desk.workspace.new_chat()
    said(chat, "one")
    desk.again()
    for file in (desk.root / "data" / "states").iterdir():
        raw = bytearray(file.read_bytes())
        raw[-5] ^= 4
        file.write_bytes(bytes(raw))
    desk.load()
    chat = desk.workspace.open_chat(chat.id)
    n_before = sum(len(ids) for node in chat.conversation.path() for ids in node.tokens.values())
    said(chat, "two")
    assert desk.n_scanned == n_before + len("\n\nUser: two\n\nAssistant:")
