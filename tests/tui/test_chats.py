"""The list of chats: open, rename, delete and undo, filter; chats in the background."""

from __future__ import annotations

from typing import TYPE_CHECKING

from chatrwkv.config import Settings
from chatrwkv.tui.widgets.chat_list import ChatEntry, ChatPanel, day_name
from tests.fakes import FakeModel, Gate
from tests.tui.driver import NOW, running

if TYPE_CHECKING:
    from pathlib import Path

DAY = 86_400.0


async def test_new_chats_are_made_only_when_the_last_one_is_used(tmp_path: Path):
    """An empty chat for each press of ctrl+n or each start would fill the list."""
    for _ in range(3):
        async with running(tmp_path) as app:
            await app.press("ctrl+n", "ctrl+n")
            assert len(app.app.workspace.chats()) == 1
    async with running(tmp_path) as app:
        await app.send("hello")
        first = app.session.id
        await app.press("ctrl+n")
        await app.until(lambda: app.session.id != first)
        await app.until(lambda: not app.views)


async def test_a_chat_is_opened_renamed_deleted_and_brought_back(tmp_path: Path):
    """All from the list, all with one key, and nothing asks "are you sure"."""
    async with running(tmp_path) as app:
        await app.send("first chat")
        first = app.session.id
        await app.press("ctrl+n")
        await app.until(lambda: app.session.id != first)
        await app.send("second chat")
        await app.press("ctrl+s", "down", "enter")
        await app.until(lambda: app.session.id == first)
        assert app.screen.prompt.has_focus
        await app.press("ctrl+s", "r")
        await app.until(lambda: app.app.screen is not app.screen)
        for _ in range(10):
            await app.press("backspace")
        await app.type("三体")
        await app.press("enter")
        await app.until(lambda: app.session.title == "三体" or "三体" in app.text())
        await app.press("d")
        await app.until(lambda: first not in [chat.id for chat in app.app.workspace.chats()])
        await app.press("u")
        await app.until(lambda: app.session.id == first)


async def test_the_filter_finds_by_any_letters(tmp_path: Path):
    """`/` in the list, fuzzy; enter opens the first that fits."""
    async with running(tmp_path) as app:
        for text in ("the fox", "三体问答", "lisp macros"):
            await app.send(text)
            await app.press("ctrl+n")
            await app.until(lambda: not app.session.path())
        await app.press("ctrl+s", "slash")
        await app.type("三问")
        await app.until(lambda: "lisp macros" not in app.text())
        await app.press("enter")
        await app.until(lambda: app.session.title == "三体问答")


async def test_a_reply_goes_on_in_the_background(tmp_path: Path):
    """Changing the chat must not stop, lose or mix a reply."""
    gate = Gate()
    short = Settings(sampling={"max_tokens": 24})
    async with running(tmp_path, model=FakeModel(before=gate), settings=short) as app:
        await app.type("one")
        await app.press("enter")
        gate.allow(5)
        await app.until(lambda: gate.n_passed == 5)
        first = app.session.id
        await app.press("ctrl+n")
        await app.until(lambda: app.session.id != first)
        await app.sees(" ●")  # it is marked in the list
        gate.open()
        await app.until(lambda: len(app.app.workspace.open_chats) == 1)
        await app.until(lambda: not app.views)
        again = app.app.workspace.open_chat(first)
        assert again.path()[-1].status == "stopped"  # by its length alone
        assert len(again.path()[-1].text) >= 5


def test_days_are_named_as_people_name_them():
    assert day_name(NOW, NOW) == "Today"
    assert day_name(NOW - DAY, NOW) == "Yesterday"
    assert day_name(NOW - 3 * DAY, NOW) == "Monday"
    assert day_name(NOW - 30 * DAY, NOW) == "October"
    assert day_name(NOW - 400 * DAY, NOW) == "October 2023"
    assert day_name(NOW + DAY, NOW) == "Today", "a clock that was set back"


async def test_a_thousand_chats_are_listed_and_filtered_at_once(tmp_path: Path):
    """A list that makes a widget of every chat takes seconds to open."""
    entries = [ChatEntry(f"{i}", f"chat {i} 三体", NOW - i * 3600, i) for i in range(1000)]
    async with running(tmp_path) as app:
        panel = app.screen.query_one(ChatPanel)
        n_widgets = len(panel.query("*"))
        panel.show(entries, "5", NOW)
        await app.pilot.pause()
        assert len([row for row in panel.rows.rows if row.key]) == 1000
        assert len(panel.query("*")) == n_widgets
        panel.start_filter()
        await app.type("chat 99")
        await app.pilot.pause()
        assert len([row for row in panel.rows.rows if row.key]) < 200


async def test_nothing_happens_to_an_empty_list(tmp_path: Path):
    """oterm crashed on rename and delete with no chat open."""
    async with running(tmp_path) as app:
        panel = app.screen.query_one(ChatPanel)
        panel.show([], "", NOW)
        panel.rows.focus()
        await app.press("r", "d", "u", "enter", "down", "slash")
        assert app.app.is_running
