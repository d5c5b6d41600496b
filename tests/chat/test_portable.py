"""State files for friends: they open without the database, go on with nothing prefilled, refuse what is wrong."""

from __future__ import annotations

import base64
import random
import shutil
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from chatrwkv.chat.plan import Plan, Segment
from chatrwkv.chat.portable import conversation_in, save_portable
from chatrwkv.chat.tree import Conversation
from chatrwkv.engine import load_attached, load_state, peek_state, save_state
from chatrwkv.errors import StateCorrupt, StateError, StateMismatch
from tests.chat.conftest import WAIT_S, ended, said
from tests.fakes import FakeModel, fake_loader

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tests.chat.conftest import Desk

LONG = {"max_tokens": 64, "seed": 11}


def test_a_friend_goes_on_with_the_same_words_and_nothing_prefilled(
    make_desk: Callable[..., Desk], tmp_path: Path
):
    """llama.cpp#202 of March 2023: "dump the current state … continue later or on another PC"."""
    mine = make_desk("mine", sampling=LONG)
    chat = mine.workspace.new_chat(system="be kind")
    said(chat, "one")
    said(chat, "two")
    file = tmp_path / "sent" / "chat.rwkvstate"
    assert chat.save_state(file).result(20) == file
    friend = make_desk("friend", sampling=LONG)
    copy = friend.root / "received.rwkvstate"
    shutil.copy(file, copy)
    theirs = friend.workspace.load_state(copy)
    assert [n.text for n in theirs.path()] == [n.text for n in chat.path()]
    assert theirs.system == "be kind"
    assert theirs.title == chat.title
    mine_next, theirs_next = said(chat, "and now?"), said(theirs, "and now?")
    assert theirs_next.text == mine_next.text
    assert len(theirs_next.text) == 64
    assert friend.n_scanned == len("\n\nUser: and now?\n\nAssistant:")
    friend.again().load()
    again = friend.workspace.open_chat(theirs.id)
    assert ended(again.continue_reply()).text.startswith(theirs_next.text)
    assert friend.n_scanned == 0


def test_a_friend_may_let_the_saved_reply_go_on(make_desk: Callable[..., Desk], tmp_path: Path):
    mine = make_desk("mine", sampling=LONG)
    chat = mine.workspace.new_chat()
    said(chat, "one")
    file = tmp_path / "chat.rwkvstate"
    chat.save_state(file).result(20)
    friend = make_desk("friend", sampling=LONG)
    theirs = friend.workspace.load_state(file)
    text = ended(theirs.continue_reply()).text
    assert friend.n_scanned == 0
    assert text == ended(chat.continue_reply()).text


def test_saving_any_message_reads_what_no_snapshot_holds(desk: Desk, tmp_path: Path):
    chat = desk.workspace.new_chat()
    first = said(chat, "one")
    said(chat, "two")
    chat.edit(first.id, "edited")
    file = tmp_path / "chat.rwkvstate"
    before = desk.n_scanned
    chat.save_state(file, first.id).result(20)
    assert desk.n_scanned - before == len("edited")
    loaded = desk.workspace.load_state(file)
    assert [node.text for node in loaded.path()] == ["one", "edited"]


def test_a_state_of_another_model_is_refused_with_both_names(make_desk: Callable[..., Desk], tmp_path: Path):
    mine = make_desk("mine", loader=fake_loader(), name="first-model")
    chat = mine.workspace.new_chat()
    said(chat, "one")
    file = tmp_path / "chat.rwkvstate"
    chat.save_state(file).result(20)
    mine.load("second-model")
    with pytest.raises(StateMismatch, match=r"first-model.*second-model") as caught:
        mine.workspace.load_state(file)
    assert "first-model" in caught.value.hint
    assert len(mine.workspace.chats()) == 1


def test_without_a_model_the_chat_opens_and_waits_for_it(make_desk: Callable[..., Desk], tmp_path: Path):
    mine = make_desk("mine")
    chat = mine.workspace.new_chat()
    said(chat, "one")
    file = tmp_path / "chat.rwkvstate"
    chat.save_state(file).result(20)
    friend = make_desk("friend", load=False)
    theirs = friend.workspace.load_state(file)
    friend.load()
    ended(theirs.continue_reply())
    assert friend.n_scanned == 0


@pytest.mark.parametrize("where", [0.1, 0.5, 0.999])
def test_a_flipped_bit_anywhere_is_refused_and_makes_no_chat(desk: Desk, tmp_path: Path, where: float):
    chat = desk.workspace.new_chat()
    said(chat, "one")
    file = tmp_path / "chat.rwkvstate"
    chat.save_state(file).result(20)
    raw = bytearray(file.read_bytes())
    raw[int(len(raw) * where)] ^= 16
    file.write_bytes(bytes(raw))
    with pytest.raises(StateCorrupt):
        desk.workspace.load_state(file)
    assert len(desk.workspace.chats()) == 1


