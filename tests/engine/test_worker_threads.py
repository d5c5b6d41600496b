"""The engine thread: order, cancelling, failing, switching models, closing."""

from __future__ import annotations

import subprocess
import sys
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from chatrwkv.engine.events import Done, Failed, Finished, FinishReason, Prefilled, Progress, Token
from chatrwkv.engine.worker import EngineThread, Job
from chatrwkv.errors import GenerationError, ModelFormatError, ModelNotFound, ModelTooLarge, OutOfMemory
from tests.engine.replying import alone, ask, mind
from tests.fakes import WAIT_S, FakeModel, Gate, fake_loader, loaded, wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator

A, B = Path("a.pth"), Path("b.pth")


@pytest.fixture
def engines() -> Iterator[list[EngineThread]]:
    """Engines to be closed after the test, whatever happened."""
    running: list[EngineThread] = []
    yield running
    for engine in running:
        engine.close(WAIT_S)


def started(
    engines: list[EngineThread], loader: fake_loader | None = None, path: Path | None = A
) -> EngineThread:
    engine = EngineThread(loader or fake_loader())
    engines.append(engine)
    engine.start()
    if path is not None:
        engine.load(path).result(WAIT_S)
    return engine


def gated(engines: list[EngineThread]) -> tuple[EngineThread, Gate]:
    """An engine whose every pass waits for the test."""
    gate = Gate()
    return started(engines, fake_loader(FakeModel("a", before=gate))), gate


def name(engine: EngineThread) -> str:
    assert engine.info is not None
    return engine.info.name


def said_alone(salt: str = "a", **settings: Any) -> str:
    return alone(loaded(FakeModel(salt)), ask(**settings)).finished.text


def test_load_tells_progress_and_then_what_was_loaded(engines: list[EngineThread]):
    engine = started(engines, path=None)
    events = list(engine.load(A))
    assert isinstance(events[0], Progress)
    assert events[0].what == "Loading a.pth"
    assert isinstance(events[-1], Done)
    assert events[-1].result is engine.info
    assert name(engine) == "a"


def test_reply_comes_as_a_stream_of_events_in_order(engines: list[EngineThread]):
    engine = started(engines)
    events = list(engine.submit(ask(max_tokens=3)))
    assert [type(event) for event in events] == [Prefilled, Token, Token, Token, Finished]


def test_replies_submitted_together_share_their_passes(engines: list[EngineThread]):
    model = FakeModel("a")
    engine = started(engines, fake_loader(model))
    jobs = engine.submit_many([ask(seed=i) for i in range(8)])
    texts = [job.result(WAIT_S).text for job in jobs]
    assert texts == [said_alone(seed=i) for i in range(8)]
    assert set(model.step_sizes) == {8}
    assert len(model.scan_sizes) == 1


def test_reply_submitted_while_another_runs_joins_it(engines: list[EngineThread]):
    engine, gate = gated(engines)
    first = engine.submit(ask(max_tokens=6))
    gate.allow(3)
    wait_until(lambda: gate.n_passed == 3 and gate.waiting)
    second = engine.submit(ask("later", max_tokens=2))
    gate.open()
    assert first.result(WAIT_S).text == said_alone(max_tokens=6)
    assert (
        second.result(WAIT_S).text == alone(loaded(FakeModel("a")), ask("later", max_tokens=2)).finished.text
    )


def test_without_a_model_a_reply_and_a_task_fail_with_the_next_step(engines: list[EngineThread]):
    engine = started(engines, path=None)
    for job in (engine.submit(ask()), engine.call(lambda *_: None)):
        with pytest.raises(ModelNotFound, match="No model is loaded") as caught:
            job.result(WAIT_S)
        assert "/model" in caught.value.hint


def test_reply_waits_for_a_load_that_was_asked_for_before_it(engines: list[EngineThread]):
    """The user types while the model loads at start."""
    gate = Gate()
    engine = started(engines, fake_loader(gate=gate), path=None)
    load, reply = engine.load(A), engine.submit(ask())
    gate.wait_until_blocked()
    assert not reply.done.is_set()
    gate.open()
    load.result(WAIT_S)
    assert reply.result(WAIT_S).text == said_alone()


def test_cancel_stops_within_one_step(engines: list[EngineThread]):
    engine, gate = gated(engines)
    job = engine.submit(ask(max_tokens=50))
    gate.allow(3)  # the prompt and two tokens
    wait_until(lambda: gate.n_passed == 3 and gate.waiting)
    job.cancel()
    gate.allow(1)
    finished = job.result(WAIT_S)
    assert finished.reason is FinishReason.CANCELLED
    assert gate.n_passed == 4
    assert len(finished.token_ids) == 3
    assert mind(finished.snapshot) == mind(alone(loaded(FakeModel("a")), ask(max_tokens=3)).finished.snapshot)


def test_cancel_stops_within_one_piece_of_the_prompt(engines: list[EngineThread]):
    engine, gate = gated(engines)
    job = engine.submit(ask("x" * 500))
    gate.wait_until_blocked()
    job.cancel()
    gate.allow(1)
    finished = job.result(WAIT_S)
    assert (finished.reason, finished.token_ids) == (FinishReason.CANCELLED, ())
    assert finished.snapshot is not None
    assert finished.snapshot.n_tokens == 64


