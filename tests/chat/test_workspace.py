"""The workspace: what opens, what is remembered, what is swept, what never needs torch."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from chatrwkv.chat.changes import Changes
from chatrwkv.chat.store import Store
from chatrwkv.chat.tree import NodeStatus
from chatrwkv.engine import peek_state
from chatrwkv.errors import ModelNotFound, StoreError
from tests.chat.conftest import ended, said, what
from tests.fakes import ByteTokenizer, FakeModel, Gate, fake_loader, wait_until

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.chat.conftest import Desk

ROOT = Path(__file__).parents[2]


def test_one_chat_has_one_session(desk: Desk):
    chat = desk.workspace.new_chat("t")
    assert desk.workspace.open_chat(chat.id) is chat
    assert desk.workspace.open_chats == [chat]
    desk.workspace.close_chat(chat.id)
    assert desk.workspace.open_chat(chat.id) is not chat
    with pytest.raises(StoreError, match="no chat"):
        desk.workspace.open_chat("missing")


def test_a_closed_session_may_still_be_polled(desk: Desk):
    """The interface's timers fire once more while it ends; they found a closed database."""
    chat = desk.workspace.new_chat()
    reply = chat.send("one")
    desk.workspace.close()
    assert not chat.is_open_elsewhere
    assert not chat.poll()
    assert not reply.poll().is_running
    assert desk.workspace.chats() == []
    desk.workspace.close()
    chat.close()
    assert chat.path()[0].text == "one"
    desk.engine.close()
    desk.__post_init__()


def test_a_deleted_chat_comes_back_after_a_restart(desk: Desk):
    kept, gone = desk.workspace.new_chat("kept"), desk.workspace.new_chat("gone")
    said(gone, "one")
    desk.workspace.delete_chat(gone.id)
    assert [c.id for c in desk.workspace.chats()] == [kept.id]
    desk.again()
    assert desk.workspace.restore_chat() == gone.id
    assert desk.workspace.restore_chat() is None
    assert len(desk.workspace.open_chat(gone.id).path()) == 2


def test_renaming_works_for_open_and_closed_chats(desk: Desk):
    chat = desk.workspace.new_chat("a")
    desk.workspace.rename_chat(chat.id, "b")
    assert chat.title == "b"
    desk.workspace.close_chat(chat.id)
    desk.workspace.rename_chat(chat.id, "c")
    assert desk.workspace.open_chat(chat.id).title == "c"
    assert what(desk.workspace.open_chat(chat.id).undo()) == "rename"


def test_prompt_history_and_drafts_are_remembered(desk: Desk):
    chat = desk.workspace.new_chat()
    for text in ("one", "two", "one"):
        desk.workspace.add_history(text)
    desk.workspace.save_draft(chat.id, "half a sen")
    desk.again()
    assert desk.workspace.history() == ["two", "one"]
    assert desk.workspace.draft(chat.id) == "half a sen"
    desk.load()
    said(desk.workspace.open_chat(chat.id), "whole")
    desk.workspace._store.flush()
    assert desk.workspace.draft(chat.id) == ""


def test_the_model_used_last_is_the_default(make_desk: Callable[..., Desk]):
    desk = make_desk(load=False, loader=fake_loader())
    folder = desk.workspace.paths.models
    folder.mkdir(parents=True)
    for name in ("first.pth", "second.pth"):
        (folder / name).write_bytes(b"x")
    desk.workspace.load_model("second").result(20)
    assert desk.workspace.model is not None
    assert desk.workspace.model.name == "second"
    desk.again()
    default = desk.workspace.default_model()
    assert default is not None
    assert default.name == "second"
    with pytest.raises(ModelNotFound):
        desk.workspace.load_model("third")


def test_the_template_follows_the_model_that_is_loading(make_desk: Callable[..., Desk]):
    """A message sent before the model is ready must be written in that model's words."""
    gate = Gate()
    desk = make_desk(load=False, loader=fake_loader(gate=gate))
    folder = desk.workspace.paths.models
    folder.mkdir(parents=True)
    (folder / "RWKV-4-Raven-1B5.pth").write_bytes(b"x")
    chat = desk.workspace.new_chat()
    assert chat.template.name == "g1-chat"
    job = desk.workspace.load_model("RWKV-4-Raven")
    assert desk.workspace.loading is not None
    assert chat.template.name.startswith("raven")
    reply = chat.send("one")
    gate.open()
    job.result(20)
    ended(reply)
    meta = chat.path()[-1].meta
    assert meta is not None
    assert meta.template.startswith("raven")
    assert desk.workspace.loading is None


