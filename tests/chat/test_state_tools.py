"""States against their text: found, checked, read again, compared, and asked what they still know."""

from __future__ import annotations

from itertools import count
from typing import TYPE_CHECKING, Any

import pytest
import torch

from chatrwkv.chat import state_tools
from chatrwkv.chat.vault import key_of
from chatrwkv.engine import Snapshot, State
from chatrwkv.errors import GenerationError
from tests.chat.conftest import WAIT_S, said
from tests.fakes import FakeModel

if TYPE_CHECKING:
    from collections.abc import Callable

    from chatrwkv.chat.session import ChatSession
    from tests.chat.conftest import Desk


def talked(desk: Desk) -> ChatSession:
    session = desk.workspace.new_chat()
    said(session, "hello")
    said(session, "and again")
    desk.workspace._vault.flush()
    return session


def done(desk: Desk, task: Any) -> Any:
    return desk.engine.call(task).result(WAIT_S)


def spoilt(desk: Desk, session: ChatSession) -> Snapshot:
    """The state of the head with other numbers in it, as a mistake of ours would leave it."""
    vault = session.vault
    at = done(desk, state_tools.whereabouts(session.plan(), vault))
    assert desk.workspace.model is not None
    kept = vault.get(desk.workspace.model.fingerprint, at.chain)
    assert kept is not None
    tensors = {name: tensor + 1 for name, tensor in kept.state.tensors.items()}
    wrong = Snapshot(
        State(tensors), torch.zeros_like(kept.logits), kept.n_tokens, kept.chain, kept.fingerprint
    )
    vault.renew(wrong)
    vault.flush()
    return wrong


def test_the_state_of_a_message_is_found_where_it_is(desk: Desk):
    session = talked(desk)
    at = done(desk, state_tools.whereabouts(session.plan(), session.vault))
    assert at.n_unread == 0
    assert at.n_tokens == session.n_tokens()
    assert at.placed.in_memory
    assert at.placed.disk_bytes > 0
    assert not at.placed.is_pinned


def test_a_good_state_is_verified_without_a_change(desk: Desk):
    session = talked(desk)
    found = done(desk, state_tools.verify(session.plan(), session.vault))
    assert found.is_good
    assert found.distance.max_difference == 0
    assert found.n_tokens == session.n_tokens()


def test_a_state_that_does_not_follow_from_its_text_is_seen(desk: Desk):
    session = talked(desk)
    wrong = spoilt(desk, session)
    found = done(desk, state_tools.verify(session.plan(), session.vault))
    assert not found.is_good
    assert found.distance.max_difference == 1
    assert session.vault.get(wrong.fingerprint, wrong.chain) is not None, "verifying changes nothing"


def test_refreshing_repairs_a_state_in_memory_and_on_disk(desk: Desk):
    session = talked(desk)
    spoilt(desk, session)
    found = done(desk, state_tools.refresh(session.plan(), session.vault, session.renew_state))
    assert found.n_tokens == session.n_tokens()
    assert found.n_states >= 2
    assert done(desk, state_tools.verify(session.plan(), session.vault)).is_good
    session.vault.flush()
    session.vault.set_budget(0)
    session.vault.set_budget(10**9)
    assert done(desk, state_tools.verify(session.plan(), session.vault)).is_good


def test_a_refresh_that_is_stopped_changes_nothing(desk: Desk):
    session = talked(desk)
    wrong = spoilt(desk, session)
    asked = count()

    def task(loaded: Any, _cancelled: object, progress: Any) -> Any:
        return state_tools.refresh(session.plan(), session.vault, session.renew_state)(
            loaded, lambda: next(asked) > 0, progress
        )

    with pytest.raises(GenerationError, match="stopped"):
        done(desk, task)
    kept = session.vault.get(wrong.fingerprint, wrong.chain)
    assert kept is not None
    assert kept.state.digest() == wrong.state.digest()


def test_nothing_kept_is_nothing_to_verify(desk: Desk):
    session = desk.workspace.new_chat(system="You are terse.")
    assert done(desk, state_tools.verify(session.plan(), session.vault)).distance is None


def test_two_states_of_one_path_name_the_tokens_between_them(desk: Desk):
    session = talked(desk)
    first = session.path()[1]
    found = done(desk, state_tools.compare(session.plan(first.id), session.plan(), session.vault))
    assert found.difference.distance.max_difference > 0
    assert 0 < len(found.moved) <= 10
    shares = [share for _, share in found.moved]
    assert shares == sorted(shares, reverse=True)


def test_a_state_differs_from_itself_by_exactly_nothing(desk: Desk):
    session = talked(desk)
    found = done(desk, state_tools.compare(session.plan(), session.plan(), session.vault))
    assert found.difference.distance.max_difference == 0
    assert found.difference.distance.kl == 0
    assert found.difference.cosine == 1
    assert not found.moved


def test_recall_tells_of_every_message_asked_for(desk: Desk):
    session = talked(desk)
    wanted = [node.id for node in session.path()]
    found = done(desk, state_tools.recall(session.plan(), wanted, session.vault))
    assert [each.node_id for each in found] == wanted
    assert all(each.n_tokens > 1 for each in found)


def test_a_pinned_state_is_pinned_after_a_restart(desk: Desk):
    session = talked(desk)
    at = done(desk, state_tools.whereabouts(session.plan(), session.vault))
    assert desk.workspace.model is not None
    fingerprint = desk.workspace.model.fingerprint
    desk.workspace.pin_state(fingerprint, at.chain, is_pinned=True)
    again = desk.again()
    assert key_of(fingerprint, at.chain) in again.workspace._vault.pinned
    again.workspace.pin_state(fingerprint, at.chain, is_pinned=False)
    assert not again.again().workspace._vault.pinned


class Fading(FakeModel):
    """Knows the last 16 ids that it has read, expects them again, and nothing of what was before."""

    def initial(self) -> bytes:
        return bytes(32)

    def read(self, memory: bytes, token_id: int) -> bytes:
        return memory[2:] + token_id.to_bytes(2, "little")

    def scores(self, memory: bytes) -> dict[int, float]:
        known = {int.from_bytes(memory[at : at + 2], "little") for at in range(0, 32, 2)}
        return {token_id: 6.0 if token_id in known else 0.0 for token_id in range(1, 257)}


def test_what_was_said_last_is_recalled_better_than_what_faded(make_desk: Callable[..., Desk]):
    desk = make_desk(model=Fading())
    session = desk.workspace.new_chat()
    for text in ("zzzzzzzz", "qqqqqqqq"):
        said(session, text)
    wanted = [node.id for node in session.path()]
    found = done(desk, state_tools.recall(session.plan(), wanted, session.vault))
    assert found[-1].nats > found[0].nats
    assert found[-1].nats > 0
