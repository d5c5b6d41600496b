"""Replay: an untouched chat comes out the same to the last token; anything else is named."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest

from chatrwkv.chat.replay import Replayed, replaying
from chatrwkv.chat.tree import NodeStatus
from tests.chat.conftest import WAIT_S, ended, said
from tests.fakes import FakeModel

if TYPE_CHECKING:
    from collections.abc import Callable

    from chatrwkv.chat.session import ChatSession
    from tests.chat.conftest import Desk


@pytest.fixture
def desk(make_desk: Callable[..., Desk]) -> Desk:
    return make_desk(model=FakeModel(end_rate=6), sampling={"max_tokens": 40})


def replayed(desk: Desk, session: ChatSession) -> Replayed:
    templates = session._around.templates
    task = replaying(session.conversation, templates, session.vault)
    return desk.engine.call(task).result(WAIT_S)


def clean(found: Replayed, n_replies: int) -> None:
    assert found.difference is None
    assert found.n_tokens > 0
    assert {why for _, why in found.skipped} <= {"it is empty"}, "a model may end before it has begun"
    assert found.n_replies + len(found.skipped) == n_replies


def test_an_untouched_chat_has_no_difference(desk: Desk):
    session = desk.workspace.new_chat()
    for text in ("one", "two", "three"):
        said(session, text)
    for reply in session.retry(n=3):
        ended(reply)
    clean(replayed(desk, session), 6)


def test_nor_has_it_after_a_restart_and_without_any_kept_state(desk: Desk):
    session = desk.workspace.new_chat()
    said(session, "one")
    said(session, "two")
    chat = session.id
    again = desk.again().load()
    for path in again.workspace.paths.states.iterdir():
        path.unlink()
    clean(replayed(again, again.workspace.open_chat(chat)), 2)


def test_a_stopped_reply_that_went_on_is_drawn_in_one_go(make_desk: Callable[..., Desk]):
    desk = make_desk(sampling={"max_tokens": 10})
    session = desk.workspace.new_chat()
    said(session, "one")
    ended(session.continue_reply())
    clean(replayed(desk, session), 1)


def test_a_reply_that_was_at_its_end_and_went_on_is_drawn_in_two_runs(desk: Desk):
    session = desk.workspace.new_chat()
    for number in range(20):
        node = said(session, f"question {number}")
        if node.status is NodeStatus.COMPLETE and node.text.strip():
            break
    ended(session.continue_reply())
    meta = session.node(session.head).meta
    assert meta
    assert meta.resumed
    found = replayed(desk, session)
    assert found.difference is None
    assert found.n_replies + len(found.skipped) == number + 1


@pytest.mark.parametrize("settings", [{}, {"cfg": 2.0}, {"mirostat": 2.5}, {"cfg": 1.5, "mirostat": 3.0}])
def test_guidance_and_mirostat_are_drawn_again_over_several_runs(
    make_desk: Callable[..., Desk], settings: dict[str, Any]
):
    desk = make_desk(model=FakeModel(end_rate=6), sampling={"max_tokens": 40, "top_p": 1.0} | settings)
    session = desk.workspace.new_chat()
    for seed in range(3):
        session.set_params(replace(session.params, seed=seed))
        said(session, "one")
        for _ in range(2):
            ended(session.continue_reply())
    last = session.path()[-1].meta
    assert last is not None
    assert last.resumed, "a reply went on after its end"
    clean(replayed(desk, session), 3)


def test_a_token_that_a_person_chose_is_taken_as_it_is(make_desk: Callable[..., Desk]):
    desk = make_desk()
    session = desk.workspace.new_chat()
    node = said(session, "one")
    record = session.record(node.id)
    assert record is not None
    row = record.drawn(node.text)[4]
    other = next(token_id for token_id, _ in row.top if token_id != row.token_id)
    ended(session.branch_at(node.id, 4, other))
    branched = session.node(session.head)
    assert branched.meta
    assert branched.meta.chosen == (4,)
    clean(replayed(desk, session), 2)


def changed(session: ChatSession, **more: Any) -> None:
    node = session.node(session.head)
    assert node.meta
    session._changes.overlay(replace(node, meta=replace(node.meta, **more)))


def test_another_seed_is_seen_at_the_first_token_that_differs(make_desk: Callable[..., Desk]):
    desk = make_desk(sampling={"max_tokens": 12})
    session = desk.workspace.new_chat()
    said(session, "one")
    node = said(session, "two")
    assert node.meta
    assert node.meta.seed is not None
    changed(session, seed=node.meta.seed + 1)
    found = replayed(desk, session)
    assert found.difference is not None
    assert found.difference.node_id == node.id
    assert found.difference.place >= 1
    assert found.difference.was != found.difference.came
    assert found.n_replies + len(found.skipped) == 1


def test_another_model_is_named_and_not_drawn_with(make_desk: Callable[..., Desk]):
    desk = make_desk(sampling={"max_tokens": 12})
    session = desk.workspace.new_chat()
    node = said(session, "one")
    changed(session, fingerprint="0" * 64)
    found = replayed(desk, session)
    assert found.skipped == ((node.id, "it was drawn by fake"),)
    assert found.n_replies == 0


def test_an_edited_reply_is_named(make_desk: Callable[..., Desk]):
    desk = make_desk(sampling={"max_tokens": 12})
    session = desk.workspace.new_chat()
    node = said(session, "one")
    session.edit_in_place(node.id, "something else")
    ((node_id, why),) = replayed(desk, session).skipped
    assert node_id == node.id
    assert "edited" in why


def test_a_replay_changes_nothing(desk: Desk):
    session = desk.workspace.new_chat()
    said(session, "one")
    before = session.conversation
    replayed(desk, session)
    assert session.conversation is before


def test_a_branch_at_a_token_under_mirostat_is_named(make_desk: Callable[..., Desk]):
    """Nothing keeps the bound of every token, so the branch began with a fresh one."""
    desk = make_desk(sampling={"max_tokens": 12, "seed": 3, "mirostat": 2.5})
    session = desk.workspace.new_chat()
    node = said(session, "one")
    record = session.record(node.id)
    assert record is not None
    row = record.drawn(node.text)[4]
    other = next(token_id for token_id, _ in row.top if token_id != row.token_id)
    ended(session.branch_at(node.id, 4, other))
    found = replayed(desk, session)
    assert found.difference is None
    assert [why for _, why in found.skipped] == ["it branches at a token, where mirostat began anew"]
