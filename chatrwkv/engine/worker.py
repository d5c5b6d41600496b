"""The engine thread: the only one that enters the model. Jobs go in, events come out, nobody is called back.

Jobs are taken in order; replies that are submitted while others run join them. A load waits until the
replies and tasks before it are over, and what is submitted after a load waits for the load. A task that is a
generator gives way to replies at each `yield`. torch is imported by the first load, on this thread.
"""

from __future__ import annotations

import atexit
import gc
import logging
import os
import sys
import threading
from collections import deque
from collections.abc import Generator
from contextlib import suppress
from dataclasses import dataclass, replace
from queue import Empty, SimpleQueue
from typing import TYPE_CHECKING, Any, Protocol, TypeVar, overload

from chatrwkv.engine.events import Done, Failed, Finished, Progress
from chatrwkv.engine.faults import foreign_errors, in_our_words
from chatrwkv.engine.importing import import_torch
from chatrwkv.engine.job import Job, ReplyJob
from chatrwkv.engine.pauses import PausedTasks
from chatrwkv.errors import ChatRWKVError, GenerationError, ModelNotFound, ModelTooLarge, OutOfMemory

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path

    from chatrwkv.engine.events import ModelInfo
    from chatrwkv.engine.model import LoadedModel
    from chatrwkv.engine.request import GenerateRequest
    from chatrwkv.engine.scheduler import Scheduler

    Task = Callable[[LoadedModel, Callable[[], bool], Callable[[int, int, str], None]], Any]

__all__ = ["EngineThread", "Job"]

T = TypeVar("T")
_log = logging.getLogger(__name__)

# A daemon thread that is in C++ when Python (before 3.14) goes down is unwound there, which ends in
# `terminate called` and a core dump: seen when leaving during `import torch`, which takes up to 9 s.
_AT_EXIT_S = 12.0


class Loader(Protocol):
    """`load_model`, or what a test puts in its place."""

    def __call__(
        self,
        path: Path,
        *,
        device: str,
        dtype: str,
        progress: Callable[[int, int], None],
        cancelled: Callable[[], bool],
    ) -> LoadedModel:
        """Load a model or raise a `ChatRWKVError`."""
        ...


@dataclass(frozen=True, slots=True)
class _Load:
    job: Job[ModelInfo]
    path: Path
    device: str
    dtype: str


@dataclass(frozen=True, slots=True)
class _Submit:
    jobs: Sequence[ReplyJob]


@dataclass(frozen=True, slots=True)
class _Call:
    job: Job[Any]
    task: Task


_Message = _Load | _Submit | _Call


