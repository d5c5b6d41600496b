"""A session over the fake model, whose words depend on every token it has read: what is fed, kept and shown."""

from __future__ import annotations

import gc
from dataclasses import replace
from random import Random
from types import SimpleNamespace
from typing import TYPE_CHECKING

import pytest

from chatrwkv.chat.replies import Mark
from chatrwkv.chat.tree import NodeStatus, Role
from chatrwkv.engine import SamplingParams, State
from chatrwkv.errors import GenerationError
from tests.chat.conftest import ended, said, what
from tests.fakes import FakeModel, Gate, ScriptedModel, wait_until

if TYPE_CHECKING:
    from collections.abc import Callable

    from chatrwkv.chat.session import ChatSession
    from tests.chat.conftest import Desk


def test_a_message_and_its_reply_become_two_nodes(desk: Desk):
    chat = desk.workspace.new_chat()
    reply = chat.send("hello there\nsecond line")
    view = ended(reply)
    user, answer = chat.path()
    assert (user.role, user.text) == (Role.USER, "hello there\nsecond line")
    assert (answer.role, answer.text, answer.status) == (Role.ASSISTANT, view.text, NodeStatus.STOPPED)
    assert len(view.text) == 12
    assert view.reason == "length"
    assert chat.title == "hello there"
    assert answer.meta is not None
    assert (answer.meta.model, answer.meta.seed, answer.meta.template) == ("fake", 7, "g1-chat")
    assert answer.meta.stats is not None
    assert answer.meta.stats.reply_tokens == answer.meta.n_drawn == 12


def test_a_reply_that_is_over_lets_go_of_its_state_without_the_garbage_collector(desk: Desk):
    """Each state of a 1.5B model weighs 13 MB: a few hundred waited for a collection, beside the budget."""
    chat = desk.workspace.new_chat()
    said(chat, "one")
    chat.vault.set_budget(0)
    chat.vault.flush()
    gc.collect()
    gc.disable()
    try:
        before = _n_states()
        for _ in range(5):
            ended(chat.retry()[0])
        chat.vault.flush()
        assert _n_states() <= before + 1, "the newest is held by the vault"
    finally:
        gc.enable()


def _n_states() -> int:
    return sum(type(found) is State for found in gc.get_objects())


def test_what_is_fed_is_the_template_byte_for_byte(desk: Desk):
    chat = desk.workspace.new_chat(system="be kind")
    first, second = said(chat, "one"), said(chat, "two")
    ids = [id_ for node in chat.conversation.path() for tokens in node.tokens.values() for id_ in tokens]
    text = bytes(token_id - 1 for token_id in ids).decode()
    assert text == (
        f"System: be kind\n\nUser: one\n\nAssistant:{first.text}\n\nUser: two\n\nAssistant:{second.text}"
    )


def test_the_second_message_prefills_only_itself(desk: Desk):
    chat = desk.workspace.new_chat()
    said(chat, "one")
    before = desk.n_scanned
    said(chat, "two")
    assert desk.n_scanned - before == len("\n\nUser: two\n\nAssistant:")


def test_a_chat_says_the_same_as_one_run_over_all_its_text(desk: Desk, make_desk: Callable[..., Desk]):
    """Any token lost, doubled or leaked between turns changes every later word of the fake model."""
    chat = desk.workspace.new_chat()
    for text in ("one", "two", "three"):
        said(chat, text)
    other = make_desk("other")
    again = other.workspace.import_chat(chat.conversation)
    [reply] = again.retry(params=[chat.params])
    ended(reply)
    n_read = _n_read(chat) - len(chat.path()[-1].text)
    assert other.n_scanned == n_read, "nothing was cached there: all of it was read at once"
    assert again.path()[-1].text == chat.path()[-1].text


def test_retry_makes_siblings_and_prefills_nothing(desk: Desk):
    chat = desk.workspace.new_chat()
    first = said(chat, "one")
    before = desk.n_scanned
    replies = chat.retry(n=3)
    for reply in replies:
        ended(reply)
    assert desk.n_scanned == before
    siblings = chat.conversation.siblings(first.id)
    assert siblings == (first.id, *(reply.node_id for reply in replies))
    texts = [chat.node(node_id).text for node_id in siblings]
    assert len(set(texts)) == 4, "each sibling has a seed of its own"
    assert chat.head == replies[0].node_id


def test_several_replies_may_have_their_own_sampling(desk: Desk):
    chat = desk.workspace.new_chat()
    said(chat, "one")
    wanted = [SamplingParams(max_tokens=n, seed=n) for n in (3, 5)]
    replies = chat.retry(params=wanted)
    assert [len(ended(reply).text) for reply in replies] == [3, 5]
    assert [chat.node(reply.node_id).meta.params for reply in replies] == wanted  # type: ignore[union-attr] # a reply has one


