"""SIGTERM, SIGHUP and SIGINT, and a terminal that goes away: everything saved, the terminal given back."""

from __future__ import annotations

import os
import signal
from typing import TYPE_CHECKING

import pytest

from tests.e2e.terminal import fake_app, ready
from tests.e2e.test_pty import texts
from tests.fakes import wait_until

if TYPE_CHECKING:
    from pathlib import Path


@pytest.mark.parametrize(
    ("number", "code"), [(signal.SIGTERM, 143), (signal.SIGHUP, 129), (signal.SIGINT, 130)]
)
def test_a_signal_while_a_reply_streams(tmp_path: Path, number: signal.Signals, code: int):
    """Textual dies of the first two at once, in the alternate screen, with the mouse on and echo off."""
    with fake_app(tmp_path, "endless", 60) as terminal:
        ready(terminal)
        terminal.keys("hi\r")
        terminal.until("esc stop")
        terminal.until(lambda: terminal.text.count("▎") >= 2 and "…" not in terminal.text)
        terminal.signal(number)
        assert terminal.exit_code() == code
        terminal.assert_restored()
    user, reply = texts(tmp_path)
    assert user == "hi"
    assert reply.strip()


def test_a_signal_while_the_event_loop_hangs(tmp_path: Path):
    """The watchdog saves, restores the terminal and leaves."""
    with fake_app(tmp_path, "stuck") as terminal:
        ready(terminal)
        terminal.keys("hi\r")
        terminal.until("▎hi")
        terminal.signal(signal.SIGTERM)
        assert terminal.exit_code() == 143
        terminal.assert_restored()
    assert texts(tmp_path)[0] == "hi"


def test_a_terminal_that_is_closed_ends_the_app(tmp_path: Path):
    """A closed window sends SIGHUP, and every write to the terminal fails from then on."""
    with fake_app(tmp_path, "endless", 60) as terminal:
        ready(terminal)
        terminal.keys("hi\r")
        terminal.until("▎hi")
        pid = terminal.process.pid
        os.close(terminal.process.child_fd)
        wait_until(lambda: not _is_alive(pid))
        terminal.process.closed = True
    assert texts(tmp_path)[0] == "hi"


def _is_alive(pid: int) -> bool:
    try:
        found, _ = os.waitpid(pid, os.WNOHANG)
    except ChildProcessError:
        return False
    return found == 0