def test_cancelling_one_reply_leaves_the_others_running(engines: list[EngineThread]):
    engine, gate = gated(engines)
    first, second = engine.submit_many([ask(seed=1), ask(seed=2)])
    gate.allow(3)
    wait_until(lambda: gate.n_passed == 3)
    first.cancel()
    gate.open()
    assert first.result(WAIT_S).reason is FinishReason.CANCELLED
    assert second.result(WAIT_S).text == said_alone(seed=2)


def test_reply_behind_a_load_can_be_cancelled_at_once(engines: list[EngineThread]):
    gate = Gate()
    engine = started(engines, fake_loader(gate=gate), path=None)
    load, reply = engine.load(A), engine.submit(ask())
    gate.wait_until_blocked()
    reply.cancel()
    assert reply.result(0).reason is FinishReason.CANCELLED
    gate.open()
    load.result(WAIT_S)
    assert engine.submit(ask()).result(WAIT_S).text == said_alone()


def test_load_waits_for_the_replies_before_it_and_then_answers_differently(engines: list[EngineThread]):
    gate = Gate()
    engine = started(engines, fake_loader(before=gate))
    old = engine.submit(ask(max_tokens=4))
    gate.wait_until_blocked()
    load, new = engine.load(B), engine.submit(ask(max_tokens=4))
    gate.allow(2)
    wait_until(lambda: gate.n_passed == 2 and gate.waiting)
    assert not load.done.is_set()
    gate.open()
    assert load.result(WAIT_S).name == "b"
    assert old.result(WAIT_S).text == said_alone("a", max_tokens=4)
    assert new.result(WAIT_S).text == said_alone("b", max_tokens=4)


def test_load_that_waits_can_be_cancelled(engines: list[EngineThread]):
    engine, gate = gated(engines)
    reply = engine.submit(ask())
    gate.wait_until_blocked()
    load = engine.load(B)
    load.cancel()
    assert load.done.is_set()
    gate.open()
    reply.result(WAIT_S)
    assert name(engine) == "a"


def test_failed_load_leaves_the_old_model_in_use(engines: list[EngineThread]):
    loader = fake_loader(failures={"b.pth": ModelFormatError("b.pth is damaged.", hint="Download it again.")})
    engine = started(engines, loader)
    with pytest.raises(ModelFormatError, match="damaged"):
        engine.load(B).result(WAIT_S)
    assert name(engine) == "a"
    assert engine.submit(ask()).result(WAIT_S).text == said_alone()
    assert loader.loads == ["a.pth", "b.pth"]  # it was never freed


def test_failed_load_of_an_unknown_kind_is_one_sentence(engines: list[EngineThread]):
    engine = started(engines, fake_loader(failures={"b.pth": ZeroDivisionError("oops")}))
    with pytest.raises(GenerationError, match="ZeroDivisionError: oops"):
        engine.load(B).result(WAIT_S)
    assert engine.submit(ask()).result(WAIT_S).text == said_alone()


class TightMemory(fake_loader):
    """A machine on which one model fits, not two."""

    def __init__(self, *, error: Exception, never: str = "") -> None:
        super().__init__()
        self.error, self.never = error, never
        self.engine: EngineThread | None = None

    def __call__(self, path: Path, **options: Any) -> Any:
        made = super().__call__(path, **options)
        assert self.engine is not None
        if self.engine._loaded is not None or path.name == self.never:
            raise self.error
        return made


@pytest.mark.parametrize("error", [ModelTooLarge("too large"), MemoryError()])
def test_old_model_is_freed_when_both_do_not_fit(engines: list[EngineThread], error: Exception):
    loader = TightMemory(error=error)
    engine = loader.engine = started(engines, loader, path=None)
    engine.load(A).result(WAIT_S)
    assert engine.load(B).result(WAIT_S).name == "b"
    assert engine.submit(ask()).result(WAIT_S).text == said_alone("b")


def test_old_model_comes_back_when_the_new_one_does_not_fit_even_then(engines: list[EngineThread]):
    loader = TightMemory(error=ModelTooLarge("b needs 90 GB"), never="b.pth")
    engine = loader.engine = started(engines, loader, path=None)
    engine.load(A).result(WAIT_S)
    with pytest.raises(ModelTooLarge, match="90 GB"):
        engine.load(B).result(WAIT_S)
    assert name(engine) == "a"
    assert engine.submit(ask()).result(WAIT_S).text == said_alone("a")


def test_two_loads_in_a_row_end_with_the_second(engines: list[EngineThread]):
    engine = started(engines, path=None)
    first, second = engine.load(A), engine.load(B)
    assert first.result(WAIT_S).name == "a"
    assert second.result(WAIT_S).name == "b"
    assert name(engine) == "b"


def test_task_runs_on_the_engine_thread_with_model_and_progress(engines: list[EngineThread]):
    engine = started(engines)

    def task(made: Any, cancelled: Any, progress: Any) -> tuple[str, str, bool]:
        progress(1, 3, "Reading")
        return threading.current_thread().name, made.name, cancelled()

    job: Job[tuple[str, str, bool]] = engine.call(task)
    assert list(job) == [Progress(1, 3, "Reading"), Done(("engine", "a", False))]


