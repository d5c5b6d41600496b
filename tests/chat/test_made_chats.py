"""What makes a chat (a fork, an import, a state that is opened) is a step of undo like any other."""

from __future__ import annotations

from typing import TYPE_CHECKING

from chatrwkv.chat.export import to_json
from tests.chat.conftest import ended, said, what

if TYPE_CHECKING:
    from pathlib import Path

    from chatrwkv.chat.session import ChatSession
    from tests.chat.conftest import Desk


def talked(desk: Desk, *texts: str) -> ChatSession:
    chat = desk.workspace.new_chat()
    for text in texts or ("one",):
        said(chat, text)
    return chat


def listed(desk: Desk) -> set[str]:
    return {chat.id for chat in desk.workspace.chats()}


def test_undo_in_a_fresh_fork_takes_it_away_and_redo_brings_it_back_after_a_restart(desk: Desk):
    chat = talked(desk)
    fork = desk.workspace.open_chat(chat.fork())
    step = fork.undo()
    assert step is not None
    assert (step.label, step.chat_id, step.chats) == ("fork", chat.id, (fork.id,))
    assert listed(desk) == {chat.id}
    chat = desk.again().load().workspace.open_chat(chat.id)
    step = chat.redo()
    assert step is not None
    assert (step.label, step.chats) == ("fork", (fork.id,))
    assert listed(desk) == {chat.id, fork.id}
    back = desk.workspace.open_chat(fork.id)
    assert [node.text for node in back.path()] == [node.text for node in chat.path()]
    before = desk.n_scanned
    ended(back.retry()[0])
    assert desk.n_scanned == before, "its states came back with it"


def test_undo_in_the_old_chat_takes_a_fork_away_too(desk: Desk):
    chat = talked(desk)
    fork = chat.fork()
    assert [what(chat.undo()) for _ in range(3)] == ["fork", "send", ""]
    assert listed(desk) == {chat.id}
    assert [what(chat.redo()) for _ in range(3)] == ["send", "fork", ""]
    assert listed(desk) == {chat.id, fork}


def test_a_fork_that_was_written_in_stays_until_all_in_it_is_undone(desk: Desk):
    chat = talked(desk)
    fork = desk.workspace.open_chat(chat.fork())
    said(fork, "two")
    assert what(chat.undo()) == "send"
    assert what(chat.redo()) == "send"
    assert [what(fork.undo()) for _ in range(3)] == ["send", "fork", ""]
    assert listed(desk) == {chat.id}
    assert what(chat.redo()) == "fork"
    assert what(desk.workspace.open_chat(fork.id).redo()) == "send"
    assert listed(desk) == {chat.id, fork.id}


def test_a_fork_costs_no_step_of_redo(desk: Desk):
    """Going back, forking there and coming forth again is what undo is for."""
    chat = talked(desk, "one", "two", "three")
    chat.undo(), chat.undo()
    desk.workspace.open_chat(chat.fork())
    assert [what(chat.redo()) for _ in range(3)] == ["send", "send", ""]
    assert [what(chat.undo()) for _ in range(4)] == ["send", "send", "fork", "send"]
    assert [what(chat.redo()) for _ in range(4)] == ["send", "fork", "send", "send"]


def test_a_fork_taken_away_from_inside_is_done_again_first(desk: Desk):
    chat = talked(desk)
    fork = desk.workspace.open_chat(chat.fork())
    said(chat, "two")
    chat.undo()
    fork.undo()
    assert [what(chat.redo()) for _ in range(3)] == ["fork", "send", ""]


def test_a_change_after_undo_is_the_end_of_a_fork_that_was_taken_away(desk: Desk):
    chat = talked(desk)
    fork = chat.fork()
    chat.undo()
    said(chat, "two")
    assert chat.redo() is None
    assert desk.workspace.restore_chat() == fork, "nothing is lost all the same"


def test_a_fork_deleted_or_erased_by_hand_is_passed_over(desk: Desk):
    chat = talked(desk)
    deleted, erased = chat.fork(), chat.fork()
    desk.workspace.delete_chat(deleted)
    assert what(chat.undo()) == "fork"
    assert listed(desk) == {chat.id}
    desk.workspace.purge()
    assert chat.redo() is None
    assert what(chat.undo()) == "send"
    assert not {deleted, erased} & {summary.id for summary in desk.workspace.chats(deleted=True)}


def test_a_fork_of_a_fork_is_undone_chat_by_chat(desk: Desk):
    chat = talked(desk)
    middle = desk.workspace.open_chat(chat.fork())
    last = desk.workspace.open_chat(middle.fork())
    assert (what(last.undo()), listed(desk)) == ("fork", {chat.id, middle.id})
    assert (what(middle.undo()), listed(desk)) == ("fork", {chat.id})
    assert (what(chat.redo()), what(middle.redo())) == ("fork", "fork")
    assert listed(desk) == {chat.id, middle.id, last.id}


def test_an_import_is_undone_as_a_whole(desk: Desk, tmp_path: Path):
    chat = talked(desk)
    file = tmp_path / "chats.json"
    file.write_text(to_json(chat.conversation), encoding="utf-8")
    made = desk.workspace.import_file(file, undo_in=chat.id)
    step = desk.workspace.open_chat(made[0]).undo()
    assert step is not None
    assert (step.label, step.chats) == ("import", tuple(made))
    assert listed(desk) == {chat.id}
    assert what(chat.redo()) == "import"
    assert listed(desk) == {chat.id, *made}


def test_a_state_that_was_opened_is_undone(desk: Desk, tmp_path: Path):
    chat = talked(desk)
    file = tmp_path / "chat.rwkvstate"
    chat.save_state(file).result(20)
    opened = desk.workspace.load_state(file, undo_in=chat.id)
    assert what(opened.undo()) == "open a state"
    assert listed(desk) == {chat.id}
    assert what(chat.redo()) == "open a state"
    before = desk.n_scanned
    ended(desk.workspace.open_chat(opened.id).continue_reply())
    assert desk.n_scanned == before