class EngineThread:
    """The owner of the model.

    Args:
        loader: loads a model; `load_model` by default.
    """

    def __init__(self, loader: Loader | None = None) -> None:
        self._loader = loader or _load_model
        self._inbox: SimpleQueue[_Message | None] = SimpleQueue()
        self._agenda: deque[_Message] = deque()
        self._loaded: LoadedModel | None = None
        self._scheduler: Scheduler | None = None
        self._replying: list[ReplyJob] = []
        self._paused = PausedTasks()
        self._info: ModelInfo | None = None
        self._lock = threading.Lock()  # between `_post` and `close`
        self._is_closing = False
        self._thread = threading.Thread(target=self._run, name="engine", daemon=True)

    # -- from any thread ----------------------------------------------------------------------------------

    def start(self) -> None:
        """Begin to work; jobs given before wait for it."""
        self._thread.start()
        atexit.register(self.close, _AT_EXIT_S)

    def close(self, timeout: float = 1.0) -> None:
        """Cancel everything and wait for the thread, but not longer than `timeout` seconds.

        Replies that run end as `Finished(CANCELLED)` with their state. A thread that is deep inside a pass
        or `import torch` is left behind. Before Python itself goes down it is waited for a little longer,
        unless the program leaves by `os._exit`.
        """
        with self._lock:
            self._is_closing = True
        self._inbox.put(None)
        if self._thread.is_alive():
            self._thread.join(timeout)
            if not self._thread.is_alive():
                atexit.unregister(self.close)
        elif not self._thread.ident:
            self._end_everything()

    @property
    def info(self) -> ModelInfo | None:
        """The loaded model."""
        return self._info

    def load(self, path: Path, *, device: str = "auto", dtype: str = "auto") -> Job[ModelInfo]:
        """Load a model in place of the present one: `Progress` …, then `Done(ModelInfo)`.

        On failure the present one stays. It is freed first only when both do not fit.
        """
        job: Job[ModelInfo] = Job()
        self._post(_Load(job, path, device, dtype), [job])
        return job

    def submit(self, request: GenerateRequest) -> Job[Finished]:
        """Ask for a reply."""
        return self.submit_many([request])[0]

    def submit_many(self, requests: Sequence[GenerateRequest]) -> list[Job[Finished]]:
        """Ask for replies that run in the same passes; equal prompts are read once."""
        jobs = [ReplyJob(request) for request in requests]
        self._post(_Submit(jobs), jobs)
        return list(jobs)

    @overload
    def call(
        self,
        task: Callable[
            [LoadedModel, Callable[[], bool], Callable[[int, int, str], None]], Generator[None, None, T]
        ],
    ) -> Job[T]: ...

    @overload
    def call(
        self, task: Callable[[LoadedModel, Callable[[], bool], Callable[[int, int, str], None]], T]
    ) -> Job[T]: ...

    def call(self, task: Task) -> Job[Any]:
        """Run `task(loaded, cancelled, progress)` on the engine thread, between two passes of replies.

        A generator runs to its next `yield` between two passes, so that replies go on beside it; the job's
        result is what it returns.
        """
        job: Job[Any] = Job()
        self._post(_Call(job, task), [job])
        return job

    def _post(self, message: _Message, jobs: Sequence[Job[Any]]) -> None:
        with self._lock:
            if not self._is_closing:
                self._inbox.put(message)
                return
        for job in jobs:
            job.put(Failed(GenerationError("The engine is closed.")))

    # -- on the engine thread -----------------------------------------------------------------------------

    def _run(self) -> None:
        while not self._is_closing:
            self._collect()
            self._work()
            self._paused.advance(self._leaving)
            if self._scheduler is not None and self._scheduler.is_busy:
                self._turn(self._scheduler)
                if not self._is_replying:
                    self._replying.clear()  # an ended job holds a state
        self._end_everything()

    def _turn(self, scheduler: Scheduler) -> None:
        try:
            scheduler.turn()
        except Exception as error:  # noqa: BLE001 - top of a thread, which must outlive any mistake of ours
            for job in self._replying:
                job.put(Failed(in_our_words(error)))
            self._adopt(self._loaded)

    @property
    def _is_replying(self) -> bool:
        return self._scheduler is not None and self._scheduler.is_busy

    @property
    def _is_busy(self) -> bool:
        return self._is_replying or bool(self._paused)

    def _collect(self) -> None:
        """Take what was posted; wait for it if there is nothing else to do."""
        block = not self._is_busy and not self._agenda
        while True:
            try:
                message = self._inbox.get(block)
            except Empty:
                return
            block = False
            if message is not None:
                self._agenda.append(message)

    def _work(self) -> None:
        while self._agenda and not self._is_closing:
            message = self._agenda[0]
            if isinstance(message, _Load) and self._is_busy and not message.job.cancelled:
                return  # the replies before it end first
            self._agenda.popleft()
            if isinstance(message, _Submit):
                self._join(message.jobs)
            elif message.job.claim():
                self._finish_task(message)

    def _join(self, jobs: Sequence[ReplyJob]) -> None:
        ready = [job for job in jobs if job.claim()]
        if self._scheduler is None:
            for job in ready:
                job.put(Failed(_no_model()))
            return
        self._scheduler.add([(job.request, job) for job in ready])
        self._replying = [job for job in self._replying if not job.done.is_set()] + ready

    def _finish_task(self, message: _Load | _Call) -> None:
        job: Job[Any] = message.job
        try:
            with foreign_errors(self._leaving):
                if isinstance(message, _Load):
                    result: object = self._load(message)
                else:
                    result = self._call(message)
        except ChatRWKVError as error:
            job.put(Failed(error))
        else:
            if isinstance(result, Generator):
                self._paused.add(job, result)
            else:
                job.put(Done(result))

    def _leaving(self) -> bool:
        # `import torch` fails in any of a hundred places when the program is on its way out.
        return self._is_closing

    def _call(self, message: _Call) -> object:
        job = message.job
        if self._loaded is None:
            raise _no_model()
        return message.task(
            self._loaded,
            lambda: job.cancelled or self._is_closing,
            lambda done, total, what: job.put(Progress(done, total, what)),
        )

    # -- loading ------------------------------------------------------------------------------------------

    def _load(self, message: _Load) -> ModelInfo:
        import_torch()
        _use_threads()
        try:
            self._adopt(self._read_model(message))
        except (ModelTooLarge, OutOfMemory) as error:
            if self._loaded is None:
                raise
            _log.info("freeing %s to make room: %s", self._loaded.name, error.message)
        else:
            return self._loaded_info()
        # Outside `except`: its traceback would keep alive what was loaded so far.
        former = self._loaded
        back = replace(message, path=former.path, device=former.device, dtype=former.dtype, job=Job())
        del former
        self._adopt(None)
        try:
            self._adopt(self._read_model(message))
        except ChatRWKVError:
            self._restore(back)
            raise
        return self._loaded_info()

    def _loaded_info(self) -> ModelInfo:
        assert self._info is not None, "just loaded"
        return self._info

    def _read_model(self, message: _Load) -> LoadedModel:
        job, what = message.job, f"Loading {message.path.name}"
        with foreign_errors(self._leaving):
            return self._loader(
                message.path,
                device=message.device,
                dtype=message.dtype,
                progress=lambda done, total: job.put(Progress(done, total, what)),
                cancelled=lambda: job.cancelled or self._is_closing,
            )

    def _restore(self, message: _Load) -> None:
        """Load the former model again; it fitted before."""
        try:
            self._adopt(self._read_model(message))
        except ChatRWKVError:
            _log.exception("the former model %s could not be loaded again", message.path)

    def _adopt(self, loaded: LoadedModel | None) -> None:
        self._loaded = loaded
        self._info = None if loaded is None else loaded.info
        self._scheduler = None if loaded is None else _new_scheduler(loaded)
        if loaded is None:
            gc.collect()
            if (torch := sys.modules.get("torch")) is not None and torch.cuda.is_initialized():
                with suppress(RuntimeError):  # of a device that stopped answering
                    torch.cuda.empty_cache()

    # -- the end ------------------------------------------------------------------------------------------

    def _end_everything(self) -> None:
        """Nothing stays open: running replies end with their state, the rest unbegun."""
        self._agenda.extend(message for message in _emptied(self._inbox) if message is not None)
        for message in self._agenda:
            for job in message.jobs if isinstance(message, _Submit) else [message.job]:
                job.cancel()
        self._agenda.clear()
        for job in self._replying:
            job.cancel()
        self._paused.close()
        if self._scheduler is not None and self._scheduler.is_busy:
            self._turn(self._scheduler)
        self._replying.clear()
        self._scheduler = self._loaded = None


def _emptied(queue: SimpleQueue[_Message | None]) -> Iterator[_Message | None]:
    while True:
        try:
            yield queue.get_nowait()
        except Empty:
            return


def _load_model(path: Path, **options: Any) -> LoadedModel:
    from chatrwkv.engine.model import load_model

    return load_model(path, **options)


def _new_scheduler(loaded: LoadedModel) -> Scheduler:
    from chatrwkv.engine.scheduler import Scheduler

    return Scheduler(loaded)


def _no_model() -> ChatRWKVError:
    return ModelNotFound("No model is loaded.", hint="Choose one with /model or ctrl+l, then ask again.")


def _use_threads() -> None:
    """Leave one core to the interface: on two cores decoding is even faster with one thread (23 against 19)."""
    if "OMP_NUM_THREADS" in os.environ:
        return
    import torch

    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    torch.set_num_threads(max(1, cores - 1))