def test_task_that_raises_fails_and_the_thread_lives_on(engines: list[EngineThread]):
    engine = started(engines)

    def task(*_: Any) -> None:
        raise MemoryError

    with pytest.raises(OutOfMemory):
        engine.call(task).result(WAIT_S)
    assert engine.submit(ask()).result(WAIT_S).text == said_alone()


def test_task_can_be_cancelled(engines: list[EngineThread]):
    engine, begun = started(engines), threading.Event()

    def task(_: Any, cancelled: Any, __: Any) -> str:
        begun.set()
        wait_until(cancelled)
        return "half"

    job: Job[str] = engine.call(task)
    assert begun.wait(WAIT_S)
    job.cancel()
    assert job.result(WAIT_S) == "half"


def test_task_runs_between_the_passes_of_a_reply(engines: list[EngineThread]):
    """Saving a state must not wait until a long reply is over."""
    engine, gate = gated(engines)
    reply = engine.submit(ask(max_tokens=30))
    gate.wait_until_blocked()
    job = engine.call(lambda made, *_: made.name)
    gate.allow(2)  # one turn: the prompt and the first token
    assert job.result(WAIT_S) == "a"
    assert not reply.done.is_set()
    gate.open()
    assert reply.result(WAIT_S).text == said_alone(max_tokens=30)


def test_closing_ends_running_replies_with_their_state(engines: list[EngineThread]):
    """What was said is saved on exit, mind included."""
    engine, gate = gated(engines)
    running, queued = engine.submit(ask(max_tokens=500)), None
    gate.allow(4)
    wait_until(lambda: gate.n_passed == 4 and gate.waiting)
    queued = engine.load(B)
    closer = threading.Thread(target=engine.close, args=(WAIT_S,))
    closer.start()
    wait_until(lambda: engine._is_closing)
    gate.open()
    closer.join(WAIT_S)
    finished = running.result(0)
    assert finished.reason is FinishReason.CANCELLED
    assert finished.snapshot is not None
    assert 3 <= len(finished.token_ids) < 500
    assert isinstance(queued.drain()[-1], Failed)


def test_closing_does_not_wait_longer_than_asked_for_a_busy_thread(engines: list[EngineThread]):
    """A pass of a large model takes seconds; quitting must not."""
    engine, gate = gated(engines)
    engine.submit(ask())
    gate.wait_until_blocked()
    engine.close(0.01)
    assert engine._thread.is_alive()
    assert engine._thread.daemon
    gate.open()


def test_closing_cancels_a_load(engines: list[EngineThread]):
    class Patient(fake_loader):
        def __call__(self, path: Path, *, cancelled: Any = None, **options: Any) -> Any:
            wait_until(cancelled)
            raise GenerationError("Loading was stopped.")

    engine = started(engines, Patient(), path=None)
    job = engine.load(A)
    engine.close(WAIT_S)
    assert not engine._thread.is_alive()
    with pytest.raises(GenerationError, match="stopped"):
        job.result(0)


def test_jobs_for_a_closed_engine_fail_at_once(engines: list[EngineThread]):
    engine = started(engines)
    engine.close(WAIT_S)
    with pytest.raises(GenerationError, match="closed"):
        engine.submit(ask()).result(0)


def test_engine_that_never_started_can_be_closed():
    engine = EngineThread(fake_loader())
    job = engine.submit(ask())
    engine.close()
    assert job.result(0).reason is FinishReason.CANCELLED


def test_jobs_given_before_the_start_are_done_after_it(engines: list[EngineThread]):
    engine = EngineThread(fake_loader())
    engines.append(engine)
    engine.load(A)
    job = engine.submit(ask())
    engine.start()
    assert job.result(WAIT_S).text == said_alone()


def test_engine_thread_starts_without_torch():
    """First paint must not wait 2 s for `import torch`; the load does, on the other thread."""
    program = (
        "import sys\n"
        "from chatrwkv.engine import EngineThread\n"
        "engine = EngineThread()\n"
        "engine.start()\n"
        "assert engine.info is None\n"
        "engine.close()\n"
        "assert 'torch' not in sys.modules and 'numpy' not in sys.modules\n"
    )
    subprocess.run([sys.executable, "-W", "error", "-c", program], check=True, timeout=60)


def test_leaving_during_the_import_of_torch_does_not_abort():
    """A daemon thread that Python unwinds inside C++ ends in `terminate called` and a core dump."""
    program = (
        "import sys, time\n"
        "from pathlib import Path\n"
        "from chatrwkv.engine import EngineThread\n"
        "engine = EngineThread()\n"
        "engine.start()\n"
        "engine.load(Path('none.pth'))\n"
        "while 'torch' not in sys.modules:\n"
        "    time.sleep(0)\n"
        "engine.close(0.0)\n"
    )
    done = subprocess.run([sys.executable, "-c", program], timeout=60, capture_output=True, check=False)
    assert done.returncode == 0, done.stderr.decode()