def test_another_thinking_mode_prefills_only_the_last_message(desk: Desk):
    chat = desk.workspace.new_chat()
    said(chat, "one")
    said(chat, "two")
    before = desk.n_scanned
    [reply] = chat.retry(thinking="think")
    view = ended(reply)
    assert desk.n_scanned - before == len("\n\nUser: two\n\nAssistant: <think")
    assert view.parts[0].kind == "think"


def test_tokens_that_came_in_a_handful_are_no_speed(
    make_desk: Callable[..., Desk], monkeypatch: pytest.MonkeyPatch
):
    """Five tokens taken within microseconds once showed as 24,348 tok/s."""
    now = 0.0
    monkeypatch.setattr("chatrwkv.chat.replies.time", SimpleNamespace(monotonic=lambda: now))
    gate = Gate()
    desk = make_desk("handful", model=FakeModel(before=gate))
    reply = desk.workspace.new_chat().send("one")
    gate.allow(1 + 5)
    while reply.poll().n_tokens < 5:
        now += 1e-6
    assert reply.view.tok_s == 0
    now += 2
    gate.allow(2)
    wait_until(lambda: reply.poll().tok_s > 0)
    assert reply.view.tok_s < 5
    gate.open()
    ended(reply)


def test_a_stopped_reply_goes_on_with_nothing_prefilled(make_desk: Callable[..., Desk]):
    """Stopping and going on must give the very text that an uninterrupted reply has."""
    whole = make_desk("whole")
    full = said(whole.workspace.new_chat(), "one")
    gate = Gate()
    desk = make_desk("stopped", model=FakeModel(before=gate))
    chat = desk.workspace.new_chat()
    reply = chat.send("one")
    gate.allow(1 + 5)
    wait_until(lambda: reply.poll().n_tokens >= 5)
    chat.stop()
    gate.open()
    stopped = ended(reply)
    assert stopped.reason == "cancelled"
    assert 5 <= len(stopped.text) < 12
    assert full.text.startswith(stopped.text)
    before = desk.n_scanned
    chat.set_params(replace(chat.params, max_tokens=12 - len(stopped.text)))
    going = chat.continue_reply()
    assert going.node_id == reply.node_id
    assert going.view.text == stopped.text
    assert ended(going).text == full.text == chat.path()[-1].text
    assert desk.n_scanned == before
    assert chat.node(reply.node_id).tokens.items() >= full.tokens.items(), "the same ids, in one piece"


def test_a_reply_with_messages_below_goes_on_in_a_copy(desk: Desk):
    """Text that later messages answer must not change under them."""
    chat = desk.workspace.new_chat()
    first = said(chat, "one")
    second = said(chat, "two")
    reply = chat.continue_reply(first.id)
    view = ended(reply)
    assert reply.node_id != first.id
    assert view.text.startswith(first.text)
    assert len(view.text) == 24
    assert chat.node(first.id) == first
    assert second.id in chat.conversation.nodes
    assert chat.path()[-1].id == reply.node_id


def test_editing_a_message_makes_a_branch_with_a_new_reply(desk: Desk):
    """chat-with-gpt#111: editing deleted the whole response branch."""
    chat = desk.workspace.new_chat()
    said(chat, "one")
    old = said(chat, "two")
    user = chat.path()[-2]
    reply = chat.edit(user.id, "deux")
    assert reply is not None
    ended(reply)
    assert [node.text for node in chat.path()][2] == "deux"
    edited = chat.path()[2]
    assert chat.conversation.siblings(user.id) == (user.id, edited.id)
    chat.step_sibling(edited.id, -1)
    assert chat.path()[-1] == old


def test_an_edited_reply_changes_what_the_model_has_read(desk: Desk, make_desk: Callable[..., Desk]):
    """After an edit in place the old state must never be used: the words would answer a text that is gone."""
    chat = desk.workspace.new_chat()
    first = said(chat, "one")
    assert chat.edit(first.id, "something else") is None
    before = desk.n_scanned
    after = said(chat, "two")
    # The message before it was not touched, so its state serves; the new text and all after it are read.
    assert desk.n_scanned - before == len("something else") + len("\n\nUser: two\n\nAssistant:")
    assert chat.node(first.id).text == "something else"
    other = make_desk("other")
    fresh = other.workspace.import_chat(chat.conversation)
    [reply] = fresh.retry(params=[chat.params])
    assert ended(reply).text == after.text
    assert what(chat.undo()) == "send"
    assert what(chat.undo()) == "edit in place"
    restored = chat.node(first.id)
    assert (restored.text, restored.status, restored.meta) == (first.text, first.status, first.meta)
    before = desk.n_scanned
    said(chat, "two")
    assert desk.n_scanned - before == len("\n\nUser: two\n\nAssistant:"), "the old state is right again"


