"""Backups come back beside what is there, whatever the state of either."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from chatrwkv.chat.document import to_document
from chatrwkv.chat.store import Store
from chatrwkv.chat.tree import Conversation, Role, new_node
from chatrwkv.errors import StoreError
from tests.chat.conftest import said, what

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tests.chat.conftest import Desk


def test_after_damage_the_backup_is_restored_beside_new_chats(make_desk: Callable[..., Desk]):
    """A dialog that only says "corrupt" has lost the chats as well as a crash has."""
    desk = make_desk()
    chat = desk.workspace.new_chat()
    said(chat, "one")
    said(chat, "two")
    chat.delete(chat.path()[2].id)
    document = to_document(chat.conversation)
    backup = desk.workspace.backup()
    desk.close()
    database = desk.root / "data" / "chats.db"
    database.write_bytes(b"\0" * 5000)
    desk.__post_init__()
    desk.load()
    damage = desk.workspace.damage
    assert damage is not None
    assert damage.backup == backup
    new = desk.workspace.new_chat("made since")
    assert desk.workspace.restore_backup() == 1
    assert {c.id for c in desk.workspace.chats()} == {chat.id, new.id}
    back = desk.workspace.open_chat(chat.id)
    assert to_document(back.conversation) == document
    assert what(back.undo()) == "delete branch"
    assert len(back.path()) == 4
    before = desk.n_scanned
    said(back, "three")
    assert desk.n_scanned - before == len("\n\nUser: three\n\nAssistant:"), "its states are still there"
    assert desk.workspace.restore_backup() == 0
    assert not desk.workspace.integrity()


def test_a_chat_that_went_on_since_the_backup_keeps_both(tmp_path: Path):
    store = Store.open(tmp_path / "chats.db")
    chat = Conversation.start("t")
    gone = new_node(chat.root, Role.USER, "in the backup")
    store.create_chat(chat.with_node(gone)).result()
    backup = store.backup("x")
    assert store._writer.submit(
        lambda c: c.execute("DELETE FROM nodes WHERE id = ?", (gone.id,)).rowcount
    ).result()
    since = new_node(chat.root, Role.USER, "since")
    store.finish_node(replace(chat.nodes[chat.root], text="changed")).result()
    store._writer.submit(lambda c: _insert(c, chat.id, since)).result()
    assert store.take_over(backup).result() == 0
    loaded = store.load(chat.id)[0]
    assert {node.text for node in loaded.nodes.values()} == {"changed", "since", "in the backup"}
    assert not loaded.problems()
    store.close()


def _insert(connection: object, chat_id: str, node: object) -> None:
    from chatrwkv.chat.inserting import insert_nodes

    insert_nodes(connection, chat_id, [node])  # type: ignore[arg-type, list-item] # what the caller has


def test_a_file_that_is_no_backup_changes_nothing(tmp_path: Path):
    store = Store.open(tmp_path / "chats.db")
    store.create_chat(Conversation.start("kept")).result()
    (tmp_path / "page.db").write_text("<html>" * 1000)
    for path in (tmp_path / "page.db", tmp_path / "missing.db"):
        with pytest.raises(StoreError):
            store.take_over(path).result()
    assert [chat.title for chat in store.chats()] == ["kept"]
    store.save_draft("nobody", "").result()
    store.close()
