"""SIGTERM, SIGHUP and SIGINT take the same road as quitting, and the terminal is always given back.

Textual 8.2.8 dies of SIGTERM and SIGHUP at once, in the alternate screen with the mouse on. Here a signal
asks the event loop to quit; a watchdog thread gives it two seconds less a margin, then saves what it can,
restores the terminal itself and leaves.
"""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import threading
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Callable
    from types import FrameType

# The promise is two seconds; saving and writing the escape sequences take part of them.
_PATIENCE_S = 1.5

# What Textual switches on, switched off: bracketed paste, mouse, focus reports, in-band resize, Kitty keys,
# alternate screen; and line wrap, colours and the cursor back.
_RESTORE = (
    b"\x1b[?2004l\x1b[?1000l\x1b[?1003l\x1b[?1015l\x1b[?1006l\x1b[?1016l\x1b[?1004l\x1b[?2048l"
    b"\x1b[<u\x1b[?7h\x1b[?1049l\x1b[0m\x1b[?25h"
)

SIGNALS = tuple(getattr(signal, name) for name in ("SIGTERM", "SIGHUP", "SIGINT") if hasattr(signal, name))


class SignalWatch:
    """Handles the three signals from `install` to `remove`."""

    def __init__(self) -> None:
        self._quit: Callable[[int], None] = lambda _: None
        self._save: Callable[[], None] = lambda: None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._before: dict[signal.Signals, Any] = {}
        self._terminal = _terminal_attributes()
        self._left = threading.Event()
        self.code = 0

    def install(
        self, loop: asyncio.AbstractEventLoop, leave: Callable[[int], None], save: Callable[[], None]
    ) -> None:
        """Begin; only the main thread can.

        Args:
            loop: the app's.
            leave: called in the event loop with the exit code.
            save: called by the watchdog, from its own thread, when the loop does not answer.
        """
        self._loop, self._quit, self._save = loop, leave, save
        if threading.current_thread() is threading.main_thread():
            for number in SIGNALS:
                self._before[number] = signal.signal(number, self._on_signal)

    def remove(self) -> None:
        """The app has left; the old handlers are back and the watchdog sleeps."""
        self._left.set()
        for number, handler in self._before.items():
            signal.signal(number, handler)
        self._before.clear()

    def _on_signal(self, number: int, _frame: FrameType | None) -> None:
        if self.code:
            return  # it is under way, and the watchdog counts
        self.code = 128 + number
        threading.Thread(target=self._watch, name="quit-watchdog", daemon=True).start()
        if self._loop is not None:
            with contextlib.suppress(RuntimeError):  # closed: the watchdog does the rest
                self._loop.call_soon_threadsafe(self._quit, self.code)

    def watch(self, code: int) -> None:
        """Start the watchdog for a quit that began without a signal."""
        if not self.code:
            self.code = code
            threading.Thread(target=self._watch, name="quit-watchdog", daemon=True).start()

    def _watch(self) -> None:
        if self._left.wait(_PATIENCE_S):
            return
        saver = threading.Thread(target=self._save, name="quit-save", daemon=True)
        saver.start()
        saver.join(0.3)
        restore_terminal(self._terminal)
        os._exit(self.code)


def _terminal_attributes() -> list[Any] | None:
    try:
        import termios
    except ImportError:  # Windows, where Textual gives the console back itself
        return None
    with contextlib.suppress(OSError, ValueError, AttributeError, termios.error):
        return termios.tcgetattr(sys.__stdin__.fileno())  # type: ignore[union-attr] # None is suppressed
    return None


def restore_terminal(attributes: list[Any] | None) -> None:
    """Leave the alternate screen and give echo and the cursor back, whatever state the app is in."""
    if attributes is None:
        return
    import termios

    # Not blocking: a terminal that is gone or does not read must not keep us.
    with contextlib.suppress(OSError):
        terminal = os.open("/dev/tty", os.O_WRONLY | os.O_NONBLOCK | os.O_NOCTTY)
        with contextlib.suppress(OSError):
            os.write(terminal, _RESTORE)
        with contextlib.suppress(OSError, termios.error):
            termios.tcsetattr(terminal, termios.TCSANOW, attributes)
        os.close(terminal)
