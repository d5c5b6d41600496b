"""The prompt: new lines, history, long pastes, arrows, the list of commands, $EDITOR."""

from __future__ import annotations

import contextlib
import stat
from typing import TYPE_CHECKING

import pytest
from textual import events

from chatrwkv.tui.app import ChatApp
from tests.tui.driver import running

if TYPE_CHECKING:
    from pathlib import Path

    from tests.tui.driver import Driver


async def paste(app: Driver, text: str) -> None:
    app.app.post_message(events.Paste(text))
    await app.pilot.pause()


@pytest.mark.parametrize("key", ["ctrl+j", "shift+enter", "alt+enter"])
async def test_keys_for_a_new_line_do_not_send(tmp_path: Path, key: str):
    """shift+enter needs the Kitty protocol, so two other keys must do the same."""
    async with running(tmp_path) as app:
        await app.type("one")
        await app.press(key)
        await app.type("two")
        assert app.screen.prompt.text == "one\ntwo"
        assert not app.session.path()


async def test_the_prompt_grows_to_ten_lines_and_shrinks_again(tmp_path: Path):
    """A prompt that fills the screen hides the transcript; one that stays large wastes it."""
    async with running(tmp_path) as app:
        assert app.screen.prompt.size.height == 1
        await paste(app, "\n".join("abcdefghijklmnopqrst"))
        await app.until(lambda: app.screen.prompt.size.height == 10)
        app.screen.prompt.empty()
        await app.until(lambda: app.screen.prompt.size.height == 1)


async def test_swapped_send_key_sends_with_ctrl_j(tmp_path: Path):
    """`interface.send_key = "ctrl+j"` for people who write long messages."""
    from chatrwkv.config import InterfaceSettings, Settings

    settings = Settings(interface=InterfaceSettings(send_key="ctrl+j"))
    async with running(tmp_path, settings=settings) as app:
        await app.type("one")
        await app.press("enter")
        await app.type("two")
        assert app.screen.prompt.text == "one\ntwo"
        await app.press("ctrl+j")
        await app.until(lambda: app.answers()[:1] == ["one\ntwo"])
        await app.quiet()


async def test_history_comes_back_with_up_also_after_a_restart(tmp_path: Path):
    """`up` at the first line recalls; what was being typed is not lost by looking."""
    async with running(tmp_path) as app:
        await app.send("first")
        await app.send("second")
    async with running(tmp_path) as app:
        await app.type("draft")
        await app.press("up")
        assert app.screen.prompt.text == "second"
        await app.press("up")
        assert app.screen.prompt.text == "first"
        await app.press("down", "down")
        assert app.screen.prompt.text == "draft"


async def test_a_draft_survives_a_restart(tmp_path: Path):
    """Do not lose my text."""
    async with running(tmp_path) as app:
        await app.send("hello")
        await app.type("half a sent")
    async with running(tmp_path, continue_last=True) as app:
        assert app.screen.prompt.text == "half a sent"


async def test_a_megabyte_is_set_aside_never_sent_and_sent_whole(tmp_path: Path):
    """Pasting 1 MB into a TextArea blocks for seven seconds; with line ends it must not send either."""
    text = "The quick brown fox.\r\n" * 48_000
    async with running(tmp_path) as app:
        await paste(app, f"{text}\x00\x1b[201~\x1b]52;c;aGk=\x07")
        assert not app.session.path()
        assert "pasted" in app.screen.prompt.text
        assert len(app.screen.prompt.text) < 100
        whole = app.screen.prompt.full_text
        assert whole == text.replace("\r\n", "\n")
        await app.type(" and?")
        assert app.screen.prompt.full_text == whole + " and?"


async def test_a_long_message_is_folded_and_opens(tmp_path: Path):
    """A pasted book must not push everything away."""
    async with running(tmp_path) as app:
        await paste(app, "\n".join(f"line {i}" for i in range(500)))
        await app.press("enter")
        await app.until(lambda: len(app.views) == 2)
        await app.quiet()
        assert app.views[0].size.height < 30
        await app.press("alt+up", "alt+up", "enter")
        await app.until(lambda: app.views[0].size.height > 400)
        assert len(app.session.path()[0].text.splitlines()) == 500


async def test_slash_lists_commands_and_tab_completes(tmp_path: Path):
    """Type-ahead: fuzzy, tab completes, esc closes, two slashes are a slash."""
    async with running(tmp_path) as app:
        await app.type("/ren")
        await app.until(lambda: "/rename [NAME]" in app.text())
        await app.press("tab")
        assert app.screen.prompt.text == "/rename "
        await app.type("A new name")
        await app.press("enter")
        await app.until(lambda: app.session.title == "A new name")
        assert app.screen.prompt.text == ""
        await app.type("/")
        await app.until(lambda: app.screen.prompt_box.slash.display)
        await app.press("escape")
        await app.until(lambda: not app.screen.prompt_box.slash.display)
        assert app.screen.prompt.text == "/"
        await app.type("/etc is a folder")
        await app.press("enter")
        await app.until(lambda: app.answers()[:1] == ["/etc is a folder"])
        await app.quiet()


