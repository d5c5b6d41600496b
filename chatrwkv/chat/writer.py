"""The one thread that writes the database: transactions in order, each with a future."""

from __future__ import annotations

import logging
import queue
import sqlite3
import threading
from concurrent.futures import Future
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar

from chatrwkv.chat.database import naming_errors, transaction
from chatrwkv.errors import ChatRWKVError, StoreError

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

T = TypeVar("T")
_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class _Task:
    work: Callable[[sqlite3.Connection], Any]
    future: Future[Any]
    in_transaction: bool
    full: bool


class Writer:
    """Runs work on the writing connection, one after the other; owns and closes that connection."""

    def __init__(self, connection: sqlite3.Connection, path: Path) -> None:
        self._connection = connection
        self._path = path
        self._tasks: queue.SimpleQueue[_Task | None] = queue.SimpleQueue()
        self._closed = False
        self._lock = threading.Lock()
        self.problem: StoreError | None = None
        """What the last write failed with; None once one succeeded again."""
        self._thread = threading.Thread(target=self._run, name="store-writer", daemon=True)
        self._thread.start()

    def submit(
        self,
        work: Callable[[sqlite3.Connection], T],
        *,
        full: bool = False,
        in_transaction: bool = True,
    ) -> Future[T]:
        """Queue `work` as one transaction; its error or result is in the future.

        Args:
            work: gets the connection.
            full: wait for the disk, not only for the system's cache.
            in_transaction: False for what cannot run inside one, such as a backup.
        """
        future: Future[T] = Future()
        with self._lock:
            if self._closed:
                future.set_exception(StoreError("The chats are closed.", hint="Restart the program."))
            else:
                self._tasks.put(_Task(work, future, in_transaction, full))
        return future

    def close(self) -> None:
        """Finish what is queued, then close the connection."""
        with self._lock:
            if not self._closed:
                self._closed = True
                self._tasks.put(None)
        self._thread.join()

    def _run(self) -> None:
        while (task := self._tasks.get()) is not None:
            try:
                result = self._do(task)
            except ChatRWKVError as error:
                if isinstance(error, StoreError) and isinstance(error.__cause__, sqlite3.Error):
                    self.problem = error  # else it is about the request, not the disk
                task.future.set_exception(error)
            except Exception as error:  # noqa: BLE001 -- the top of a thread: the caller gets it, the log keeps it
                _log.exception("a write failed")
                task.future.set_exception(error)
            else:
                self.problem = None
                task.future.set_result(result)
        with naming_errors(self._path):
            self._connection.close()

    def _do(self, task: _Task) -> Any:
        with naming_errors(self._path):
            if not task.in_transaction:
                return task.work(self._connection)
            with transaction(self._connection, full=task.full):
                return task.work(self._connection)
