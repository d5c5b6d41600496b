"""Talking: send, stream, stop, again, versions, continue, edit, fork, undo."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from textual.widgets import TextArea

from chatrwkv.chat.tree import NodeStatus
from chatrwkv.tui.widgets.message import MessageHeader
from tests.fakes import FakeModel, Gate, ScriptedModel
from tests.tui.driver import running

if TYPE_CHECKING:
    from pathlib import Path

FOX = " A fox named Mia lived beside an old mill."


async def test_a_reply_streams_and_is_kept(tmp_path: Path):
    """The whole road: key to session to engine to pump to Markdown to store."""
    async with running(tmp_path, FOX) as app:
        await app.send("Tell me a story")
        assert app.answers() == ["Tell me a story", FOX.strip()]
        assert "A fox named Mia" in app.text()
        assert app.screen.prompt.text == ""
    async with running(tmp_path, FOX, continue_last=True) as app:
        assert app.answers() == ["Tell me a story", FOX.strip()]
        assert "A fox named Mia" in app.text()


async def test_a_chat_goes_on_after_a_restart_with_nothing_read_again(tmp_path: Path):
    """A state that is not found after a restart costs a prefill of the whole chat."""
    async with running(tmp_path, FOX) as app:
        await app.send("Tell me a story")
    async with running(tmp_path, FOX, continue_last=True) as app:
        await app.send("more")
        meta = app.session.path()[-1].meta
        assert meta is not None
        assert meta.stats is not None
        # only the new turn and the role: User: more\n\nAssistant:
        assert meta.stats.prompt_tokens < len("\n\nUser: more\n\nAssistant: <think>\n</think>\n\n")


async def test_escape_stops_within_one_step_and_keeps_the_text(tmp_path: Path):
    """A stop that waits for the end of the reply, or throws its text away."""
    gate = Gate()
    async with running(tmp_path, model=FakeModel(before=gate)) as app:
        await app.type("hi")
        await app.press("enter")
        gate.allow(12)
        await app.until(lambda: len(app.views) == 2 and gate.waiting and gate.n_passed == 12)
        assert "esc stop" in app.text()
        await app.press("escape")
        gate.allow(2)
        await app.quiet()
        node = app.session.path()[-1]
        assert node.status is NodeStatus.STOPPED
        assert gate.n_passed <= 14
        assert node.text
        assert "stopped" in app.text()
        gate.open()


async def test_a_stopped_reply_goes_on_where_it_was(tmp_path: Path):
    """Continuing must not lose, double or start anew."""
    gate = Gate()
    async with running(tmp_path, model=ScriptedModel(FOX, before=gate)) as app:
        await app.type("hi")
        await app.press("enter")
        gate.allow(14)
        await app.until(lambda: gate.waiting and gate.n_passed == 14)
        await app.press("escape")
        gate.open()
        await app.quiet()
        begun = app.session.path()[-1].text
        assert begun
        assert FOX.startswith(begun)
        await app.type("/continue")
        await app.press("enter")
        await app.until(lambda: app.session.path()[-1].text == FOX)
        await app.quiet()
        assert "beside an old mill." in app.text()


async def test_again_makes_a_sibling_and_the_arrows_walk(tmp_path: Path):
    """Regenerating must keep the old reply, and every message with siblings shows which one it is."""
    async with running(tmp_path, model=FakeModel(end_rate=24)) as app:
        await app.send("hi")
        first = app.session.path()[-1].id
        await app.press("ctrl+r")
        await app.until(lambda: app.session.path()[-1].id != first)
        await app.quiet()
        second = app.session.path()[-1].id
        assert "‹ 2/2 ›" in app.text()
        await app.press("left")  # the prompt is empty
        await app.until(lambda: app.session.path()[-1].id == first)
        await app.until(lambda: "‹ 1/2 ›" in app.text())
        await app.press("alt+right")
        await app.until(lambda: app.session.path()[-1].id == second)
        await app.press("right")  # past the last one: a new one
        await app.until(lambda: "‹ 3/3 ›" in app.text())
        await app.quiet()
        assert len(app.session.conversation.siblings(second)) == 3


async def test_clicking_the_arrows_switches_versions(tmp_path: Path):
    """The arrows are for the mouse too."""
    async with running(tmp_path, model=FakeModel(end_rate=24)) as app:
        await app.send("hi")
        await app.press("ctrl+r")
        await app.until(lambda: "‹ 2/2 ›" in app.text())
        await app.quiet()
        for from_right, shown in ((7, "‹ 1/2 ›"), (1, "‹ 2/2 ›")):
            header = app.views[-1].query_one(MessageHeader)
            await app.pilot.click(header, offset=(header.size.width - from_right, 0))
            await app.sees(shown)


async def test_several_replies_at_once_are_siblings(tmp_path: Path):
    """`/retry 4` writes four in one batch; each has a text of its own."""
    async with running(tmp_path, model=FakeModel(end_rate=24)) as app:
        await app.send("hi")
        reply = app.session.path()[-1].id
        await app.type("/retry 4")
        await app.press("enter")
        await app.until(lambda: len(app.session.conversation.siblings(reply)) == 5)
        await app.quiet()
        nodes = [app.session.node(node_id) for node_id in app.session.conversation.siblings(reply)]
        assert all(node.status is NodeStatus.COMPLETE for node in nodes)
        assert "‹ 2/5 ›" in app.text()


async def test_editing_a_message_makes_a_branch(tmp_path: Path):
    """The old version of an edited message must stay."""
    async with running(tmp_path, FOX) as app:
        await app.send("one")
        await app.press("alt+up", "alt+up")
        await app.until(lambda: app.screen.target == app.session.path()[0].id)
        await app.press("e")
        await app.until(lambda: app.screen.editing is not None)
        assert app.screen.prompt.text == "one"
        await app.type(" two")
        await app.press("enter")
        await app.until(lambda: app.answers()[:1] == ["one two"])
        await app.quiet()
        row = app.session.conversation.siblings(app.session.path()[0].id)
        assert [app.session.node(node_id).text for node_id in row] == ["one", "one two"]


async def test_a_reply_is_edited_without_the_blank_before_it(tmp_path: Path):
    """The blank between role and reply looked like a slip of the model; it stays in the text all the same."""
    async with running(tmp_path, " A fox.") as app:
        await app.send("one")
        await app.press("alt+up", "e")
        await app.until(lambda: app.app.screen is not app.screen)
        area = app.app.screen.query_one(TextArea)
        assert area.text == "A fox."
        await app.type(" Red.")
        await app.press("ctrl+s")
        await app.until(lambda: app.session.path()[-1].text == " A fox. Red.")


async def test_escape_leaves_editing_without_a_change(tmp_path: Path):
    """A prompt that keeps the edited text would send it as a new message."""
    async with running(tmp_path, FOX) as app:
        await app.send("one")
        await app.type("/edit")
        await app.press("enter")
        await app.until(lambda: app.screen.editing is not None)
        await app.press("escape")
        await app.until(lambda: app.screen.editing is None)
        assert app.screen.prompt.text == ""
        assert app.answers()[0] == "one"


async def test_forking_opens_a_new_chat_with_the_same_past(tmp_path: Path):
    """A fork must not read the past again, nor change the chat it came from."""
    async with running(tmp_path, FOX) as app:
        await app.send("one")
        before = app.session
        await app.press("alt+up")
        await app.press("f")
        await app.until(lambda: app.session.id != before.id)
        assert app.answers() == ["one", FOX.strip()]
        await app.send("two")
        meta = app.session.path()[-1].meta
        assert meta is not None
        assert meta.stats is not None
        assert meta.stats.prompt_tokens < 60
        assert len(app.app.workspace.open_chat(before.id).conversation.nodes) == 3


async def test_deleting_a_message_is_undone_with_u(tmp_path: Path):
    """Undo instead of "are you sure"."""
    async with running(tmp_path, FOX) as app:
        await app.send("one")
        await app.press("alt+up", "d")
        await app.until(lambda: app.answers() == ["one"])
        await app.sees("u brings it back")
        await app.press("u")
        await app.until(lambda: app.answers() == ["one", FOX.strip()])
        await app.type("/drop")
        await app.press("enter")
        await app.sees("/undo brings it back")
        assert app.screen.prompt.has_focus


async def test_a_message_sent_while_a_reply_is_written_stays_in_the_prompt(tmp_path: Path):
    """Text that was typed must never be lost, also when it cannot be sent yet."""
    gate = Gate()
    async with running(tmp_path, model=FakeModel(before=gate)) as app:
        await app.type("one")
        await app.press("enter")
        await app.until(lambda: gate.waiting)
        await app.type("two")
        await app.press("enter")
        await app.until(lambda: app.screen.notice.display)
        assert app.screen.prompt.text == "two"
        assert "still being written" in app.text()
        await app.press("escape")
        gate.open()
        await app.quiet()
        assert app.screen.prompt.text == "two"


async def test_what_is_typed_before_the_model_is_there_is_answered_when_it_is(tmp_path: Path):
    """The model loads in the background; nobody should have to wait to type."""
    from tests.fakes import fake_loader

    gate = Gate()
    loader = fake_loader(ScriptedModel(FOX), gate=gate)
    async with running(tmp_path, loader=loader, wait=False) as app:
        await app.until(lambda: app.screen.session is not None)
        await app.type("one")
        await app.press("enter")
        await app.until(lambda: len(app.views) == 2)
        await app.until(lambda: "waits for the model" in app.text())
        assert "loading fake" in app.text()
        gate.open()
        await app.until(lambda: app.answers()[1:] == [FOX.strip()])
        await app.quiet()


async def test_a_first_message_from_the_command_line_is_sent(tmp_path: Path):
    """`chatrwkv "text"`."""
    async with running(tmp_path, FOX, first_message="from outside") as app:
        await app.until(lambda: app.screen.session and app.answers() == ["from outside", FOX.strip()])
        await app.quiet()


async def test_switching_to_a_reply_that_streams_shows_all_of_it(tmp_path: Path):
    """A view made in the middle of a reply begins with what was said before."""
    gate = Gate()
    async with running(tmp_path, model=FakeModel(before=gate)) as app:
        await app.type("hi")
        await app.press("enter")
        gate.allow(10)
        await app.until(lambda: gate.n_passed == 10)
        await app.press("escape")
        gate.allow(2)
        await app.quiet()
        await app.type("/retry 2")
        await app.press("enter")
        gate.allow(30)
        await app.until(
            lambda: (
                len(app.session.replies) == 2 and gate.waiting and app.session.replies[1].view.n_tokens > 5
            )
        )
        await app.press("alt+right")
        await app.sees("‹ 3/3 ›")
        words = app.session.replies[1].view.text.strip()
        await app.sees(words[:12])
        await app.press("escape")
        gate.open()
        await app.quiet()
        assert (
            app.session.path()[-1].text.strip()[:20] in app.text().replace("  ", " ") or words in app.text()
        )


async def test_reading_a_long_prompt_shows_how_far_it_is(tmp_path: Path):
    """What takes time says so, with numbers, in the title and where the reply will stand."""
    from textual import events

    gate = Gate()
    async with running(tmp_path, model=FakeModel(end_rate=50, before=gate)) as app:
        app.app.post_message(events.Paste("fox " * 3000))
        await app.pilot.pause()
        await app.press("enter")
        await app.until(lambda: len(app.views) == 2)
        gate.allow(3)
        await app.until(lambda: app.session.replies and app.session.replies[0].view.prefill[0] > 0)
        await app.sees("reading ")
        done, total = app.session.replies[0].view.prefill
        assert done < total
        assert f"/{total:,} tokens" in app.text()
        assert "%" in app.text().splitlines()[0]
        gate.open()
        await app.quiet()


async def test_chats_that_cannot_be_opened_say_why_and_keep_the_text(tmp_path: Path):
    """A data folder that is a file: one sentence, typing goes on, leaving works."""
    (tmp_path / "chats.db").mkdir()
    async with running(tmp_path, wait=False) as app:
        await app.until(lambda: app.app.opening_failed is not None)
        await app.until(lambda: app.screen.notice.display)
        await app.type("hello")
        await app.press("enter")
        await app.until(lambda: app.screen.prompt.text == "hello")
        assert app.screen.notice.display
        await app.press("ctrl+q")
        await app.until(lambda: app.app.leaving)


async def test_a_context_that_is_full_is_told_once_and_counted(tmp_path: Path):
    """RWKV-1 forgets the older half of a long chat; in silence it would only seem stupid."""
    model = ScriptedModel(FOX)
    model.spec = replace(model.spec, n_context=100)
    async with running(tmp_path, model=model) as app:
        assert "can look at are full" not in app.text()
        await app.send("Hello")
        assert "of 100 tok" in app.text()
        await app.send("Once more, and at some length this time: what about the fox?")
        assert "The 100 tokens that this model can look at are full" in app.text()
        assert "last 50+ of" in app.text()
        await app.send("And?")
        assert "can look at are full" not in app.text()
