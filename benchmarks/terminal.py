"""The real app in a pseudo-terminal, for measurements of what a person sees."""

from __future__ import annotations

import os
import pty
import select
import signal
import sys
import termios
import time
from pathlib import Path

import pyte

COLUMNS, LINES = 120, 40


class App:
    """`python -m chatrwkv` with these arguments, and its screen."""

    def __init__(self, *arguments: str) -> None:
        self.began = time.monotonic()
        self.pid, self._terminal = pty.fork()
        if self.pid == 0:
            quiet = termios.tcgetattr(0)
            quiet[3] &= ~termios.ECHO  # what the terminal itself echoes is not the app's doing
            termios.tcsetattr(0, termios.TCSANOW, quiet)
            environ = {**os.environ, "TERM": "xterm-256color", "COLUMNS": str(COLUMNS), "LINES": str(LINES)}
            environ.pop("PYTHONDONTWRITEBYTECODE", None)  # it costs a fifth of a second that no user waits
            os.execve(sys.executable, [sys.executable, "-m", "chatrwkv", *arguments], environ)
        self._screen = pyte.Screen(COLUMNS, LINES)
        self._stream = pyte.ByteStream(self._screen)

    @property
    def text(self) -> str:
        """What is on the screen."""
        # `display` of pyte fails where half of a wide character was written over
        lines = (self._screen.buffer[y] for y in range(LINES))
        return "\n".join("".join(line[x].data for x in range(COLUMNS)) for line in lines)

    def write(self, text: str) -> None:
        """Press keys."""
        os.write(self._terminal, text.encode())

    def read(self, wait: float = 0.005) -> float | None:
        """Take in what was drawn: when it arrived, by `time.monotonic`; None if there was nothing."""
        if not select.select([self._terminal], [], [], wait)[0]:
            return None
        data, now = os.read(self._terminal, 65536), time.monotonic()
        self._stream.feed(data)
        return now

    def drawing_s(self) -> float:
        """Processor seconds of its first thread so far, which draws."""
        path = Path(f"/proc/{self.pid}/task/{self.pid}/schedstat")
        return int(path.read_text(encoding="ascii").split()[0]) / 1e9

    def close(self) -> None:
        """End it as a closing terminal does."""
        os.kill(self.pid, signal.SIGTERM)
        while True:
            try:
                if not os.read(self._terminal, 65536):
                    break
            except OSError:
                break
        os.waitpid(self.pid, 0)
        os.close(self._terminal)
