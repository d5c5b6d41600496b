"""Text that nobody here wrote: escape sequences, markup and links must do nothing wherever they stand."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from textual.widgets import Input

from chatrwkv.errors import ModelFormatError
from chatrwkv.tui.screens.dialogs import LinkDialog
from tests.e2e.fake_app import ESCAPES
from tests.fakes import ScriptedModel, fake_loader
from tests.tui.driver import Driver, running

if TYPE_CHECKING:
    from pathlib import Path

    import pytest

CONTROL = re.compile("[\x00-\x1f\x7f-\x9f]")
MARKUP = "[/] [/foo] [red [@click=app.quit]x[/] [link=http://x]y[/link] $foo {bar}"
HOSTILE = f"{ESCAPES} {MARKUP}"


def assert_clean(app: Driver) -> None:
    """No control character in what is about to be drawn, and the app lives."""
    for line in app.text().split("\n"):
        assert not CONTROL.search(line), repr(line)
    assert app.app.is_running


async def test_a_reply_full_of_escapes_and_markup_is_text(tmp_path: Path):
    """All seven stock widgets pass an OSC 52 through; markup in a reply would run actions when clicked."""
    async with running(tmp_path, HOSTILE, model=ScriptedModel(HOSTILE)) as app:
        await app.send("hi")
        assert_clean(app)
        assert "[@click=app.quit]x[/]" in app.text()
        assert "[/foo]" in app.text()
        app.screen.open_panel("side", is_open=True)
        app.screen.refresh_margins()
        await app.pilot.pause()
        assert_clean(app)
        await app.press("alt+up")
        await app.pilot.pause()
        assert_clean(app)


async def test_thoughts_full_of_escapes_are_text(tmp_path: Path):
    async with running(tmp_path, model=ScriptedModel(f"> {HOSTILE}\n</think>\nyes")) as app:
        app.session.set_thinking(list(app.session.template.thinking)[-1])
        await app.send("hi")
        await app.press("alt+up", "enter")
        await app.until(lambda: "[/foo]" in app.text())
        assert_clean(app)


async def test_chat_names_are_one_clean_line(tmp_path: Path):
    """A name with a bidi override reads as something else; with a newline it breaks the list."""
    async with running(tmp_path) as app:
        app.session.rename(f"{HOSTILE}\n\u202egnp.exe")
        app.screen.refresh_margins()
        await app.pilot.pause()
        assert_clean(app)
        assert "\u202e" not in app.text()
        await app.press("ctrl+s", "r")
        await app.until(lambda: app.app.screen is not app.screen)
        assert not CONTROL.search(app.app.screen.query_one(Input).value)
        assert_clean(app)


async def test_model_names_and_their_errors_are_text(tmp_path: Path):
    name = "\x1b]0;pwned\x07[red]evil[!].pth"
    loader = fake_loader(
        ScriptedModel("ok"), failures={name: ModelFormatError(f"{name} is broken {HOSTILE}", hint=MARKUP)}
    )
    async with running(tmp_path, loader=loader) as app:
        (tmp_path / "models" / name).touch()
        await app.press("ctrl+l")
        await app.until(lambda: "[red]evil" in app.text())
        assert_clean(app)
        await app.press("escape")
        app.app.start_load(str(tmp_path / "models" / name))
        await app.until(lambda: "is broken" in app.text())
        assert_clean(app)
        await app.type("/model ")
        await app.pilot.pause()
        assert_clean(app)


async def test_templates_with_escapes_in_their_names_are_listed_clean(tmp_path: Path):
    """One bad file must neither hide the others nor reach the terminal."""
    prompts = tmp_path / "config" / "prompts"
    prompts.mkdir(parents=True)
    (prompts / "evil.toml").write_text("title = 1\x1b[2J", encoding="utf-8")
    (prompts / "[red]\x1b[2J.toml").write_text("nonsense", encoding="utf-8")
    async with running(tmp_path) as app:
        await app.until(lambda: app.screen.notice.display)
        assert_clean(app)
        assert len(app.app.workspace.templates.ok) > 10


async def test_what_is_pasted_and_edited_is_clean(tmp_path: Path):
    """A TextArea draws ESC as it is."""
    from textual import events

    async with running(tmp_path) as app:
        app.app.post_message(events.Paste(HOSTILE))
        await app.pilot.pause()
        assert_clean(app)
        await app.press("enter")
        await app.until(lambda: len(app.views) == 2)
        await app.quiet()
        assert_clean(app)
        await app.type("/edit")
        await app.press("enter")
        await app.until(lambda: app.screen.editing)
        assert_clean(app)


async def test_links_are_shown_before_they_are_opened(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Stock Markdown opens any scheme on a click."""
    opened: list[str] = []
    async with running(tmp_path, "[kind](ftp://host/passwd) and https://example.org/x") as app:
        monkeypatch.setattr(app.app, "open_url", lambda url, **_: opened.append(url))
        await app.send("hi")
        line = next(y for y, text in enumerate(app.text().splitlines()) if "kind and" in text)
        column = app.text().splitlines()[line].index("kind")
        await app.pilot.click(offset=(column + 1, line))
        await app.until(lambda: isinstance(app.app.screen, LinkDialog))
        await app.sees("ftp://host/passwd")
        await app.press("o")
        await app.press("escape")
        await app.until(lambda: app.app.screen is app.screen)
        assert opened == []
        column = app.text().splitlines()[line].index("https")
        await app.pilot.click(offset=(column + 1, line))
        await app.until(lambda: isinstance(app.app.screen, LinkDialog))
        await app.press("o")
        await app.until(lambda: opened == ["https://example.org/x"])
