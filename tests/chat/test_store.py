"""Chats in SQLite: what was committed is there again, what was deleted comes back, nobody else can read it."""

from __future__ import annotations

import stat
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from chatrwkv.chat.document import to_document
from chatrwkv.chat.journal import Operation
from chatrwkv.chat.store import Store
from chatrwkv.chat.tree import Conversation, Node, NodeStatus, ReplyMeta, Role, new_node
from chatrwkv.engine import GenerationStats, SamplingParams
from chatrwkv.errors import StoreError
from tests.chat.conftest import what

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Iterator
    from pathlib import Path


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    opened = Store.open(tmp_path / "data" / "chats.db")
    yield opened
    opened.close()


def new_chat(store: Store, title: str = "t") -> Conversation:
    chat = Conversation.start(title)
    store.create_chat(chat).result()
    return chat


def added(store: Store, chat: Conversation, *nodes: Node, label: str = "send") -> int:
    ids = [node.id for node in nodes]
    operation = Operation(label, [{"do": "show", "ids": ids}], [{"do": "hide", "ids": ids}], nodes)
    return store.apply(chat.id, 0, lambda _: (operation, chat)).result()[0]


META = ReplyMeta(
    "model",
    "f" * 64,
    "g1-chat",
    "off",
    SamplingParams(temperature=0.7, stop=("x",), banned=frozenset({3, 1})),
    seed=2**63,
    reason="end",
    stats=GenerationStats(3, 4, 0.5, 1.5),
    n_drawn=4,
)


def test_a_conversation_comes_back_as_it_was(store: Store):
    """Unusual text is where storage breaks: NUL, emoji, bidi marks, line ends."""
    chat = Conversation.start("三体", "sys\r\n\0", template="g1-chat", thinking="off", params=META.params)
    user = new_node(chat.root, Role.USER, "a\0b \u202e 👩‍👩‍👧 \r\n\n", tokens={"tok:1": (1, 2**32 - 1)})
    reply = new_node(user.id, Role.ASSISTANT, " x", meta=META, status=NodeStatus.STOPPED, name="mark")
    other = new_node(user.id, Role.ASSISTANT, " y", meta=META)
    chat = chat.with_nodes([user, reply, other]).with_head(other.id).with_head(reply.id)
    store.create_chat(chat).result()
    loaded, revision = store.load(chat.id)
    assert to_document(loaded) == to_document(chat)
    assert loaded.nodes[reply.id] == reply
    assert revision == 0


def test_everything_is_there_after_opening_again(tmp_path: Path):
    first = Store.open(tmp_path / "chats.db")
    chat = new_chat(first)
    user = new_node(chat.root, Role.USER, "hi")
    added(first, chat, user)
    first.save_draft(chat.id, "half a sen")
    first.set_setting("history", ["a", "b"])
    first.close()
    second = Store.open(tmp_path / "chats.db")
    assert second.load(chat.id)[0].nodes[user.id] == user
    assert second.draft(chat.id) == "half a sen"
    assert second.setting("history") == ["a", "b"]
    assert second.setting("missing", 7) == 7
    assert not second.integrity()
    second.close()


def test_a_reply_grows_and_is_finished(store: Store):
    chat = new_chat(store)
    reply = new_node(chat.root, Role.ASSISTANT, "", status=NodeStatus.STREAMING)
    added(store, chat, reply)
    store.update_text(reply.id, " Hi").result()
    assert store.load(chat.id)[0].nodes[reply.id].text == " Hi"
    done = replace(reply, text=" Hi there", status=NodeStatus.COMPLETE, meta=META, tokens={"tok:2": (9, 8)})
    store.finish_node(done).result()
    assert store.load(chat.id)[0].nodes[reply.id] == done


def test_replies_that_a_crash_interrupted_are_stopped(store: Store):
    chat = new_chat(store)
    reply = new_node(chat.root, Role.ASSISTANT, " so far", status=NodeStatus.STREAMING)
    added(store, chat, reply)
    assert store.stop_interrupted(chat.id).result() == 1
    loaded = store.load(chat.id)[0].nodes[reply.id]
    assert (loaded.status, loaded.text) == (NodeStatus.STOPPED, " so far")


def test_undo_and_redo_walk_through_the_log(store: Store):
    """Undo must take back exactly one step and forget redo only when something new is done."""
    chat = new_chat(store)
    nodes = [new_node(chat.root, Role.USER, str(i)) for i in range(3)]
    for node in nodes:
        added(store, chat, node, label=f"add {node.text}")

    def texts() -> set[str]:
        loaded = store.load(chat.id)[0]
        return {node.text for node in loaded.nodes.values() if node.parent}

    assert what(store.undo(chat.id).result()) == "add 2"
    assert what(store.undo(chat.id).result()) == "add 1"
    assert texts() == {"0"}
    assert what(store.redo(chat.id).result()) == "add 1"
    assert texts() == {"0", "1"}
    extra = new_node(chat.root, Role.USER, "new")
    added(store, chat, extra, label="add new")
    assert store.redo(chat.id).result() is None
    assert what(store.undo(chat.id).result()) == "add new"
    assert what(store.undo(chat.id).result()) == "add 1"
    assert what(store.undo(chat.id).result()) == "add 0"
    assert store.undo(chat.id).result() is None
    assert texts() == set()