def test_a_conversation_that_cannot_be_read_is_told(desk: Desk, tmp_path: Path):
    chat = desk.workspace.new_chat()
    said(chat, "one")
    snapshot = next(iter(chat.vault._ram.values()))
    save_state(tmp_path / "odd.rwkvstate", snapshot, {"conversation": "bm90IHpsaWI="})
    with pytest.raises(StateCorrupt, match="cannot be read"):
        desk.workspace.load_state(tmp_path / "odd.rwkvstate")
    with pytest.raises(StateError, match="missing"):
        desk.workspace.load_state(tmp_path / "missing.rwkvstate")


def test_the_file_is_small_for_a_long_chat(make_desk: Callable[..., Desk], tmp_path: Path):
    """Eight bytes a token are promised; text and ids are packed."""
    desk = make_desk(sampling={"max_tokens": 500, "seed": 1})
    chat = desk.workspace.new_chat()
    for i in range(3):
        said(chat, f"message {i} " * 30)
    chat.save_state(tmp_path / "chat.rwkvstate").result(20)
    info = peek_state(tmp_path / "chat.rwkvstate")
    assert info.n_tokens > 2000
    assert info.n_bytes < 8 * info.n_tokens
    assert conversation_in(info).path()[-1].text == chat.path()[-1].text


def test_a_cancelled_save_leaves_no_file(desk: Desk, tmp_path: Path):
    chat = desk.workspace.new_chat()
    first = said(chat, "one")
    chat.edit(first.id, "edited")
    job = chat.save_state(tmp_path / "chat.rwkvstate")
    job.cancel()
    job.done.wait(20)
    assert [path.name for path in tmp_path.iterdir() if path.suffix == ".rwkvstate"] in (
        [],
        ["chat.rwkvstate"],
    )
    said(chat, "two")


def test_a_model_of_the_same_name_with_other_weights_is_another_model(
    make_desk: Callable[..., Desk], tmp_path: Path
):
    mine = make_desk("mine", model=FakeModel("a"))
    chat = mine.workspace.new_chat()
    said(chat, "one")
    chat.save_state(tmp_path / "chat.rwkvstate").result(20)
    friend = make_desk("friend", model=FakeModel("b"))
    with pytest.raises(StateMismatch):
        friend.workspace.load_state(tmp_path / "chat.rwkvstate")


def test_a_file_whose_state_is_of_another_text_opens_by_its_text_and_says_so(desk: Desk, tmp_path: Path):
    session = desk.workspace.new_chat()
    said(session, "hello")
    path = session.save_state(tmp_path / "a.rwkvstate").result(WAIT_S)
    kept, notes = load_state(path)
    attached = {"conversation": load_attached(path, "conversation")}
    save_state(path, replace(kept, chain="0" * 64), notes, attached=attached)
    opened = desk.workspace.load_state(path)
    (notice,) = desk.workspace.notices()
    assert "does not follow from its text" in notice
    assert said(opened, "and again").text


def test_a_file_of_the_first_version_still_opens(desk: Desk, tmp_path: Path):
    """It carried the conversation in its header, as base64."""
    chat = desk.workspace.new_chat()
    said(chat, "one")
    chat.save_state(tmp_path / "new.rwkvstate").result(20)
    snapshot, metadata = load_state(tmp_path / "new.rwkvstate")
    packed = base64.b64encode(load_attached(tmp_path / "new.rwkvstate", "conversation")).decode()
    save_state(tmp_path / "old.rwkvstate", snapshot, metadata | {"conversation": packed})
    before = desk.n_scanned
    copy = desk.workspace.load_state(tmp_path / "old.rwkvstate")
    assert [node.text for node in copy.path()] == [node.text for node in chat.path()]
    ended(copy.continue_reply())
    assert desk.n_scanned == before


def test_a_very_long_chat_travels_in_one_file(desk: Desk, tmp_path: Path):
    """A million characters that pack badly: more than a header may hold, which was the limit once."""
    chance = random.Random(4)
    text = "".join(chr(chance.randrange(0x4E00, 0x9FFF)) for _ in range(1_000_000))
    path, long = tmp_path / "long.rwkvstate", Conversation.start("long", text)
    plan = Plan((Segment(None, "what is read is short"),))
    desk.engine.call(save_portable(path, long, plan, desk.workspace.new_chat().vault)).result(60)
    assert peek_state(path).n_bytes > 2 << 20
    assert conversation_in(peek_state(path)).nodes[long.root].text == text
