"""The app in a real terminal, as a person uses it."""

from __future__ import annotations

import sqlite3
from typing import TYPE_CHECKING

from tests.e2e.fake_app import PAYLOADS
from tests.e2e.terminal import fake_app, ready

if TYPE_CHECKING:
    from pathlib import Path


def texts(data: Path) -> list[str]:
    connection = sqlite3.connect(data / "chats.db")
    try:
        return [row[0] for row in connection.execute("SELECT text FROM nodes ORDER BY seq") if row[0]]
    finally:
        connection.close()


def test_start_ask_stop_resize_and_quit(tmp_path: Path):
    """One visit: every layer down to the terminal."""
    with fake_app(tmp_path, "endless", 60) as terminal:
        terminal.keys("Tell me a story")
        terminal.until("> Tell me a story")
        terminal.keys("\r")
        terminal.until("▎Tell me a story")
        ready(terminal)
        terminal.until("esc stop")
        terminal.keys("\x1b")
        terminal.until("stopped ·")
        terminal.resize(120, 40)
        terminal.until("Sampling")
        terminal.resize(50, 12)
        terminal.until(lambda: "Sampling" not in terminal.text)
        terminal.resize(80, 24)
        terminal.until("^r again")
        terminal.keys("\x11")
        assert terminal.exit_code() == 0
        terminal.assert_restored()
    assert texts(tmp_path)[0] == "Tell me a story"


def test_alt_enter_and_ctrl_j_make_new_lines_without_kitty(tmp_path: Path):
    """shift+enter arrives as enter in most terminals; ESC CR and LF arrive everywhere."""
    with fake_app(tmp_path, "story") as terminal:
        terminal.keys("one")
        terminal.until("> one")
        for key, line in (("\x1b\r", "two"), ("\n", "three")):
            before = terminal.text
            terminal.keys(key)
            terminal.until_changed(before)
            terminal.keys(line)
            terminal.until(line)
        assert "> one\n   two\n   three" in terminal.text
        assert "You" not in terminal.text


def test_quitting_in_the_middle_of_a_reply_keeps_its_text(tmp_path: Path):
    """A quit between two tokens must not lose what was read already."""
    with fake_app(tmp_path, "endless", 60) as terminal:
        ready(terminal)
        terminal.keys("hi\r")
        terminal.until("esc stop")
        terminal.until(lambda: terminal.text.count("▎") >= 2 and "…" not in terminal.text)
        terminal.keys("\x03")
        terminal.until("ctrl+c again leaves")
        terminal.keys("\x03")
        assert terminal.exit_code() == 130
        terminal.assert_restored()
    user, reply = texts(tmp_path)
    assert user == "hi"
    assert reply.strip()


def test_no_escape_of_the_model_reaches_the_terminal(tmp_path: Path):
    """OSC 52 writes the clipboard; stock widgets pass it through."""
    with fake_app(tmp_path, "escapes") as terminal:
        ready(terminal)
        terminal.keys("hi\r")
        terminal.until("begin")
        terminal.until(lambda: " end" in terminal.text)
        terminal.keys("\x1b[1;3A")  # alt+up
        terminal.until("esc prompt")
        terminal.keys("\x1b\x1b")
        raw = terminal.raw
        terminal.keys("\x11")
        terminal.exit_code()
    for payload in PAYLOADS:
        encoded = payload.encode()
        assert payload == "\x07" or encoded not in raw, payload
    assert b"<\x07>" not in raw  # a lone BEL is also how Textual ends its own sequences
    assert b"pwned" not in raw.replace(b"app.quit", b"")
    assert b"\x1b]52" not in raw


def test_a_pasted_megabyte_is_set_aside_and_not_sent(tmp_path: Path):
    """Bracketed paste with line ends, NUL and a second end sequence inside."""
    with fake_app(tmp_path, "story") as terminal:
        ready(terminal)
        text = "The quick brown fox.\r\n" * 48_000
        for start in range(0, len(text), 4096):
            terminal.keys(("\x1b[200~" if not start else "") + text[start : start + 4096])
            terminal.read(0)
        terminal.keys("\x00\x1b[201~")
        terminal.until("⟦pasted 1,008,000 characters #1⟧")
        terminal.keys("x")
        terminal.until("#1⟧x")
        assert "You" not in terminal.text
        terminal.keys("\x11")
        terminal.exit_code()
    assert not texts(tmp_path)


def test_the_first_screen_is_there_before_torch(tmp_path: Path):
    """The first screen must not wait seconds for an import."""
    with fake_app(tmp_path, "no-torch") as terminal:
        terminal.until("torch is not loaded")
        terminal.keys("\x11")
        assert terminal.exit_code() == 0
