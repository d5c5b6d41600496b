"""Chats that begin with a state of which nobody knows what it has read: another program's, or a bare one."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from chatrwkv.chat import state_tools
from chatrwkv.chat.document import from_document, to_document
from chatrwkv.chat.tree import Role
from chatrwkv.engine import Generation, export_state, save_state
from chatrwkv.errors import StateCorrupt, StateError, StateMismatch
from tests.chat.conftest import WAIT_S, ended, said
from tests.fakes import FakeModel

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from chatrwkv.chat.session import ChatSession
    from chatrwkv.engine import Snapshot
    from tests.chat.conftest import Desk


@pytest.fixture
def mind(desk: Desk) -> Snapshot:
    """What the model remembers of a talk that no chat here holds."""
    chat = desk.workspace.new_chat()
    said(chat, "remember the lighthouse")
    found = max(chat.vault._ram.values(), key=lambda snapshot: snapshot.n_tokens)
    desk.workspace.delete_chat(chat.id)
    return found


@pytest.fixture
def theirs(mind: Snapshot, tmp_path: Path) -> Path:
    """The same as a list of the `rwkv` package."""
    export_state(tmp_path / "theirs.pth", mind.state, Generation.V7, "package")
    return tmp_path / "theirs.pth"


def begun(desk: Desk, path: Path) -> ChatSession:
    return desk.workspace.begin_with(desk.workspace.import_state(path).result(WAIT_S), path.stem)


def test_a_chat_begins_with_a_foreign_state(desk: Desk, mind: Snapshot, theirs: Path):
    """The model must have read exactly the question on top of the state, and nothing before it."""
    chat = begun(desk, theirs)
    assert chat.title == "theirs"
    before = desk.n_scanned
    answer = said(chat, "what did I say?").text
    assert desk.n_scanned - before < 40
    plain = said(desk.workspace.new_chat(), "what did I say?").text
    assert answer != plain, "the state was not looked at"
    asked = chat.template.user_segment("what did I say?", True, chat.thinking)
    ids = [byte + 1 for byte in (asked + chat.template.reply_prefix(chat.thinking)).encode()]
    logits = desk.model.scan([ids], mind.state.thaw())[0]
    found = [snapshot for snapshot in chat.vault._ram.values() if snapshot.n_tokens == len(ids)]
    assert any(bool((snapshot.logits == logits).all()) for snapshot in found)


def test_retry_fork_and_undo_stand_on_the_same_state(desk: Desk, theirs: Path):
    chat = begun(desk, theirs)
    first = said(chat, "hello")
    again = chat.retry()[0]
    ended(again)
    fork = desk.workspace.open_chat(chat.fork(chat.conversation.root))
    assert said(fork, "hello").text == first.text
    assert fork.conversation.nodes[fork.conversation.root].base


def test_a_chat_on_a_foreign_state_goes_on_after_a_restart(desk: Desk, theirs: Path):
    chat = begun(desk, theirs)
    expected = said(chat, "hello").text
    desk.workspace._vault.flush()
    later = desk.again().load()
    theirs.unlink()
    chat = later.workspace.open_chat(chat.id)
    chat.select(chat.conversation.root, exactly=True)
    assert said(chat, "hello").text == expected


def test_what_no_text_leads_to_is_pinned(desk: Desk, theirs: Path):
    """The disk's budget may take any other state, since its text can be read again."""
    begun(desk, theirs)
    desk.workspace._vault.flush()
    assert len(desk.workspace._vault.pinned) == 1
    assert desk.again().workspace._vault.pinned


def test_another_model_says_that_the_state_is_not_its_own(desk: Desk, theirs: Path):
    """It must not go on as if nothing had been read."""
    chat = begun(desk, theirs)
    said(chat, "hello")
    desk.workspace._vault.flush()
    other = desk.again(FakeModel("another")).load()
    view = ended(other.workspace.open_chat(chat.id).send("and now?"))
    assert isinstance(view.error, StateMismatch)
    assert "not here" in view.error.message


def test_the_same_file_loaded_once_more_mends_a_chat_that_lost_its_state(desk: Desk, theirs: Path):
    chat = begun(desk, theirs)
    expected = said(chat, "hello").text
    desk.workspace._vault.flush()
    desk.close()
    for path in desk.workspace.paths.states.iterdir():
        path.unlink()
    desk.__post_init__()
    desk.load()
    chat = desk.workspace.open_chat(chat.id)
    chat.select(chat.conversation.root, exactly=True)
    assert isinstance(ended(chat.send("hello")).error, StateMismatch)
    begun(desk, theirs)
    chat.select(chat.conversation.root, exactly=True)
    assert said(chat, "hello").text == expected


def test_it_is_saved_and_exported_with_what_it_begins_with(
    desk: Desk, make_desk: Callable[..., Desk], theirs: Path, tmp_path: Path
):
    chat = begun(desk, theirs)
    said(chat, "hello")
    chat.save_state(tmp_path / "ours.rwkvstate").result(WAIT_S)
    friend = make_desk("friend")
    opened = friend.workspace.load_state(tmp_path / "ours.rwkvstate")
    assert [node.text for node in opened.path()] == [node.text for node in chat.path()]
    said(opened, "go on")
    document = to_document(chat.conversation)
    back = from_document(json.loads(json.dumps(document)), source="x")
    assert back.nodes[back.root].base == chat.conversation.nodes[chat.conversation.root].base


def test_a_bare_state_of_our_own_begins_a_chat(desk: Desk, mind: Snapshot, tmp_path: Path):
    """`states import` writes such files, and the vault's are like them."""
    save_state(tmp_path / "bare.rwkvstate", mind, {"model": "fake", "title": "lighthouse"})
    chat = desk.workspace.load_state(tmp_path / "bare.rwkvstate")
    assert (chat.title, chat.path()) == ("lighthouse", [])
    assert said(chat, "hello").role is Role.ASSISTANT


def test_it_is_verified_and_read_again_from_the_state_on(desk: Desk, theirs: Path):
    chat = begun(desk, theirs)
    said(chat, "hello")
    found = desk.engine.call(state_tools.verify(chat.plan(), chat.vault)).result(WAIT_S)
    assert found.is_good
    renewed = desk.engine.call(state_tools.refresh(chat.plan(), chat.vault, chat.renew_state)).result(WAIT_S)
    assert renewed.n_tokens == found.n_tokens


def test_what_does_not_fit_makes_no_chat(desk: Desk, theirs: Path, tmp_path: Path):
    n_before = len(desk.workspace.chats())
    (tmp_path / "cut.pth").write_bytes(theirs.read_bytes()[:-30])
    (tmp_path / "text.txt").write_text("not a state")
    for name, error in (("cut.pth", StateCorrupt), ("text.txt", StateMismatch), ("absent", StateError)):
        with pytest.raises(error):
            desk.workspace.import_state(tmp_path / name).result(WAIT_S)
    assert len(desk.workspace.chats()) == n_before