def test_a_stale_view_is_built_again_inside_the_transaction(store: Store):
    """textgen#5837: a stale window overwrote the whole history. Trying again outside starves the slower one."""
    chat = new_chat(store)
    _, revision = store.load(chat.id)
    late = new_node(chat.root, Role.USER, "late")
    seen: list[Conversation | None] = []

    def build(stored: Conversation | None) -> tuple[Operation, Conversation]:
        seen.append(stored)
        return Operation("send", [], [], [late]), chat

    first = new_node(chat.root, Role.USER, "from elsewhere")
    added(store, chat, first)
    store.apply(chat.id, revision, build).result()
    assert seen[0] is not None
    assert set(seen[0].nodes) == {chat.root, first.id}
    late = new_node(chat.root, Role.USER, "later")
    store.apply(chat.id, store.revision(chat.id), build).result()
    assert seen[1] is None, "nobody changed it in between"
    assert len(store.load(chat.id)[0].nodes) == 4


def test_a_deleted_chat_leaves_the_list_and_comes_back(store: Store):
    chats = [new_chat(store, str(i)) for i in range(3)]
    store.delete_chat(chats[1].id).result()
    assert {c.title for c in store.chats()} == {"0", "2"}
    assert [c.title for c in store.chats(deleted=True)] == ["1"]
    store.restore_chat(chats[1].id).result()
    assert {c.title for c in store.chats()} == {"0", "1", "2"}
    assert store.undo(chats[1].id).result() is None, "undo inside a chat must not delete the chat"


def test_the_list_of_chats_counts_messages_and_shows_the_newest_first(store: Store):
    first, second = new_chat(store, "first"), new_chat(store, "second")
    added(store, first, new_node(first.root, Role.USER, "hi"))
    assert [(c.title, c.n_messages) for c in store.chats()] == [("first", 1), ("second", 0)]
    store.rename(second.id, "renamed").result()
    assert store.chats()[0].title == "renamed"
    assert what(store.undo(second.id).result()) == "rename"
    assert {c.title for c in store.chats()} == {"first", "second"}


def test_one_chat_has_one_root(store: Store):
    chat = new_chat(store)
    with pytest.raises(StoreError):
        added(store, chat, new_node(None, Role.SYSTEM, "second root"))
    assert len(store.load(chat.id)[0].nodes) == 1


def test_a_failed_change_leaves_nothing_behind(store: Store):
    """Half an operation would be a tree that nobody made."""
    chat = new_chat(store)
    good, bad = new_node(chat.root, Role.USER, "good"), new_node("missing", Role.USER, "bad")
    with pytest.raises(StoreError):
        added(store, chat, good, bad)
    assert good.id not in store.load(chat.id)[0].nodes
    assert store.problem is not None
    added(store, chat, good)
    assert store.problem is None


def test_a_chat_that_does_not_exist_is_named(store: Store):
    with pytest.raises(StoreError, match="no chat nowhere"):
        store.load("nowhere")
    with pytest.raises(StoreError, match="no chat nowhere"):
        store.rename("nowhere", "x").result()
    assert store.revision("nowhere") == -1


def test_files_are_private(store: Store):
    """Chats are the most private thing on the disk; other users of the machine must not read them."""
    new_chat(store)
    store.backup("now")
    files = [path for path in store.path.parent.rglob("*") if path.is_file()]
    assert {path.name for path in files} >= {"chats.db", "chats.db-wal", "chats-now.db"}
    assert {stat.S_IMODE(path.stat().st_mode) for path in files} == {0o600}
    assert stat.S_IMODE(store.path.parent.stat().st_mode) == 0o700


def test_writing_after_closing_is_refused_and_not_lost_in_silence(tmp_path: Path):
    store = Store.open(tmp_path / "chats.db")
    store.close()
    with pytest.raises(StoreError, match="closed"):
        store.save_draft("chat", "text").result()


def test_a_thousand_chats_are_listed(store: Store):
    chats = [(f"{i:032x}", f"chat {i}", float(i), float(i)) for i in range(1000)]
    nodes = [
        (f"{i:032x}-{j}", f"{i:032x}", None if j == 0 else f"{i:032x}-0")
        for i in range(1000)
        for j in range(5)
    ]

    def fill(connection: sqlite3.Connection) -> None:
        connection.executemany("INSERT INTO chats (id, title, created, updated) VALUES (?, ?, ?, ?)", chats)
        connection.executemany(
            "INSERT INTO nodes (id, chat, parent, role, text, status, created)"
            " VALUES (?, ?, ?, 'user', 'hi', 'complete', 0)",
            nodes,
        )

    store._writer.submit(fill).result()
    listed = store.chats()
    assert [chat.title for chat in listed] == [f"chat {i}" for i in reversed(range(1000))]
    assert {chat.n_messages for chat in listed} == {4}
