"""A real process in a real terminal: `pexpect` runs it, `pyte` is the screen."""

from __future__ import annotations

import os
import signal
import sys
import termios
import time
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import pexpect
import pyte

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

ROOT = Path(__file__).parents[2]
PATIENCE_S = 40.0
ECHO_FLAGS = termios.ECHO | termios.ICANON | termios.ISIG


class Terminal:
    """What a person sees and does."""

    def __init__(self, *arguments: str, columns: int = 80, lines: int = 24) -> None:
        self._pyte = pyte.Screen(columns, lines)
        self._stream = pyte.ByteStream(self._pyte)
        self.raw = b""
        environ = {**os.environ, "TERM": "xterm-256color", "COLORTERM": "truecolor", "PYTHONPATH": str(ROOT)}
        self.process = pexpect.spawn(
            sys.executable,
            ["-m", *arguments],
            cwd=str(ROOT),
            env=environ,
            dimensions=(lines, columns),
            echo=True,
        )
        self.process.delaybeforesend = None
        self.attributes = self._attributes()

    def _attributes(self) -> list[int]:
        return termios.tcgetattr(self.process.child_fd)[:4]

    @property
    def text(self) -> str:
        return "\n".join(line.rstrip() for line in self._pyte.display)

    def read(self, seconds: float = 0.05) -> bool:
        """Take what the process wrote; False once it is gone."""
        try:
            chunk = self.process.read_nonblocking(1 << 16, seconds)
        except pexpect.TIMEOUT:
            return True
        except pexpect.EOF:
            return False
        self.raw += chunk
        self._stream.feed(chunk)
        return True

    def until(self, condition: str | Callable[[], object]) -> None:
        """Read until a text is on the screen, or a condition holds."""
        deadline = time.monotonic() + PATIENCE_S
        while not (condition in self.text if isinstance(condition, str) else condition()):
            assert self.read(), f"the process ended; the screen is\n{self.text}"
            assert time.monotonic() < deadline, f"waited for {condition!r}; the screen is\n{self.text}"

    def until_changed(self, before: str) -> None:
        """Read until the screen differs from what it was."""
        self.until(lambda: self.text != before)

    def keys(self, text: str) -> None:
        self.process.send(text)

    def resize(self, columns: int, lines: int) -> None:
        self.process.setwinsize(lines, columns)
        self._pyte.resize(lines, columns)

    def signal(self, number: signal.Signals) -> None:
        os.kill(self.process.pid, number)

    def exit_code(self) -> int:
        """Wait for the end."""
        deadline = time.monotonic() + PATIENCE_S
        while self.read():
            assert time.monotonic() < deadline, f"it does not end; the screen is\n{self.text}"
        self.process.wait()
        assert self.process.signalstatus is None, f"killed by signal {self.process.signalstatus}"
        code: int | None = self.process.exitstatus
        assert code is not None
        return code

    def assert_restored(self) -> None:
        """Alternate screen left, mouse and paste reports off, cursor on, echo back."""
        for on, off in (
            (b"?1049h", b"?1049l"),
            (b"?1003h", b"?1003l"),
            (b"?2004h", b"?2004l"),
            (b"?25l", b"?25h"),
        ):
            assert self.raw.rfind(off) > self.raw.rfind(on), f"{on!r} was not taken back"
        assert self._attributes() == self.attributes


@contextmanager
def fake_app(data: Path, kind: str = "story", speed: float = 200.0, **size: int) -> Iterator[Terminal]:
    """The app over a fake engine, until its prompt and model are there."""
    terminal = Terminal("tests.e2e.fake_app", str(data), kind, str(speed), **size)
    try:
        terminal.until("ask, or / for commands")
        yield terminal
    finally:
        if not terminal.process.closed:  # a test may have closed the terminal already
            if terminal.process.isalive():
                terminal.process.kill(signal.SIGKILL)
                terminal.process.wait()  # `close` would give it a tenth of a second to die
            terminal.process.close()


def ready(terminal: Terminal) -> None:
    """The model is loaded."""
    terminal.until(lambda: "tok/s" in terminal.text and "loading" not in terminal.text)
