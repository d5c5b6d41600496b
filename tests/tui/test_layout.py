"""What fits at which size, and storms of resizes."""

from __future__ import annotations

from random import Random
from typing import TYPE_CHECKING

from chatrwkv.config import Settings
from tests.fakes import FakeModel, Gate
from tests.tui.driver import running

if TYPE_CHECKING:
    from pathlib import Path


async def test_the_margins_fold_away_and_come_back_as_overlays(tmp_path: Path):
    """At 80 columns only the page is left; the keys bring the rest over it, esc takes it away."""
    async with running(tmp_path, size=(80, 24)) as app:
        assert "Today" not in app.text()
        assert "Sampling" not in app.text()
        await app.press("ctrl+s")
        await app.sees("Today")
        await app.press("escape")
        await app.until(lambda: "Today" not in app.text())
        assert app.screen.prompt.has_focus
        await app.press("ctrl+t")
        await app.until(lambda: "Sampling" in app.text())
        await app.press("escape")
        await app.until(lambda: "Sampling" not in app.text())
        await app.pilot.resize_terminal(120, 40)
        await app.until(lambda: "Today" in app.text() and "Sampling" in app.text())


async def test_below_sixty_columns_page_prompt_and_one_line_are_left(tmp_path: Path):
    async with running(tmp_path, size=(50, 15)) as app:
        await app.send("hi")
        lines = app.text().splitlines()
        assert lines[0] == "  You"
        assert "> ask" in lines[-2]
        assert "tok/s" in lines[-1]


async def test_a_tiny_window_says_what_is_enough(tmp_path: Path):
    """Below 40 x 10 a message instead of garbage; growing brings everything back."""
    async with running(tmp_path, size=(38, 9)) as app:
        assert "38 x 9 is too small" in app.text()
        await app.pilot.resize_terminal(80, 24)
        await app.until(lambda: "ask, or / for commands" in app.text())


async def test_a_window_that_was_tiny_for_a_moment_still_takes_what_is_typed(tmp_path: Path):
    async with running(tmp_path) as app:
        await app.type("be")
        await app.pilot.resize_terminal(30, 8)
        await app.sees("30 x 8 is too small")
        await app.pilot.resize_terminal(120, 40)
        await app.until(lambda: app.screen.prompt.has_focus)
        await app.type("fore")
        assert app.screen.prompt.text == "before"


async def test_a_letter_with_nothing_in_focus_goes_to_the_prompt(tmp_path: Path):
    async with running(tmp_path) as app:
        app.screen.set_focus(None)
        await app.type("hello")
        assert app.screen.prompt.text == "hello"


async def test_a_list_that_stood_by_itself_folds_away_when_the_window_shrinks(tmp_path: Path):
    """A visit to the list must not lay it over the page later."""
    async with running(tmp_path) as app:
        await app.press("ctrl+s", "escape")
        await app.pilot.resize_terminal(80, 24)
        await app.until(lambda: "Today" not in app.text())
        assert not app.screen.has_overlay


async def test_every_sheet_says_in_a_small_window_what_the_keys_do(tmp_path: Path):
    """The last line of a sheet stands below its list, however long that is."""
    reply = " a reply of many words" * 60
    async with running(
        tmp_path, reply, size=(80, 24), settings=Settings(sampling={"max_tokens": 2000})
    ) as app:
        await app.send("hi")
        for line, words in (
            ("/help", "esc closes"),
            ("/prompt", "enter takes it"),
            ("/model", "/paths names"),
            ("/probs", "↑↓ candidate"),
        ):
            await app.type(line)
            await app.press("enter")
            await app.sees(words)
            await app.press("escape")
            await app.until(lambda: app.app.screen is app.screen)