def test_an_edit_keeps_the_space_between_role_and_reply(make_desk: Callable[..., Desk]):
    desk = make_desk(model=ScriptedModel(" A reply."))
    chat = desk.workspace.new_chat()
    first = said(chat, "one")
    assert first.text == " A reply."
    chat.edit(first.id, "Another.")
    assert chat.node(first.id).text == " Another."


def test_a_fork_is_a_new_chat_that_prefills_nothing_and_leaves_the_old_one_alone(desk: Desk):
    chat = desk.workspace.new_chat()
    first = said(chat, "one")
    said(chat, "two")
    before_view, before = chat.conversation, desk.n_scanned
    forked = desk.workspace.open_chat(chat.fork(first.id))
    assert [node.text for node in forked.path()] == ["one", first.text]
    other = said(forked, "drei")
    assert desk.n_scanned - before == len("\n\nUser: drei\n\nAssistant:")
    assert chat.conversation is before_view
    assert other.id not in chat.conversation.nodes
    assert len(desk.workspace.chats()) == 2


def test_a_hundred_forks_leave_the_parents_mind_as_it_was(desk: Desk):
    """LLamaSharp shared the logits of forks, and penalties of one changed the others."""
    chat = desk.workspace.new_chat()
    said(chat, "one")
    node = chat.path()[-1]
    snapshot = next(s for s in chat.vault._ram.values() if s.n_tokens == _n_read(chat))
    digest, logits = snapshot.state.digest(), snapshot.logits.clone()
    chat.retry(n=100)
    texts = [ended(reply).text for reply in chat.replies]
    assert len(texts) == 100
    assert snapshot.state.digest() == digest
    assert bool((snapshot.logits == logits).all())
    forks = [chat.node(sibling) for sibling in chat.conversation.siblings(node.id)]
    for fork in Random(7).sample(forks, len(forks)):
        assert fork.meta is not None
        [alone] = chat.retry(node.id, params=[fork.meta.params])
        assert ended(alone).text == fork.text


def _n_read(chat: ChatSession) -> int:
    return sum(len(ids) for node in chat.conversation.path() for ids in node.tokens.values())


def test_deleting_a_branch_is_undone_byte_for_byte(desk: Desk):
    from chatrwkv.chat.document import to_document

    chat = desk.workspace.new_chat()
    said(chat, "one")
    said(chat, "two")
    said(chat, "three")
    before = to_document(chat.conversation)
    middle = chat.path()[2]
    chat.delete(middle.id)
    assert len(chat.path()) == 2
    assert what(chat.undo()) == "delete branch"
    assert to_document(chat.conversation) == before
    assert what(chat.redo()) == "delete branch"
    assert len(chat.path()) == 2


def test_deleting_what_is_being_written_stops_it_first(make_desk: Callable[..., Desk]):
    gate = Gate()
    desk = make_desk(model=FakeModel(before=gate))
    chat = desk.workspace.new_chat()
    reply = chat.send("one")
    gate.allow(4)
    wait_until(lambda: reply.poll().n_tokens >= 2)
    gate.open()
    chat.delete(chat.path()[0].id)
    assert chat.path() == []
    assert not chat.replies
    assert what(chat.undo()) == "delete branch"
    assert chat.path()[-1].status is NodeStatus.STOPPED
    assert chat.path()[-1].text


def test_a_message_below_a_running_reply_is_refused(make_desk: Callable[..., Desk]):
    gate = Gate()
    desk = make_desk(model=FakeModel(before=gate))
    chat = desk.workspace.new_chat()
    reply = chat.send("one")
    with pytest.raises(GenerationError, match="still being written"):
        chat.send("two")
    with pytest.raises(GenerationError, match="still being written"):
        chat.edit(reply.node_id, "x")
    gate.open()
    ended(reply)
    said(chat, "two")


def test_two_branches_may_stream_at_once(make_desk: Callable[..., Desk]):
    """Two streams, no interleaved text, both saved."""
    gate = Gate()
    desk = make_desk(model=FakeModel(before=gate))
    chat = desk.workspace.new_chat()
    first = chat.send("one")
    second = chat.edit(chat.path()[0].id, "two")
    assert second is not None
    gate.open()
    texts = [ended(first).text, ended(second).text]
    alone = make_desk("alone").workspace.new_chat()
    assert said(alone, "one").text == texts[0]
    assert said(alone, "x") is not None
    assert [chat.node(r.node_id).text for r in (first, second)] == texts


def test_parts_arrive_piece_by_piece_for_any_number_of_readers(desk: Desk):
    chat = desk.workspace.new_chat()
    reply = chat.send("one")
    mark, pieces = Mark(), []
    while True:
        view = reply.poll()
        fresh, mark = view.since(mark)
        pieces += fresh
        if not view.is_running:
            break
        reply.job.done.wait(0.001)
    assert "".join(part.text for part in pieces) == "".join(part.text for part in view.parts)
    assert view.since(mark)[0] == []
    assert view.since(Mark())[0] == list(view.parts)
