"""The log: a file of at most 1 MB and its predecessor, opened when there is something to say.

It holds what went wrong and with which file, never the text of a chat. Without it Python would print
records to stderr, in the middle of the app's screen.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from chatrwkv.errors import StoreError

if TYPE_CHECKING:
    from logging.handlers import RotatingFileHandler

    from chatrwkv.paths import Paths

_LARGEST = 1_000_000
_FORMAT = "%(asctime)s %(process)d %(levelname)s %(name)s: %(message)s"


class LogFile(logging.Handler):
    """Writes to the log file; a folder that cannot be written to makes it silent, not loud."""

    def __init__(self, paths: Paths | None = None) -> None:
        super().__init__(logging.INFO)
        self._paths = paths
        self._file: RotatingFileHandler | None = None
        self._is_broken = False

    def emit(self, record: logging.LogRecord) -> None:
        """Write one record."""
        if self._file is None and not self._is_broken:
            self._open()
        if self._file is not None:
            self._file.emit(record)

    def close(self) -> None:
        """Close the file."""
        if self._file is not None:
            self._file.close()
        super().close()

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802 -- logging's own name
        """A record that cannot be written is lost; the screen must not show a traceback for it."""

    def _open(self) -> None:
        # Sockets and queues come with it: 15 ms that `--help` and a start without trouble need not pay.
        from logging.handlers import RotatingFileHandler

        from chatrwkv.paths import Paths, private_dir

        paths = self._paths or Paths.default()
        try:
            private_dir(paths.log_file.parent)
            paths.log_file.touch(mode=0o600)
            self._file = RotatingFileHandler(
                paths.log_file, maxBytes=_LARGEST, backupCount=1, encoding="utf-8", delay=True
            )
        except (OSError, StoreError):
            self._is_broken = True
            return
        self._file.setFormatter(logging.Formatter(_FORMAT))
        self._file.handleError = self.handleError  # type: ignore[method-assign] # a full disk is not news here


def install() -> None:
    """Send warnings of everybody, and what this program notes, to the log file."""
    root = logging.getLogger()
    if not any(isinstance(handler, LogFile) for handler in root.handlers):
        root.addHandler(LogFile())
    logging.getLogger("chatrwkv").setLevel(logging.INFO)
