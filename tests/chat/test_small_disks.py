"""A full disk and a read-only one, really mounted: one sentence, nothing harmed, and it goes on afterwards."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from chatrwkv.chat import session as session_module
from chatrwkv.chat.export import to_json, write_file
from chatrwkv.chat.store import Store
from chatrwkv.chat.tree import Conversation
from chatrwkv.errors import StateError, StoreFull
from tests.chat.conftest import ended, said
from tests.chat.small_disks import disk, full, make_read_only
from tests.fakes import FakeModel, Gate, wait_until

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.chat.conftest import Desk

ROOT = Path(__file__).parents[2]
# More than the pages that SQLite's log has in reserve.
LONG = "a long message " * 20_000


def test_on_a_full_disk_nothing_that_was_saved_is_harmed_and_everything_goes_on_later(
    tmp_path: Path, make_desk: Callable[..., Desk], monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(session_module, "_RETRY_SAVE_S", 0.01)
    with disk(tmp_path / "disk", 16) as place:
        gate = Gate()
        gate.open()
        desk = make_desk("disk", model=FakeModel(before=gate))
        chat = desk.workspace.new_chat()
        first = said(chat, "one")
        export, state = place / "chat.json", place / "chat.rwkvstate"
        write_file(export, to_json(chat.conversation))
        chat.save_state(state).result(20)
        chat.vault.flush()
        before = export.read_bytes(), state.read_bytes()
        gate.close()
        reply = chat.retry(first.id)[0]
        gate.wait_until_blocked()
        chat.select(first.id)
        with full(place):
            with pytest.raises(StoreFull) as caught:
                chat.send(LONG)
            assert "space" in caught.value.hint
            with pytest.raises(StoreFull):
                write_file(export, LONG, force=True)
            gate.open()
            view = ended(reply)
            wait_until(lambda: chat.problem is not None)
            assert chat.node(reply.node_id).text == view.text
            with pytest.raises(StateError):
                chat.save_state(state).result(20)
            assert (export.read_bytes(), state.read_bytes()) == before
        wait_until(lambda: (chat.poll(), chat.is_saved)[1])
        assert said(chat, LONG).text
        write_file(export, to_json(chat.conversation), force=True)
        assert not [path.name for path in place.iterdir() if path.name.startswith(".")]
        texts = {node.text for node in chat.conversation.nodes.values()}
        desk.again().load()
        chat = desk.workspace.open_chat(chat.id)
        assert {node.text for node in chat.conversation.nodes.values()} == texts
        assert not desk.workspace.integrity()
        desk.close()


def test_a_read_only_folder_is_said_with_the_way_out(tmp_path: Path):
    with disk(tmp_path / "disk", 4) as place:
        store = Store.open(place / "chats.db")
        store.create_chat(Conversation.start("kept")).result()
        store.close()
        make_read_only(place)
        with pytest.raises(StoreFull) as caught:
            Store.open(place / "chats.db")
        assert "CHATRWKV_DATA_DIR" in caught.value.hint
        with pytest.raises(StoreFull):
            write_file(place / "new.md", "text")


@pytest.mark.parametrize("home", ["read-only", "absent"])
def test_commands_need_no_home_that_can_be_written(tmp_path: Path, home: str):
    """A service account has none, a container a read-only one: no traceback, and the variable helps."""
    with disk(tmp_path / "disk", 1) as place:
        make_read_only(place)
        clean = {
            name: value
            for name, value in os.environ.items()
            if not name.startswith(("XDG_", "CHATRWKV_")) and name != "HOME"
        }
        env = clean | ({"HOME": str(place)} if home == "read-only" else {"HOME": str(place / "absent")})
        command = [sys.executable, "-m", "chatrwkv", "chats", "list"]
        failed = subprocess.run(command, env=env, cwd=ROOT, capture_output=True, text=True, check=False)
        assert failed.returncode == 1
        assert "Traceback" not in failed.stderr
        assert "CHATRWKV_DATA_DIR" in failed.stderr
        env["CHATRWKV_DATA_DIR"] = str(tmp_path / "data")
        for helped in (env, {name: value for name, value in env.items() if name != "HOME"}):
            done = subprocess.run(command, env=helped, cwd=ROOT, capture_output=True, text=True, check=False)
            assert (done.returncode, done.stderr) == (0, "")
