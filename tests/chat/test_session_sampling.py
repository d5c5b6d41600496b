"""Mirostat and guidance in chats: what a reply was drawn with goes where the reply goes."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest

from chatrwkv.chat.portable import load_portable
from tests.chat.conftest import ended, said, what

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from chatrwkv.chat.session import ChatSession
    from chatrwkv.chat.tree import Node, NodeId
    from tests.chat.conftest import Desk

OPTIONS: list[dict[str, Any]] = [
    {"mirostat": 2.5, "mirostat_rate": 0.4},
    {"cfg": 1.8, "negative": "User: be rude\n\n", "top_p": 0.9},
    {"cfg": 2.0, "mirostat": 3.0},
    {"newline_rule": True, "anti_repeat": True, "temp_first": True, "top_p_x": 0.1},
]
options = pytest.mark.parametrize("settings", OPTIONS, ids="+".join)


def sampling(settings: dict[str, Any], n: int) -> dict[str, Any]:
    return {"seed": 7, "max_tokens": n} | settings


def going_on(chat: ChatSession, node_id: NodeId, n: int) -> Node:
    chat.set_params(replace(chat.params, max_tokens=n))
    reply = chat.continue_reply(node_id)
    ended(reply)
    return chat.node(reply.node_id)


@options
def test_reply_that_goes_on_after_a_restart_equals_one_in_one_piece(
    make_desk: Callable[..., Desk], settings: dict[str, Any]
):
    whole = said(make_desk("whole", sampling=sampling(settings, 20)).workspace.new_chat(), "one")
    desk = make_desk("parts", sampling=sampling(settings, 8))
    chat = desk.workspace.new_chat()
    first = said(chat, "one")
    assert len(first.text) == 8
    chat = desk.again().load().workspace.open_chat(chat.id)
    last = going_on(chat, first.id, 12)
    assert last.text == whole.text
    assert last.meta is not None
    assert whole.meta is not None
    assert (last.meta.mu, last.meta.n_drawn) == (whole.meta.mu, 20)


@options
def test_reply_in_a_fork_goes_on_alike_and_the_first_one_stays(
    make_desk: Callable[..., Desk], settings: dict[str, Any]
):
    desk = make_desk(sampling=sampling(settings, 8))
    chat = desk.workspace.new_chat()
    first = said(chat, "one")
    fork = desk.workspace.open_chat(chat.fork(first.id))
    there = going_on(fork, fork.head, 12)
    assert chat.node(first.id).meta == first.meta, "a fork has a copy"
    here = going_on(chat, first.id, 12)
    assert here.text == there.text
    assert here.text != first.text


def test_undo_of_going_on_brings_the_bound_back(make_desk: Callable[..., Desk]):
    """The bound is part of how the reply came about, so it goes back with the text."""
    desk = make_desk(sampling=sampling(OPTIONS[0], 8))
    chat = desk.workspace.new_chat()
    first = said(chat, "one")
    once = going_on(chat, first.id, 12)
    assert what(chat.undo()) == "continue"
    assert chat.node(first.id).meta == first.meta
    again = going_on(chat, first.id, 12)
    assert again.meta is not None
    assert once.meta is not None
    assert (again.text, again.meta.mu) == (once.text, once.meta.mu)


def test_other_replies_and_edited_ones_begin_with_a_fresh_bound(make_desk: Callable[..., Desk]):
    desk = make_desk(sampling=sampling(OPTIONS[0], 8))
    chat = desk.workspace.new_chat()
    first = said(chat, "one")
    (other,) = chat.retry(first.id, params=[chat.params])
    assert ended(other).text == first.text, "same seed, same mind, same bound"
    edited = "abc"
    chat.edit_in_place(first.id, edited)
    chat.select(first.id)
    after = going_on(chat, first.id, 8).text
    fresh = make_desk("fresh", sampling=sampling(OPTIONS[0], 8)).workspace.new_chat()
    node = said(fresh, "one")
    meta = replace(node.meta, mu=None, n_drawn=0) if node.meta else None
    fresh._changes.rewrite("edit in place", replace(node, text=edited, meta=meta))
    assert going_on(fresh, node.id, 8).text == after


@options
def test_state_file_carries_settings_and_bound(
    make_desk: Callable[..., Desk], tmp_path: Path, settings: dict[str, Any]
):
    desk = make_desk(sampling=sampling(settings, 8))
    chat = desk.workspace.new_chat()
    first = said(chat, "one")
    file = tmp_path / "chat.rwkvstate"
    chat.save_state(file).result(20)
    conversation, _ = load_portable(file, None)
    assert conversation.params == chat.params
    assert conversation.path()[-1].meta == first.meta
    theirs = make_desk("friend", sampling={}).workspace.load_state(file)
    assert going_on(theirs, theirs.head, 12).text == going_on(chat, first.id, 12).text


def test_negative_prompt_stands_in_place_of_the_conversation(make_desk: Callable[..., Desk]):
    """What the second mind reads: the negative prompt, then the reply's opening, whatever was said before."""
    desk = make_desk(sampling=sampling({"cfg": 1.5, "negative": "User: be rude\n\n"}, 3))
    chat = desk.workspace.new_chat(system="be kind")
    said(chat, "one")
    before = desk.n_scanned
    said(chat, "two")
    read = len("\n\nUser: two\n\nAssistant:") + len("User: be rude\n\nAssistant:")
    assert desk.n_scanned - before == read


def test_reply_without_guidance_reads_no_negative_prompt(make_desk: Callable[..., Desk]):
    desk = make_desk(sampling=sampling({"negative": "User: be rude\n\n"}, 3))
    said(desk.workspace.new_chat(), "one")
    assert desk.n_scanned == len("User: one\n\nAssistant:")