async def test_two_hundred_resizes_while_a_reply_streams(tmp_path: Path):
    """Nothing may raise at any size, with any overlay open."""
    random = Random(7)
    gate = Gate()
    async with running(tmp_path, model=FakeModel(before=gate)) as app:
        await app.type("hi")
        await app.press("enter")
        for i in range(200):
            gate.allow(1)
            app.app._driver.process_message(_resize(random.randint(20, 300), random.randint(5, 100)))  # type: ignore[union-attr]
            if i % 20 == 0:
                await app.press(random.choice(["ctrl+s", "ctrl+t", "escape", "alt+up", "f1"]))
        await app.pilot.resize_terminal(80, 24)
        for _ in range(3):
            await app.press("escape")
        await app.until(lambda: app.app.screen is app.screen)
        await app.press("escape")
        gate.open()  # only now: a fast machine would be through with the reply before the key arrives
        await app.until(lambda: not app.screen.is_writing)
        await app.press("escape")  # those before it asked to stop; this one closes what lies over the page
        await app.pilot.resize_terminal(80, 24)
        await app.until(lambda: "stopped" in app.text())


def _resize(width: int, height: int) -> object:
    from textual import events
    from textual.geometry import Size

    size = Size(width, height)
    return events.Resize(size, size)


async def test_the_footer_shows_only_keys_that_work(tmp_path: Path):
    """A footer that names a key which does nothing is a lie."""
    async with running(tmp_path) as app:
        footer = app.text().splitlines()[-1]
        assert "again" not in footer
        assert "stop" not in footer
        await app.send("hi")
        footer = app.text().splitlines()[-1]
        assert "^r again" in footer
        assert "siblings" not in footer
        await app.press("ctrl+r")
        await app.quiet()
        await app.until(lambda: "alt+←→ siblings" in app.text().splitlines()[-1])
        await app.press("alt+up")
        await app.until(lambda: "e edit" in app.text().splitlines()[-1])
        assert "esc prompt" in app.text().splitlines()[-1]


async def test_a_click_on_the_footer_presses_the_key(tmp_path: Path):
    async with running(tmp_path) as app:
        footer = app.text().splitlines()[-1]
        await app.pilot.click(offset=(footer.index("F1") + 1, 39))
        await app.until(lambda: app.app.screen is not app.screen)
        assert "Keys here" in app.text()


async def test_tab_walks_through_the_parts(tmp_path: Path):
    async with running(tmp_path) as app:
        await app.send("hi")
        seen = []
        for _ in range(4):
            await app.press("tab")
            seen.append(type(app.screen.focused).__name__)
        assert seen == ["ChatRows", "MessageView", "TreeView", "PromptArea"]


async def test_a_panel_that_was_closed_stays_closed_after_a_restart(tmp_path: Path):
    async with running(tmp_path) as app:
        await app.press("ctrl+t")
        await app.until(lambda: "Sampling" not in app.text())
    async with running(tmp_path) as app:
        assert "Sampling" not in app.text()
        assert "Today" in app.text()


async def test_selected_text_is_copied_with_ctrl_c(tmp_path: Path):
    """The first ctrl+c copies what is selected; it must not stop, ask or leave."""
    async with running(tmp_path, "one two three") as app:
        await app.send("hi")
        y = next(i for i, line in enumerate(app.text().splitlines()) if "▎one two" in line)
        x = app.text().splitlines()[y].index("one two")
        await app.pilot.mouse_down(offset=(x, y))
        await app.pilot.hover(offset=(x + 6, y))
        await app.pilot.mouse_up(offset=(x + 6, y))
        await app.press("ctrl+c")
        await app.until(lambda: app.app.clipboard.startswith("one tw"))
        assert app.app.is_running
        assert "again leaves" not in app.text()


async def test_the_tree_is_walked_and_enter_goes_there(tmp_path: Path):
    """Any node of the chat is two keys away."""
    async with running(tmp_path, model=FakeModel(end_rate=24)) as app:
        await app.send("one")
        first = app.session.head
        await app.press("ctrl+r")
        await app.until(lambda: app.session.head != first)
        await app.quiet()
        await app.send("two")
        last = app.session.head
        app.screen.side.tree_view.focus()
        await app.press("k", "k", "h")
        await app.until(lambda: app.screen.side.tree_view.cursor_key == first)
        await app.press("enter")
        await app.until(lambda: app.session.head == first)
        assert len(app.views) == 2
        app.screen.side.tree_view.focus()
        await app.press("G", "enter")
        await app.until(lambda: app.session.head == last)
        assert len(app.views) == 4
