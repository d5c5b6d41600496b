"""What chats begin with is read once for a model: personas, and documents."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tests.chat.conftest import ended, said
from tests.fakes import FakeModel

if TYPE_CHECKING:
    from collections.abc import Callable

    from chatrwkv.chat.session import ChatSession
    from tests.chat.conftest import Desk

PERSONA = "You are a lighthouse keeper who speaks of nothing but fog. " * 85  # 5,000 tokens of one byte


def persona_chat(desk: Desk, system: str = PERSONA) -> ChatSession:
    session = desk.workspace.new_chat()
    session.set_template("g1-chat")
    session.set_system(system)
    return session


def n_read(desk: Desk, session: ChatSession, text: str = "hello") -> int:
    """Tokens prefilled for the reply to `text`."""
    node = said(session, text)
    desk.workspace._vault.flush()
    assert node.meta
    assert node.meta.stats
    return node.meta.stats.prompt_tokens


def test_a_long_persona_is_read_once_for_all_chats(desk: Desk):
    assert n_read(desk, persona_chat(desk)) > 5_000
    assert n_read(desk, persona_chat(desk), "another question") < 64
    assert n_read(desk, persona_chat(desk), "and one more") < 64


def test_a_persona_starts_with_nothing_to_read_after_a_restart(desk: Desk):
    n_read(desk, persona_chat(desk))
    again = desk.again().load()
    assert n_read(again, persona_chat(again), "another question") < 64


def test_one_changed_letter_of_a_persona_is_another_persona(desk: Desk):
    n_read(desk, persona_chat(desk))
    assert n_read(desk, persona_chat(desk, PERSONA.replace("fog", "dog", 1)), "hello") > 5_000


def test_another_model_reads_the_persona_itself(make_desk: Callable[..., Desk]):
    desk = make_desk(model=FakeModel("one"))
    n_read(desk, persona_chat(desk))
    other = desk.again(FakeModel("two")).load()
    assert n_read(other, persona_chat(other)) > 5_000


def test_a_reply_after_a_kept_persona_is_the_one_without_it(desk: Desk, make_desk: Callable[..., Desk]):
    n_read(desk, persona_chat(desk), "something else")
    known = said(persona_chat(desk), "the question")
    fresh = make_desk("fresh")
    assert said(persona_chat(fresh), "the question").text == known.text


def test_the_state_of_a_persona_is_not_swept_while_a_chat_begins_with_it(desk: Desk):
    n_read(desk, persona_chat(desk))
    desk.workspace._vault.flush()
    files = {path.name for path in desk.workspace.paths.states.iterdir()}
    desk.workspace._store.flush()
    assert files <= set(desk.workspace._store.linked_places())


def test_several_first_replies_share_the_reading_of_a_persona(desk: Desk):
    session = persona_chat(desk)
    session.send("hello").stop()
    for reply in session.replies:
        ended(reply)
    before = desk.n_scanned
    for reply in session.retry(n=3):
        ended(reply)
    assert desk.n_scanned - before < 5_000 + 200
