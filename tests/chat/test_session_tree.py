"""Putting messages elsewhere: what moves is read first, what was there comes back, nothing stale is used."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from chatrwkv.chat.document import to_document
from chatrwkv.chat.plan import plan_path
from chatrwkv.chat.tree import NodeStatus, Role
from chatrwkv.errors import BadValue, GenerationError
from tests.chat.conftest import WAIT_S, ended, said, what
from tests.fakes import FakeModel, Gate

if TYPE_CHECKING:
    from collections.abc import Callable

    from chatrwkv.chat.session import ChatSession
    from tests.chat.conftest import Desk


def texts(chat: ChatSession) -> list[str]:
    return [node.text.strip() for node in chat.path()]


def whole(chat: ChatSession) -> dict[str, Any]:
    found = to_document(chat.conversation)
    return {key: value for key, value in found.items() if key not in ("head", "shown")}


def undone_and_done_again(desk: Desk, chat: ChatSession, before: dict[str, Any], label: str) -> None:
    """Also after a restart."""
    after = whole(chat)
    assert what(chat.undo()) == label
    assert whole(chat) == before
    chat = desk.again().load().workspace.open_chat(chat.id)
    assert what(chat.redo()) == label
    assert whole(chat) == after
    assert what(chat.undo()) == label
    assert whole(chat) == before


def two_branches(desk: Desk) -> ChatSession:
    """`one` with a long branch, and another reply to it that is shown."""
    chat = desk.workspace.new_chat()
    for text in ("one", "two", "three"):
        said(chat, text)
    [other] = chat.retry(chat.path()[1].id)
    ended(other)
    return chat


def test_a_moved_branch_is_read_at_its_new_place_and_then_costs_nothing(desk: Desk):
    """Textually moved and silently re-read on the next message: the wait comes when nobody expects it."""
    chat = two_branches(desk)
    one, other = chat.path()
    first = chat.conversation.children[one.id][0]
    branch = chat.conversation.children[first][0]
    before = whole(chat)
    assert branch not in [node.id for node in chat.path()]
    graft = chat.graft(branch, other.id, move=True)
    graft.job.result(WAIT_S)
    assert whole(chat) == before, "the old place stays until the reading succeeded"
    top = graft.finish()
    assert branch not in chat.conversation.nodes
    assert [node.text for node in chat.path()][:3] == ["one", other.text, "two"]
    assert len(chat.path()) == 6
    assert chat.conversation.nodes[top].parent == other.id
    assert not chat.conversation.problems()
    chat.vault.flush()
    n = desk.n_scanned
    ended(chat.retry(chat.path()[-2].id)[0])
    assert desk.n_scanned == n, "every message of the branch has its mind"
    desk.again().load()
    chat = desk.workspace.open_chat(chat.id)
    ended(chat.retry(chat.path()[2].id)[0])
    assert desk.n_scanned == 0, "and they are on disk, linked to it"


def test_a_branch_is_copied_below_itself(desk: Desk):
    chat = two_branches(desk)
    one = chat.path()[0]
    before = whole(chat)
    graft = chat.graft(one.id, chat.head)
    graft.job.result(WAIT_S)
    graft.finish()
    assert texts(chat)[0] == texts(chat)[2] == "one"
    n = len(before["nodes"]) - 1
    assert len(chat.conversation.nodes) == 2 * n + 1
    undone_and_done_again(desk, chat, before, "copy branch")


def test_moving_is_undone_and_done_again_after_a_restart(desk: Desk):
    chat = two_branches(desk)
    one, other = chat.path()
    branch = chat.conversation.children[chat.conversation.children[one.id][0]][0]
    chat.bookmark(branch, "a name")
    before = whole(chat)
    graft = chat.graft(branch, other.id, move=True)
    graft.job.result(WAIT_S)
    top = graft.finish()
    assert chat.conversation.nodes[top].name == "a name"
    undone_and_done_again(desk, chat, before, "move branch")


def test_a_move_that_is_stopped_halfway_changes_nothing(make_desk: Callable[..., Desk]):
    gate = Gate()
    gate.open()
    desk = make_desk(model=FakeModel(before=gate))
    chat = two_branches(desk)
    one, other = chat.path()
    branch = chat.conversation.children[chat.conversation.children[one.id][0]][0]
    before = whole(chat)
    gate._is_open = False
    graft = chat.graft(branch, other.id, move=True)
    gate.allow(2)
    gate.wait_until_blocked()
    graft.job.cancel()
    gate.open()
    with pytest.raises(GenerationError, match="stopped"):
        graft.job.result(WAIT_S)
    assert whole(chat) == before
    assert what(chat.undo()) == "regenerate"


def test_a_branch_stands_only_where_it_can(desk: Desk):
    chat = two_branches(desk)
    one, other = chat.path()
    for node_id, below in (
        (one.id, other.id),
        (one.id, one.id),
        (chat.conversation.root, one.id),
        (other.id, one.id),
    ):
        with pytest.raises(BadValue):
            chat.graft(node_id, below, move=True)
    graft = chat.graft(other.id, chat.conversation.root, move=True)
    graft.job.result(WAIT_S)
    chat.delete(other.id)
    with pytest.raises(BadValue, match="deleted"):
        graft.finish()


def test_two_messages_of_one_side_become_one_and_what_follows_stays(desk: Desk):
    chat = desk.workspace.new_chat()
    chat.say(Role.USER, "one")
    lower = chat.say(Role.USER, "two")
    reply = said(chat, "three")
    before = whole(chat)
    made = chat.merge(lower)
    assert [node.text for node in chat.path()] == ["one\n\ntwo", "three", reply.text]
    assert chat.conversation.nodes[made].role is Role.USER
    with pytest.raises(BadValue, match="other side"):
        chat.merge(chat.head)
    n = desk.n_scanned
    ended(chat.retry(chat.head)[0])
    assert desk.n_scanned > n, "no state of the old text is used"
    chat.undo()
    undone_and_done_again(desk, chat, before, "merge")


def test_other_versions_of_a_merged_message_stay(desk: Desk):
    chat = desk.workspace.new_chat()
    upper = chat.say(Role.USER, "one")
    lower = chat.say(Role.USER, "two")
    chat.select(upper, exactly=True)
    other = chat.say(Role.USER, "instead")
    chat.merge(lower)
    assert texts(chat) == ["one\n\ntwo"]
    assert chat.conversation.children[upper] == (other,)


def test_a_message_is_split_in_two_and_merged_again(desk: Desk):
    chat = desk.workspace.new_chat()
    said(chat, "first part. second part")
    reply = said(chat, "more")
    before = whole(chat)
    first = chat.split(chat.path()[0].id, len("first part."))
    assert texts(chat)[:2] == ["first part.", "second part"]
    assert [node.role for node in chat.path()][:3] == [Role.USER, Role.USER, Role.ASSISTANT]
    assert chat.path()[-1].text == reply.text
    with pytest.raises(BadValue, match="nothing on one side"):
        chat.split(first, 0)
    chat.merge(first)
    assert texts(chat)[0] == "first part.\n\nsecond part"
    chat.undo()
    undone_and_done_again(desk, chat, before, "split")


def test_the_second_half_of_a_reply_begins_as_replies_do(desk: Desk):
    chat = desk.workspace.new_chat()
    chat.say(Role.USER, "one")
    reply = chat.say(Role.ASSISTANT, "alpha beta")
    chat.split(reply, 6)
    assert [node.text for node in chat.path()] == ["one", " alpha", " beta"]


def test_either_side_can_be_spoken_for(desk: Desk):
    chat = desk.workspace.new_chat()
    chat.say(Role.USER, "who are you?")
    chat.say(Role.ASSISTANT, "A fox.")
    assert [(node.role, node.text) for node in chat.path()] == [
        (Role.USER, "who are you?"),
        (Role.ASSISTANT, " A fox."),
    ]
    assert chat.title == "who are you?"
    assert not chat.replies
    assert desk.n_scanned == 0
    said(chat, "really?")
    prompt = plan_path(chat.conversation.path()[:-1], chat.template).segments
    assert "".join(part.prefix + part.text for part in prompt).endswith(
        f"{chat.template.reply_prefix()} A fox.\n\nUser: really?\n\n{chat.template.reply_prefix()}"
    )
    with pytest.raises(BadValue):
        chat.say(Role.USER, " \n")


def test_the_model_writes_the_users_side_and_nothing_is_kept_of_it(desk: Desk):
    chat = desk.workspace.new_chat()
    said(chat, "one")
    before, n = chat.conversation, desk.n_scanned
    suggestion = chat.impersonate()
    assert suggestion._job is not None
    suggestion._job.done.wait(WAIT_S)
    assert suggestion.poll()
    assert not suggestion.is_running
    assert suggestion.text == suggestion.text.strip()
    assert suggestion.text
    assert desk.n_scanned - n == len("\n\nUser:"), "it goes on from the mind that is there"
    assert chat.conversation is before
    chat.set_template("free")
    with pytest.raises(BadValue, match="no user's side"):
        chat.impersonate()


@pytest.mark.parametrize(("scope", "n"), [("path", 3), ("siblings", 6), ("tree", 7)])
def test_a_fork_takes_as_much_as_is_wished_and_prefills_nothing(desk: Desk, scope: Any, n: int):
    chat = desk.workspace.new_chat()
    said(chat, "one")
    ended(chat.retry()[0])
    reply = chat.path()[1]
    said(chat, "two")
    ended(chat.edit(chat.path()[2].id, "instead"))  # type: ignore[arg-type] # a user's message is answered
    document = to_document(chat.conversation)
    scanned = desk.n_scanned
    at = reply.id if scope != "siblings" else chat.conversation.children[reply.id][0]
    forked = desk.workspace.open_chat(chat.fork(at, scope=scope))
    assert len(forked.conversation.nodes) == n
    assert not forked.conversation.problems()
    assert to_document(chat.conversation) == document
    assert desk.n_scanned == scanned
    user = next(node for node in forked.path() if node.role is Role.USER)
    ended(forked.retry(user.id)[0])
    assert desk.n_scanned == scanned


def test_forking_at_message_1000_prefills_as_little_as_at_message_1(desk: Desk):
    """Nothing: the mind after the message is there, whatever came before it."""
    chat = desk.workspace.new_chat()
    for _ in range(500):
        chat.say(Role.USER, "a")
        chat.say(Role.ASSISTANT, "b")
    said(chat, "the last")
    assert len(chat.path()) == 1002
    for node_id in (chat.path()[-2].id, chat.head):
        before = desk.n_scanned
        forked = desk.workspace.open_chat(chat.fork(node_id))
        if forked.path()[-1].role is Role.USER:
            ended(forked.retry()[0])
        else:
            ended(forked.continue_reply())
        assert desk.n_scanned == before


def test_an_edit_in_place_leaves_no_state_below_that_is_used(desk: Desk):
    chat = desk.workspace.new_chat()
    said(chat, "one")
    said(chat, "two")
    chat.edit_in_place(chat.path()[0].id, "changed")
    before = desk.n_scanned
    ended(chat.retry(chat.path()[2].id)[0])
    n_all = sum(
        len(ids) for node in chat.conversation.path()[:-1] for ids in [list(node.tokens.values())[-1]]
    )
    assert desk.n_scanned - before >= n_all - 1
    assert chat.path()[-1].status is NodeStatus.STOPPED


def test_purging_erases_what_deletion_hid_with_its_states_and_keeps_every_other_step_of_undo(desk: Desk):
    """Text that somebody wanted gone is still in the file, and its state on the disk, for ever."""
    workspace = desk.workspace
    chat, other = workspace.new_chat(), workspace.new_chat()
    said(chat, "keep me")
    said(chat, "a secret word")
    said(other, "a secret chat")
    chat.delete(chat.path()[2].id)
    chat.rename("renamed since")
    other_id = other.id
    workspace.delete_chat(other.id)
    chat.vault.flush()
    document = to_document(chat.conversation)
    found = workspace.purgeable()
    assert (found.n_messages, found.n_chats) == (4, 1)
    assert len(found.places) == 4
    assert found.words == "4 messages, 1 chat and 4 states"
    assert workspace.purgeable(chat.id).n_messages == 2
    gone = workspace.purge()
    chat.vault.flush()
    workspace._store.flush()
    assert gone == found
    assert not workspace.purgeable()
    assert not any((workspace.paths.states / place).exists() for place in gone.places)
    assert b"secret" not in workspace.paths.database.read_bytes()
    assert other_id not in [chat.id for chat in workspace.chats(deleted=True)]
    assert what(chat.undo()) == "rename"
    assert chat.undo() is None
    assert what(chat.redo()) == "rename"
    assert to_document(chat.conversation) == document
    before = desk.n_scanned
    ended(chat.retry()[0])
    assert desk.n_scanned == before, "states that others hold stay"
    assert not workspace.integrity()


def test_purging_one_chat_leaves_the_others_and_a_fork_keeps_what_it_shares(desk: Desk):
    chat, other = desk.workspace.new_chat(), desk.workspace.new_chat()
    for each in (chat, other):
        said(each, "one")
    forked = desk.workspace.open_chat(chat.fork())
    chat.vault.flush()
    for each in (chat, other):
        each.delete(each.path()[0].id)
    gone = desk.workspace.purge(chat.id)
    assert gone.n_messages == 2
    assert not gone.places, "the fork holds the same states"
    assert chat.undo() is None
    assert what(other.undo()) == "delete branch"
    before = desk.n_scanned
    ended(forked.retry()[0])
    assert desk.n_scanned == before


def test_a_hundred_steps_are_undone_and_done_again_after_a_restart(desk: Desk):
    chat = desk.workspace.new_chat()
    node = chat.say(Role.USER, "one")
    states = [whole(chat)]
    for step in range(100):
        if step % 10 == 5:
            chat.delete(chat.split(chat.say(Role.ASSISTANT, "two words"), 4))
        else:
            chat.bookmark(node, f"name {step}")
        states.append(whole(chat))
    chat = desk.again().load().workspace.open_chat(chat.id)
    assert whole(chat) == states[-1]
    for before in reversed(states[:-1]):
        while whole(chat) != before:
            assert chat.undo() is not None
    chat = desk.again().load().workspace.open_chat(chat.id)
    n_redone = 0
    while chat.redo():
        n_redone += 1
    assert n_redone == 120
    assert whole(chat) == states[-1]
