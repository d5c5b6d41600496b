"""A job of the engine that is followed on the status line: a load, or a file that is written."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from chatrwkv.engine import Done, Failed, Progress
from chatrwkv.errors import ChatRWKVError

if TYPE_CHECKING:
    from collections.abc import Callable

    from chatrwkv.engine import Job


class Followed:
    """Progress and end of a job.

    Args:
        name: what it is, for the status line.
        job: polled, never waited for.
        then: called with the result if it succeeds.
    """

    def __init__(self, name: str, job: Job[Any], then: Callable[[object], None] | None = None) -> None:
        self.name = name
        self.job = job
        self.what = ""
        """What it last said of itself."""
        self.done = 0
        self.total = 0
        self.error: ChatRWKVError | None = None
        self._then = then
        self._result: object = None
        self._is_over = False

    def poll(self) -> bool:
        """Take what has come; whether it is over."""
        for event in self.job.drain():
            if isinstance(event, Progress):
                self.done, self.total, self.what = event.done, event.total, event.what
            elif isinstance(event, Done):
                self._result, self._is_over = event.result, True
            elif isinstance(event, Failed):
                self.error, self._is_over = event.error, True
        return self._is_over

    def finish(self) -> None:
        """Go on with the result, once it is over and has not failed; what goes wrong then is its error."""
        if self.error is None and self._then is not None:
            try:
                self._then(self._result)
            except ChatRWKVError as error:
                self.error = error
