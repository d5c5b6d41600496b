"""Documents as states: read once, asked as often as one likes."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from chatrwkv.chat.tree import Role
from chatrwkv.engine import peek_state
from chatrwkv.errors import BadValue
from tests.chat.conftest import WAIT_S, said

if TYPE_CHECKING:
    from pathlib import Path

    from tests.chat.conftest import Desk

TEXT = "The lighthouse was built in 1834 by Ada Quill.\n\nIts lamp burns whale oil.\n" * 40


@pytest.fixture
def book(tmp_path: Path) -> Path:
    path = tmp_path / "lighthouse.txt"
    path.write_text(TEXT, encoding="utf-8")
    return path


def learnt(desk: Desk, path: Path, name: str = "", *, twice: bool = False) -> Path:
    return desk.workspace.learn(path, name, twice=twice).result(WAIT_S)


def test_a_document_is_read_once_and_asked_in_any_number_of_chats(desk: Desk, book: Path):
    saved = learnt(desk, book)
    assert saved == desk.workspace.paths.saved_states / "lighthouse.rwkvstate"
    before = desk.n_scanned
    for question in ("who built it?", "what does it burn?", "when?"):
        session = desk.workspace.load_state(saved)
        node = said(session, question)
        assert node.meta
        assert node.meta.stats
        assert node.meta.stats.prompt_tokens < 64
    assert desk.n_scanned - before < 3 * 64


def test_a_document_is_there_after_a_restart_without_reading(desk: Desk, book: Path):
    saved = learnt(desk, book, "light")
    again = desk.again().load()
    session = again.workspace.load_state(saved)
    said(session, "who built it?")
    assert again.n_scanned < 64


def test_the_chat_begins_with_the_text_so_that_it_can_be_read_again(desk: Desk, book: Path):
    session = desk.workspace.load_state(learnt(desk, book))
    (node,) = session.path()
    assert node.role is Role.RAW
    assert node.text.strip() == TEXT.strip()


def test_the_file_says_what_it_was_made_of(desk: Desk, book: Path):
    info = peek_state(learnt(desk, book, "light", twice=True))
    assert info.metadata["kind"] == "document"
    assert info.metadata["source"] == "lighthouse.txt"
    assert info.metadata["readings"] == "2"
    assert info.metadata["size"] == str(book.stat().st_size)


def test_twice_feeds_the_text_twice(desk: Desk, book: Path):
    once, twice = learnt(desk, book, "once"), learnt(desk, book, "twice", twice=True)
    assert peek_state(twice).n_tokens == 2 * peek_state(once).n_tokens
    assert len(desk.workspace.load_state(twice).path()) == 2


def test_reading_that_is_stopped_leaves_no_file(desk: Desk, book: Path):
    job = desk.workspace.learn(book)
    job.cancel()
    assert job.done.wait(WAIT_S)
    assert not list(desk.workspace.paths.saved_states.glob("*"))


def test_a_name_that_is_taken_is_refused_before_reading(desk: Desk, book: Path):
    learnt(desk, book)
    before = desk.n_scanned
    with pytest.raises(BadValue, match="already"):
        learnt(desk, book)
    assert desk.n_scanned == before


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"\xff\xfe\x00bad", "UTF-8"),
        (b"", "no text"),
        (b"   \n", "no text"),
        (b"a\0b", "binary"),
        (b"x" * 1_000_001, "may have"),
    ],
)
def test_what_is_no_document_is_refused_with_the_reason(
    desk: Desk, tmp_path: Path, content: bytes, words: str
):
    path = tmp_path / "file.txt"
    path.write_bytes(content)
    with pytest.raises(BadValue, match=words):
        learnt(desk, path)


def test_a_missing_file_and_a_folder_are_refused(desk: Desk, tmp_path: Path):
    for path in (tmp_path / "none.txt", tmp_path):
        with pytest.raises(BadValue):
            learnt(desk, path)


def test_a_name_cannot_leave_the_folder_of_states(desk: Desk, book: Path):
    saved = learnt(desk, book, "../../outside")
    assert saved.parent == desk.workspace.paths.saved_states


def test_a_question_in_a_one_question_template_still_has_the_document(desk: Desk, book: Path):
    session = desk.workspace.load_state(learnt(desk, book))
    session.set_template(next(t.name for t in session._around.templates.ok.values() if not t.multi_turn))
    said(session, "who?")
    plan = session.plan()
    assert any(TEXT.strip() in part.text for part in plan.segments)
