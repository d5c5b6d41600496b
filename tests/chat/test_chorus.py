"""Mixes and choruses of saved states, experimental as they are: found in the tree, named, and never confused."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from chatrwkv.chat.chorus import mixing
from chatrwkv.chat.tree import Role
from chatrwkv.engine import load_state
from chatrwkv.errors import BadValue
from tests.chat.conftest import WAIT_S, ended, said

if TYPE_CHECKING:
    from pathlib import Path

    from chatrwkv.chat.session import ChatSession
    from tests.chat.conftest import Desk


def saved(desk: Desk, name: str, text: str) -> Path:
    session = desk.workspace.new_chat(name)
    said(session, text)
    return session.save_state(desk.workspace.paths.saved_states / f"{name}.rwkvstate").result(WAIT_S)


def talked(desk: Desk) -> ChatSession:
    session = desk.workspace.new_chat()
    said(session, "hello")
    return session


def test_a_chorus_is_a_reply_beside_the_others_that_names_its_voices(desk: Desk):
    paths = [saved(desk, "sea", "waves"), saved(desk, "fog", "mist")]
    session = talked(desk)
    before = session.head
    reply = session.chorus(paths)
    ended(reply)
    node = session.node(reply.node_id)
    assert node.role is Role.ASSISTANT
    assert session.conversation.siblings(node.id) == (before, node.id)
    assert node.meta
    assert node.meta.voices == ("sea", "fog")
    assert node.text
    assert node.text != session.node(before).text


def test_a_chat_goes_on_after_a_chorus_with_nothing_to_read_but_the_message(desk: Desk):
    session = talked(desk)
    ended(session.chorus([saved(desk, "sea", "waves")]))
    node = said(session, "go on")
    assert node.meta
    assert node.meta.stats
    assert node.meta.stats.prompt_tokens < 40
    again = desk.again().load().workspace.open_chat(session.id)
    assert again.node(session.conversation.path()[2].id).meta == session.conversation.path()[2].meta


def test_a_chorus_needs_a_message_to_reply_to(desk: Desk):
    path = saved(desk, "sea", "waves")
    with pytest.raises(BadValue):
        desk.workspace.new_chat().chorus([path])


@pytest.mark.parametrize(("weight", "parent"), [(0.0, 0), (1.0, 1)])
def test_a_mix_at_either_end_is_that_state_bit_for_bit(desk: Desk, weight: float, parent: int):
    paths = [saved(desk, "sea", "waves"), saved(desk, "fog", "mist")]
    made = desk.engine.call(mixing(paths[0], paths[1], weight)).result(WAIT_S)
    assert made.state.digest() == load_state(paths[parent])[0].state.digest()


def test_a_chat_on_a_mix_is_there_after_a_restart(desk: Desk):
    """No text leads to it, so it must not go with the states that can be read again."""
    path = saved(desk, "sea", "waves")
    made = desk.engine.call(mixing(path, path, 0.0)).result(WAIT_S)
    session = desk.workspace.begin_with(made, "all of sea")
    said(session, "hello")
    chat = session.id
    again = desk.again().load()
    assert said(again.workspace.open_chat(chat), "more").text
    assert made.chain == again.workspace.open_chat(chat).conversation.path()[0].base