async def test_enter_in_the_list_runs_what_is_under_the_cursor(tmp_path: Path):
    """The list takes the arrows while it is open; history must not."""
    async with running(tmp_path) as app:
        await app.send("hello")
        await app.type("/")
        await app.until(lambda: app.screen.prompt_box.slash.display)
        await app.press("down", "enter")  # /chats
        await app.until(lambda: app.screen.chats.rows.has_focus)
        assert app.screen.prompt.text == ""


async def test_an_unknown_command_is_not_sent_as_a_message(tmp_path: Path):
    """A mistyped command must not become a question to the model."""
    async with running(tmp_path) as app:
        await app.type("/retryy 4")
        await app.press("enter")
        await app.until(lambda: "There is no command /retryy" in app.text())
        await app.until(lambda: app.screen.prompt.text == "/retryy 4")
        assert not app.session.path()


async def test_values_of_a_command_are_offered(tmp_path: Path):
    """`/prompt ` and `/model ` list what there is."""
    async with running(tmp_path) as app:
        await app.type("/prompt wor")
        await app.until(lambda: "world-chat" in app.text())
        await app.press("tab", "enter")
        await app.until(lambda: app.session.template.name.startswith("world-"))


async def test_the_chatrwkv_dialect_still_works(tmp_path: Path):
    """`+`, `-temp=` and `+reset` are in the fingers of everybody who used ChatRWKV."""
    async with running(tmp_path) as app:
        await app.type("hello -temp=0.7 -top_p=0.5")
        await app.press("enter")
        await app.until(lambda: app.answers()[:1] == ["hello"])
        await app.quiet()
        assert (app.session.params.temperature, app.session.params.top_p) == (0.7, 0.5)
        await app.type("+")
        await app.press("enter")
        await app.until(lambda: "‹ 2/2 ›" in app.text())
        await app.quiet()
        before = app.session.id
        await app.type("+reset")
        await app.press("enter")
        await app.until(lambda: app.session.id != before)


async def test_the_editor_writes_the_prompt(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """ctrl+g; an editor that fails leaves the prompt as it was."""
    editor = tmp_path / "editor"
    editor.write_text('#!/bin/sh\nprintf "from the editor\\n" >> "$1"\n', encoding="utf-8")
    editor.chmod(editor.stat().st_mode | stat.S_IXUSR)
    monkeypatch.setenv("VISUAL", str(editor))
    # The headless driver has no terminal to lend.
    monkeypatch.setattr(ChatApp, "suspend", lambda _: contextlib.nullcontext())
    async with running(tmp_path) as app:
        await app.type("typed ")
        await app.press("ctrl+g")
        await app.until(lambda: app.screen.prompt.text == "typed from the editor")


async def test_a_missing_editor_is_one_sentence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """No traceback, and the text stays."""
    monkeypatch.setenv("VISUAL", str(tmp_path / "nowhere"))
    monkeypatch.setattr(ChatApp, "suspend", lambda _: contextlib.nullcontext())
    async with running(tmp_path) as app:
        await app.type("typed")
        await app.press("ctrl+g")
        await app.until(lambda: app.screen.notice.display)
        assert app.screen.prompt.text == "typed"


async def test_keys_in_a_burst_keep_their_order(tmp_path: Path):
    """Bindings are looked at after an event has climbed to the app; letters are inserted at once."""
    async with running(tmp_path) as app:
        for key, char in (
            ("a", "a"), ("b", "b"), ("left", None), ("c", "c"), ("end", None), ("shift+enter", None), ("d", "d"),
            ("home", None), ("e", "e"),
        ):  # fmt: skip
            app.app.post_message(events.Key(key, char))
        await app.until(lambda: app.screen.prompt.text == "acb\ned")


async def test_what_is_typed_right_after_enter_stays(tmp_path: Path):
    """The prompt is emptied when enter is pressed, not when the message has been stored."""
    async with running(tmp_path) as app:
        for key in ("o", "n", "e", "enter", "t", "w", "o"):
            app.app.post_message(events.Key(key, key if len(key) == 1 else None))
        await app.until(lambda: app.session.path() and app.session.path()[0].text == "one")
        await app.quiet()
        assert app.screen.prompt.text == "two"


async def test_a_command_in_a_burst_is_completed(tmp_path: Path):
    """Tab right after the letters must complete, not leave the prompt."""
    async with running(tmp_path) as app:
        for key, char in (
            ("slash", "/"),
            ("r", "r"),
            ("e", "e"),
            ("n", "n"),
            ("tab", "\t"),
            ("x", "x"),
            ("enter", "\r"),
        ):
            app.app.post_message(events.Key(key, char))
        await app.until(lambda: app.session.title == "x")


async def test_chinese_is_typed_at_the_caret(tmp_path: Path):
    """Wide characters before the caret must not shift what is typed."""
    async with running(tmp_path) as app:
        await app.type("三体问答")
        await app.press("left", "left")
        await app.type("的")
        assert app.screen.prompt.text == "三体的问答"
        await app.press("enter")
        await app.until(lambda: app.answers()[:1] == ["三体的问答"])
        await app.quiet()
        assert "三体的问答" in app.text()
