"""Two programs on one database: nothing is lost, a stale view is loaded again, the second one is told."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from chatrwkv.chat.changes import Changes
from chatrwkv.chat.locks import ChatLocks
from chatrwkv.chat.store import Store
from chatrwkv.chat.tree import Conversation, NodeStatus, Role, new_node
from tests.chat.conftest import said

if TYPE_CHECKING:
    from tests.chat.conftest import Desk

ROOT = Path(__file__).parents[2]
N = 300


def start(module: str, *args: object) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", f"tests.chat.processes.{module}", *map(str, args)],
        cwd=ROOT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )


def test_two_processes_commit_three_hundred_times_each(tmp_path: Path):
    """Without a busy timeout 300 of 600 writes were lost (measured); with stale views, more."""
    path = tmp_path / "chats.db"
    store = Store.open(path)
    chat = Conversation.start("shared")
    store.create_chat(chat).result()
    running = [start("committer", path, chat.id, name, N) for name in ("a", "b")]
    for process in running:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
    for process in running:
        assert process.stdin is not None
        process.stdin.write("go\n")
        process.stdin.flush()
    outputs = [process.communicate(timeout=60)[0] for process in running]
    assert outputs == ["done\n", "done\n"]
    loaded, revision = store.load(chat.id)
    texts = {node.text for node in loaded.nodes.values()}
    assert texts == {""} | {f"{name} {i}" for name in "ab" for i in range(N)}
    assert not loaded.problems()
    assert revision == 2 * N
    assert not store.integrity()
    store.close()


def test_a_window_that_another_one_made_stale_loses_nothing(desk: Desk):
    """textgen#5837: A keeps a chat open, B adds five messages, A sends."""
    chat = desk.workspace.new_chat()
    said(chat, "one")
    other = Store.open(desk.root / "data" / "chats.db")
    elsewhere = Changes(other, chat.id)
    for i in range(5):
        node = new_node(elsewhere.view.head, Role.USER, f"from B {i}")
        elsewhere.add("send", [node], head=node.id)
    said(chat, "from A")
    assert len(chat.conversation.nodes) == 1 + 2 + 5 + 2
    assert [node.text for node in chat.path()][::2] == ["one", "from A"], "A goes on where it was"
    assert not chat.conversation.problems()
    elsewhere.refresh()
    assert set(elsewhere.view.nodes) == set(chat.conversation.nodes)
    other.close()


def test_a_message_below_one_that_was_deleted_elsewhere_goes_where_its_path_still_is(desk: Desk):
    chat = desk.workspace.new_chat()
    first = said(chat, "one")
    said(chat, "two")
    other = Store.open(desk.root / "data" / "chats.db")
    elsewhere = Changes(other, chat.id)
    elsewhere.hide("delete branch", chat.path()[2].id)
    said(chat, "three")
    assert [node.text for node in chat.path()] == ["one", first.text, "three", chat.path()[-1].text]
    other.close()


def test_the_second_window_of_a_chat_is_told_and_does_not_stop_the_first_ones_reply(
    tmp_path: Path, desk: Desk
):
    chat = desk.workspace.new_chat()
    reply = new_node(chat.head, Role.ASSISTANT, " so far", status=NodeStatus.STREAMING)
    chat._changes.add("send", [reply], head=reply.id)
    taker = (
        "import sys; from pathlib import Path; from chatrwkv.chat.locks import ChatLocks\n"
        "locks = ChatLocks(Path(sys.argv[1])); print(locks.take(sys.argv[2]), locks.take('f' * 32))"
    )
    lock_file = desk.root / "state" / "chats.lock"
    asked = [sys.executable, "-c", taker, str(lock_file), chat.id]
    held = subprocess.run(asked, cwd=ROOT, capture_output=True, text=True, check=True)
    assert held.stdout == "False True\n"
    desk.workspace.close_chat(chat.id)
    free = subprocess.run(asked, cwd=ROOT, capture_output=True, text=True, check=True)
    assert free.stdout == "True True\n"


def test_a_chat_taken_twice_in_one_process_is_given_back_twice(tmp_path: Path):
    locks = ChatLocks(tmp_path / "lock")
    assert locks.take("0" * 32)
    assert locks.take("0" * 32)
    locks.give("0" * 32)
    locks.give("0" * 32)
    assert locks.take("0" * 32)
    locks.close()
