"""No space left while a reply is written: the chat goes on in memory, says so, and is saved once there is space."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from chatrwkv.chat import session as session_module
from chatrwkv.errors import StateError, StoreFull
from tests.chat.conftest import ended, said
from tests.chat.small_disks import full_disk
from tests.fakes import FakeModel, Gate, wait_until

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tests.chat.conftest import Desk


def test_a_message_that_cannot_be_saved_is_not_sent(desk: Desk):
    """The text must stay in the prompt, not vanish between prompt and chat."""
    chat = desk.workspace.new_chat()
    said(chat, "one")
    desk.workspace._store.flush()
    before = chat.conversation
    with full_disk():
        with pytest.raises(StoreFull) as caught:
            chat.send("two")
        assert caught.value.hint
        assert chat.conversation is before
        assert not chat.is_saved
    said(chat, "two")
    wait_until(lambda: chat.is_saved)
    assert len(chat.path()) == 4


def test_a_reply_that_cannot_be_saved_stays_and_is_saved_later(
    make_desk: Callable[..., Desk], monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(session_module, "_RETRY_SAVE_S", 0.01)
    gate = Gate()
    desk = make_desk(model=FakeModel(before=gate))
    chat = desk.workspace.new_chat()
    reply = chat.send("one")
    gate.wait_until_blocked()
    with full_disk():
        gate.open()
        view = ended(reply)
        wait_until(lambda: chat.only_in_memory is not None)
        assert chat.path()[-1].text == view.text
        assert not chat.is_saved
        chat.vault.flush()
        assert chat.vault.problem is not None
    wait_until(lambda: (chat.poll(), chat.is_saved)[1])
    assert chat.only_in_memory is None
    desk.again().load()
    chat = desk.workspace.open_chat(chat.id)
    assert chat.path()[-1].text == view.text
    assert said(chat, "two").text


def test_a_state_that_cannot_be_saved_is_said_and_the_old_file_is_whole(desk: Desk, tmp_path: Path):
    chat = desk.workspace.new_chat()
    said(chat, "one")
    file = tmp_path / "chat.rwkvstate"
    chat.save_state(file).result(20)
    raw = file.read_bytes()
    with full_disk(), pytest.raises(StateError):
        chat.save_state(file).result(20)
    assert file.read_bytes() == raw
    assert [path.name for path in tmp_path.iterdir() if path.is_file()] == ["chat.rwkvstate"]
