"""Tasks that pause: each runs a little between two passes of the replies. Only the engine thread is here."""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, Any

from chatrwkv.engine.events import Done, Failed
from chatrwkv.engine.faults import foreign_errors
from chatrwkv.errors import ChatRWKVError, GenerationError

if TYPE_CHECKING:
    from collections.abc import Callable, Generator

    from chatrwkv.engine.job import Job

    Steps = Generator[None, None, Any]


class PausedTasks:
    """The tasks that are under way, in the order of their next turn."""

    def __init__(self) -> None:
        self._tasks: deque[tuple[Job[Any], Steps]] = deque()

    def __bool__(self) -> bool:
        return bool(self._tasks)

    def add(self, job: Job[Any], steps: Steps) -> None:
        """Let a task take part; what it returns is the job's result."""
        self._tasks.append((job, steps))

    def advance(self, is_leaving: Callable[[], bool]) -> None:
        """Run each task to its next pause; one that fails ends alone.

        Args:
            is_leaving: whether errors are no surprise any more.
        """
        for _ in range(len(self._tasks)):
            job, steps = self._tasks.popleft()
            try:
                with foreign_errors(is_leaving):
                    end = _next(steps)
            except ChatRWKVError as error:
                job.put(Failed(error))
            else:
                if end is None:
                    self._tasks.append((job, steps))
                else:
                    job.put(end)

    def close(self) -> None:
        """End all of them where they are."""
        for job, steps in self._tasks:
            steps.close()
            job.put(Failed(GenerationError("It was stopped: the engine is closed.")))
        self._tasks.clear()


def _next(steps: Steps) -> Done | None:
    """Run to the next pause; the result, if that was the end."""
    try:
        next(steps)
    except StopIteration as end:
        return Done(end.value)
    return None
