"""The transcript: a window of live messages, a page that does not jump, thoughts, errors, copying."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

import pytest
from textual import events

from chatrwkv.chat.tree import Conversation, NodeStatus, ReplyMeta, Role, new_node
from chatrwkv.engine.params import SamplingParams
from chatrwkv.errors import OutOfMemory
from chatrwkv.tui.widgets.message import _whole_parts
from chatrwkv.tui.widgets.transcript import WINDOW
from tests.fakes import FakeModel, Gate, ScriptedModel
from tests.tui.driver import Driver, running

if TYPE_CHECKING:
    from pathlib import Path


def long_chat(n: int) -> Conversation:
    conversation = Conversation.start("long")
    parent = conversation.root
    for i in range(n):
        role = Role.ASSISTANT if i % 2 else Role.USER
        node = new_node(parent, role, f"message {i}\n\nwith **two** paragraphs")
        conversation = conversation.with_node(node)
        parent = node.id
    return conversation.with_head(parent)


def page(app: Driver) -> list[str]:
    """The lines of the transcript without the scroll bar."""
    return [line[:76].rstrip() for line in app.text().splitlines()[2:20]]


async def open_chat(app: Driver, conversation: Conversation) -> None:
    await app.screen.show_chat(app.app.workspace.import_chat(conversation))
    await app.pilot.pause()


async def test_at_most_twenty_messages_are_live(tmp_path: Path):
    """One append costs 4 ms with one message mounted, 105 with three hundred."""
    async with running(tmp_path, size=(80, 24)) as app:
        await open_chat(app, long_chat(60))
        transcript = app.screen.transcript
        assert len(app.views) == WINDOW
        assert "message 59" in app.text()
        seen: set[str] = set()
        for _ in range(40):
            seen.update(view.shown.text.split()[1] for view in app.views)
            assert len(app.views) <= WINDOW
            transcript.scroll_to(y=0, animate=False, immediate=True)
            await app.pilot.pause()
            if "0" in seen:
                break
        assert {str(i) for i in range(60)} <= seen
        for _ in range(40):
            transcript.scroll_end(animate=False, immediate=True)
            await app.pilot.pause()
            if transcript.shows_end and "message 59" in app.text():
                break
        assert "message 59" in app.text()


async def test_older_messages_come_in_without_a_jump(tmp_path: Path):
    """What is read must keep its line while more is loaded above it."""
    async with running(tmp_path, size=(80, 24)) as app:
        await open_chat(app, long_chat(60))
        transcript = app.screen.transcript
        transcript.scroll_to(y=3, animate=False, immediate=True)
        await app.pilot.pause()
        before = page(app)
        await transcript.shift(-5)
        await app.pilot.pause()
        assert page(app) == before


async def test_the_page_stays_where_the_reader_scrolled_while_a_reply_is_written(tmp_path: Path):
    """Autoscroll only at the bottom."""
    gate = Gate()
    async with running(tmp_path, model=FakeModel(before=gate), size=(80, 24)) as app:
        await open_chat(app, long_chat(20))
        await app.type("hi")
        await app.press("enter")
        gate.allow(30)
        await app.until(lambda: gate.waiting and gate.n_passed == 30)
        assert app.screen.transcript.is_following
        app.screen.transcript.scroll_to(y=10, animate=False, immediate=True)
        await app.pilot.pause()
        before = page(app)
        gate.allow(200)
        await app.until(lambda: gate.waiting and gate.n_passed == 230)
        await app.pilot.pause()
        assert page(app) == before
        await app.press("ctrl+end")
        await app.until(lambda: app.screen.transcript.is_following)
        await app.press("escape")
        gate.open()
        await app.quiet()


async def test_stepping_through_versions_keeps_the_header_in_its_line(tmp_path: Path):
    """Nothing jumps when a reply is switched."""
    conversation = long_chat(30)
    reply = conversation.path()[-1]
    short = new_node(reply.parent, Role.ASSISTANT, "short")
    long = new_node(reply.parent, Role.ASSISTANT, "\n\n".join(f"line {i}" for i in range(30)))
    conversation = conversation.with_nodes([long, short]).with_head(long.id)
    async with running(tmp_path, size=(80, 24)) as app:
        await open_chat(app, conversation)
        long_id = app.session.head
        await app.screen.transcript.reveal(long_id)
        app.screen.transcript.scroll_to(y=app.views[-1].virtual_region.y - 5, animate=False, immediate=True)
        await app.pilot.pause()
        line = next(i for i, text in enumerate(app.text().splitlines()) if "‹ 2/3 ›" in text)
        await app.screen.step_sibling(long_id, -1)
        await app.until(lambda: "‹ 1/3 ›" in app.text())
        assert "‹ 1/3 ›" in app.text().splitlines()[line]


async def test_thoughts_are_folded_to_a_line_that_opens(tmp_path: Path):
    """`<think>` must never reach Markdown, which swallows it."""
    model = ScriptedModel("> Let me think\nabout foxes.\n</think>\nA fox.")
    async with running(tmp_path, model=model) as app:
        app.session.set_thinking(
            "on" if "on" in app.session.template.thinking else list(app.session.template.thinking)[-1]
        )
        await app.send("hi")
        assert "▸ thought" in app.text()
        assert "about foxes." not in app.text()
        assert "A fox." in app.text()
        assert "think>" not in app.text()
        await app.press("alt+up", "enter")
        await app.until(lambda: "about foxes." in app.text())
        await app.press("o")
        await app.until(lambda: "about foxes." not in app.text())


async def test_a_failure_is_a_sentence_in_its_place(tmp_path: Path):
    """Errors are one sentence and one next step, not a pop-up and no traceback."""

    def fail() -> None:
        raise OutOfMemory("The device has no memory left.", hint="Choose a smaller model with ctrl+l.")

    async with running(tmp_path, model=FakeModel(before=fail)) as app:
        await app.type("hi")
        await app.press("enter")
        await app.until(lambda: app.session.path() and app.session.path()[-1].status is NodeStatus.FAILED)
        await app.until(lambda: "no memory left" in app.text())
        assert "smaller model" in app.text()
        assert "Traceback" not in app.text()
        assert app.answers()[0] == "hi"


@pytest.mark.parametrize(
    ("key", "copied"), [("y", "before\n\n```python\nx = 1\n```\n\nafter"), ("Y", "x = 1")]
)
async def test_a_reply_or_its_code_is_copied(tmp_path: Path, key: str, copied: str):
    """OSC 52 works over ssh; pyperclip does not."""
    async with running(tmp_path, " before\n\n```python\nx = 1\n```\n\nafter") as app:
        await app.send("hi")
        await app.press("alt+up", key)
        await app.until(lambda: app.app.clipboard)
        assert app.app.clipboard == copied


def test_the_facts_about_a_reply_are_dropped_whole_when_there_is_no_room():
    facts = "sprout · seed 1484330 · 29 tok"
    assert [_whole_parts(facts, cells) for cells in (30, 29, 10, 3)] == [
        facts,
        "sprout · seed 1484330",
        "sprout",
        "",
    ]


async def test_message_keys_walk_and_letters_return_to_the_prompt(tmp_path: Path):
    """j k g G; a letter that means nothing begins the next message."""
    async with running(tmp_path) as app:
        await open_chat(app, long_chat(60))
        ids = [node.id for node in app.session.path()]
        await app.press("alt+up")
        assert app.screen.target == ids[-1]
        await app.press("k", "k")
        assert app.screen.target == ids[-3]
        await app.press("g")
        await app.until(lambda: app.screen.target == ids[0])
        await app.sees("message 0")
        await app.press("G")
        await app.until(lambda: app.screen.target == ids[-1])
        await app.press("w")
        assert app.screen.prompt.has_focus
        assert app.screen.prompt.text == "w"


async def test_a_header_shows_how_a_reply_came_about(tmp_path: Path):
    """Model, tokens, seed: recorded with each reply, and visible."""
    async with running(tmp_path) as app:
        await app.send("hi")
        await app.press("alt+up")
        await app.sees("fake · ")
        assert "seed " in app.text()


async def test_a_stored_reply_without_statistics_is_shown(tmp_path: Path):
    """Chats from elsewhere lack what we record."""
    conversation = Conversation.start("x")
    user = new_node(conversation.root, Role.USER, "hi")
    meta = ReplyMeta("m", "f", "no-such-template", "no-such-mode", SamplingParams())
    reply = new_node(
        user.id, Role.ASSISTANT, "<think>\nhm\n</think>\nyes", status=NodeStatus.STOPPED, meta=meta
    )
    conversation = conversation.with_nodes([user, reply]).with_head(reply.id)
    async with running(tmp_path) as app:
        await open_chat(app, conversation)
        assert "yes" in app.text()
        assert "stopped" in app.text()


async def test_a_burst_after_a_message_key_goes_where_the_key_leads(tmp_path: Path):
    """Letters typed right after `e` or after the first letter of a message must not be commands."""
    async with running(tmp_path) as app:
        await open_chat(app, long_chat(4))
        for burst, text in (
            (("alt+up", "alt+up", "e", "n", "d", "s"), "with **two** paragraphsnds"),
            (("escape", "alt+up", "w", "o", "n", "d", "e", "r"), "wonder"),
        ):
            for key in burst:
                app.app.post_message(events.Key(key, key if len(key) == 1 else None))
            await app.until(partial(_ends_with, app, text))
        assert not app.screen.editing
        assert len(app.session.path()) == 4
        assert app.app.screen is app.screen
        assert "esc prompt" not in app.text()


def _ends_with(app: Driver, text: str) -> bool:
    return app.screen.prompt.text.endswith(text)
