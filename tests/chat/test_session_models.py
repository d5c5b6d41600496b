"""A session whose model is switched, missing or broken, and whose template and settings change."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from chatrwkv.chat.plan import plan_path
from chatrwkv.chat.tree import NodeStatus
from chatrwkv.engine import SamplingParams
from chatrwkv.errors import BadValue, ModelNotFound, TemplateError
from tests.chat.conftest import ended, said, what
from tests.fakes import FakeModel, Gate

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.chat.conftest import Desk


def test_a_model_switch_keeps_text_and_reads_it_again(make_desk: Callable[..., Desk]):
    from tests.fakes import fake_loader

    desk = make_desk(loader=fake_loader())
    chat = desk.workspace.new_chat()
    first = said(chat, "one")
    desk.load("other")
    second = said(chat, "two")
    assert second.meta is not None
    assert (second.meta.model, first.meta.model if first.meta else "") == ("other", "fake")
    assert second.meta.stats is not None
    assert second.meta.stats.prompt_tokens == len(
        f"User: one\n\nAssistant:{first.text}\n\nUser: two\n\nAssistant:"
    )
    desk.load("fake")
    third = said(chat, "three")
    assert third.meta is not None
    assert third.meta.stats is not None
    assert third.meta.stats.prompt_tokens == len(
        f"\n\nUser: two\n\nAssistant:{second.text}\n\nUser: three\n\nAssistant:"
    ), "the first model's own states were kept"


def test_a_message_may_be_sent_while_the_model_is_loading(make_desk: Callable[..., Desk]):
    from tests.fakes import fake_loader

    gate = Gate()
    desk = make_desk(load=False, loader=fake_loader(gate=gate))
    chat = desk.workspace.new_chat()
    job = desk.workspace.engine.load(desk.root / "fake.pth")
    reply = chat.send("one")
    assert reply.poll().is_running
    gate.open()
    assert ended(reply).text
    assert job.done.is_set()


def test_without_a_model_the_reply_fails_and_the_message_stays(make_desk: Callable[..., Desk]):
    desk = make_desk(load=False)
    chat = desk.workspace.new_chat()
    reply = chat.send("one")
    view = ended(reply)
    assert isinstance(view.error, ModelNotFound)
    assert [node.status for node in chat.path()] == [NodeStatus.COMPLETE, NodeStatus.FAILED]
    desk.load()
    [again] = chat.retry()
    ended(again)
    assert chat.path()[-1].text


def test_a_failed_reply_keeps_its_text_and_the_next_message_works(make_desk: Callable[..., Desk]):
    class Breaking(FakeModel):
        n_left = 1 + 5

        def _read(self, rows, scratch):
            self.n_left -= 1
            if self.n_left == 0:
                raise RuntimeError("the machine is on fire")
            return super()._read(rows, scratch)

    desk = make_desk(model=Breaking())
    chat = desk.workspace.new_chat()
    reply = chat.send("one")
    view = ended(reply)
    assert view.status is NodeStatus.FAILED
    assert view.error is not None
    failed = chat.node(reply.node_id)
    assert failed.text == view.text
    assert len(failed.text) >= 3
    going = ended(chat.continue_reply())
    assert going.text.startswith(failed.text)
    assert len(going.text) > len(failed.text)


def test_changes_of_template_system_and_sampling_stay_with_the_chat(desk: Desk):
    chat = desk.workspace.new_chat()
    said(chat, "one")
    chat.set_template("world-chat")
    chat.set_params(SamplingParams(temperature=0.5, max_tokens=4))
    chat.set_system("be brief")
    assert said(chat, "two").meta.template == "world-chat"  # type: ignore[union-attr] # a reply has one
    desk.again().load()
    chat = desk.workspace.open_chat(chat.id)
    assert chat.template.name == "world-chat"
    assert chat.params == SamplingParams(temperature=0.5, max_tokens=4)
    assert chat.system == "be brief"
    with pytest.raises(TemplateError):
        chat.set_template("nonsense")
    with pytest.raises(BadValue):
        chat.set_thinking("nonsense")


def test_another_template_reads_the_whole_chat_in_its_own_words(desk: Desk):
    chat = desk.workspace.new_chat()
    said(chat, "one")
    n_g1 = chat.n_tokens()
    answer = chat.path()[1].text
    chat.set_template("raven-chat")
    before = desk.n_scanned
    said(chat, "two")
    plan = plan_path(chat.conversation.path(), chat.template, for_reply=False)
    text = "".join(segment.prefix + segment.text for segment in plan.segments)
    assert "one" in text
    assert answer in text
    assert "User:" not in text
    assert desk.n_scanned - before == len(text) - len(chat.path()[-1].text)
    assert chat.n_tokens() == len(text)
    chat.set_template("g1-chat")
    chat.select(chat.path()[1].id, exactly=True)
    assert chat.n_tokens() == n_g1
    before = desk.n_scanned
    said(chat, "three")
    assert desk.n_scanned - before == len("\n\nUser: three\n\nAssistant:")


def test_blank_messages_and_unknown_nodes_are_refused(desk: Desk):
    chat = desk.workspace.new_chat()
    with pytest.raises(BadValue, match="nothing to send"):
        chat.send("  \n ")
    with pytest.raises(BadValue, match="no message"):
        chat.retry("nonsense")
    with pytest.raises(BadValue, match="Only a reply"):
        chat.continue_reply()
    assert chat.path() == []


def test_lone_surrogates_from_a_terminal_are_no_error(desk: Desk):
    """A terminal in another encoding hands over what no database and no model takes."""
    chat = desk.workspace.new_chat()
    said(chat, "a\udcffb")
    assert chat.path()[0].text == "a?b"


def test_bookmarks_and_titles_are_undone_like_everything_else(desk: Desk):
    chat = desk.workspace.new_chat()
    node = said(chat, "one")
    chat.bookmark(node.id, "here")
    chat.rename("A title")
    assert (chat.node(node.id).name, chat.title) == ("here", "A title")
    assert [what(chat.undo()) for _ in range(4)] == ["rename", "bookmark", "send", ""]
    assert (chat.title, chat.path()) == ("", [])
    assert [what(chat.redo()) for _ in range(4)] == ["send", "bookmark", "rename", ""]
    assert (chat.node(node.id).name, chat.title) == ("here", "A title")


def test_a_template_for_single_questions_reads_only_the_last_one(desk: Desk):
    """Q&A models were trained on one question; the others before it only confuse them."""
    chat = desk.workspace.new_chat(template="pile-qa")
    said(chat, "one")
    before = desk.n_scanned
    said(chat, "two")
    plan = plan_path(chat.conversation.path(), chat.template, for_reply=False)
    fed = "".join(segment.prefix + segment.text for segment in plan.segments)
    assert "one" not in fed
    assert desk.n_scanned - before == len(fed) - len(chat.path()[-1].text)