def test_state_files_that_nothing_holds_are_swept_at_the_start(desk: Desk):
    chat = desk.workspace.new_chat()
    said(chat, "one")
    desk.workspace.close()
    desk.engine.close()
    states = desk.root / "data" / "states"
    orphan = states / "0123.rwkvstate"
    orphan.write_bytes(b"x")
    long_ago = time.time() - 3 * 24 * 3600
    linked = [path for path in states.iterdir() if path != orphan]
    assert len(linked) == 2
    for path in states.iterdir():
        os.utime(path, (long_ago, long_ago))
    desk.__post_init__()
    desk.workspace._vault.flush()
    assert sorted(states.iterdir()) == sorted(linked)


def test_a_shared_state_outlives_one_of_its_owners(desk: Desk):
    """llm warns of shared rows: deleting a chat must not take the states of its fork."""
    chat = desk.workspace.new_chat()
    said(chat, "one")
    forked = chat.fork()
    desk.workspace.delete_chat(chat.id)
    desk.workspace._vault.flush()
    desk.workspace._store._writer.submit(
        lambda c: c.execute("DELETE FROM chats WHERE id = ?", (chat.id,)).rowcount
    ).result()
    for path in (desk.root / "data" / "states").iterdir():
        os.utime(path, (0, 0))
    desk.again().load()
    desk.workspace._vault.flush()
    said(desk.workspace.open_chat(forked), "two")
    assert desk.n_scanned == len("\n\nUser: two\n\nAssistant:")


def test_a_reply_whose_branch_another_window_deleted_ends_in_peace(make_desk: Callable[..., Desk]):
    gate = Gate()
    desk = make_desk(model=FakeModel(before=gate))
    chat = desk.workspace.new_chat()
    reply = chat.send("one")
    gate.allow(3)
    wait_until(lambda: reply.poll().n_tokens >= 1)
    other = Store.open(desk.root / "data" / "chats.db")
    elsewhere = Changes(other, chat.id)
    elsewhere.hide("delete branch", chat.path()[0].id)
    chat._changes.refresh()
    assert chat.path() == []
    gate.open()
    ended(reply)
    desk.workspace._store.flush()  # the screen is told before the disk has it
    assert what(elsewhere.undo()) == "delete branch"
    assert elsewhere.view.nodes[reply.node_id].text == reply.view.text
    assert elsewhere.view.nodes[reply.node_id].status is NodeStatus.STOPPED
    other.close()


def test_a_chat_whose_window_died_is_taken_over(desk: Desk):
    holder = (
        "import sys, time; from pathlib import Path; from chatrwkv.chat.locks import ChatLocks\n"
        "locks = ChatLocks(Path(sys.argv[1])); print(locks.take(sys.argv[2]), flush=True); sys.stdin.read()"
    )
    chat_id = desk.workspace.new_chat().id
    desk.workspace.close_chat(chat_id)
    process = subprocess.Popen(
        [sys.executable, "-c", holder, str(desk.root / "state" / "chats.lock"), chat_id],
        cwd=ROOT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "True\n"
    chat = desk.workspace.open_chat(chat_id)
    was_elsewhere = chat.is_open_elsewhere
    said(chat, "both may write")
    process.kill()
    process.communicate()
    wait_until(lambda: (chat.poll(), not chat.is_open_elsewhere)[1])
    assert was_elsewhere


def test_the_chat_layer_imports_neither_torch_nor_textual():
    """First paint comes before torch: 1.6 s of import would stand before it."""
    code = (
        "import sys, pkgutil, importlib, chatrwkv.chat as package\n"
        "for module in pkgutil.iter_modules(package.__path__): importlib.import_module(f'chatrwkv.chat.{module.name}')\n"
        "print(sorted({'torch', 'textual', 'rich', 'numpy'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"


def test_the_branch_that_is_shown_is_not_rounded_however_long_nobody_opened_it(desk: Desk):
    chats = [desk.workspace.new_chat(), desk.workspace.new_chat()]
    for chat in chats:
        said(chat, chat.id)
    chains = [chat.plan().known_chain(ByteTokenizer.tokenizer_id) for chat in chats]
    desk.again()
    files = list((desk.root / "data" / "states").iterdir())
    for file in files:
        os.utime(file, (0, 0))
    vault, fingerprint = desk.workspace._vault, desk.model.spec.fingerprint
    desk.workspace.open_chat(chats[0].id)
    vault.round_old(7, desk.workspace._shown_states)
    wait_until(lambda: sum(peek_state(file).is_rounded for file in files) == len(files) - 1)
    for _ in range(2):  # the last file has its turn, too
        vault.flush()
    assert [vault.where(fingerprint, str(chain)).is_rounded for chain in chains] == [False, True]
