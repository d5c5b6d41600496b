"""How fast a model runs here, beside what this machine could do at most.

    decode       one token a pass            all weights are read, and the state is read and written
    decode skip  the same, without what meets zeros behind the squared ReLU (native code)
    decode x B   B replies in one pass       the same weights, B states
    prefill T    a prompt of T tokens        two operations for each weight and token, but no less than one read
    load         from the file on the disk   one read of the weights; below that if they are mapped and read later
    first token  load, then a prompt of 16   one read of the weights
    state copy   what a fork costs           the state, read and written

The limit of a figure is the time that its bytes take at the machine's read bandwidth, or its operations at
the rate of the fastest matrix product found here, whichever is longer. What fits into the cache may pass it.
Every round measures everything once, the machine too; medians over the rounds count.
"""

from __future__ import annotations

import statistics
import threading
import time
from collections import defaultdict
from dataclasses import dataclass, fields, is_dataclass
from typing import TYPE_CHECKING, Any

import torch

from chatrwkv.engine import kernels
from chatrwkv.engine.coarse import Coarse
from chatrwkv.engine.model import load_model
from chatrwkv.engine.reading import LoadCancelled
from chatrwkv.engine.state import Scratch
from chatrwkv.engine.tasks.machine import ForeignLoad, Machine, wait_for
from chatrwkv.errors import ModelError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from torch import Tensor

    from chatrwkv.engine.model import LoadedModel

BATCHES = (1, 2, 4, 8)
PROMPTS = (16, 128, 512, 2048)
_GPU_PROMPT = 4096  # which a CPU reads for minutes
_DECODE_S = 0.4  # of decoding in a round
_LEAST_STEPS, _MOST_STEPS = 3, 100
_WARM_STEPS = 48  # in which native code measures how far to prefetch, for each number of rows
_FIRST_PROMPT = 16
_COPIES = 20


@dataclass(frozen=True, slots=True)
class Figure:
    """One thing that was measured."""

    name: str
    unit: str
    """tok/s, or s."""
    median: float
    low: float
    high: float
    """Over the rounds."""
    limit: float
    """What the machine allows, in the same unit; 0 when it is not known."""
    percent: float
    """Of the limit; 0 when it is not known."""


@dataclass(frozen=True, slots=True)
class Report:
    """All that was measured."""

    model: str
    generation: str
    n_params: int
    device: str
    dtype: str
    is_native: bool
    isa: str
    n_threads: int
    n_rounds: int
    weight_bytes: int
    """What one token reads: everything but the embedding."""
    state_bytes: int
    read_gb_s: float
    gemm_gflop_s: dict[str, float]
    """By kind of product."""
    foreign_load: float | None
    """Processors that other programs kept busy meanwhile; None where the system does not tell."""
    figures: tuple[Figure, ...]
    notes: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class _Job:
    """Something to be measured in each round: seconds of one unit of work, and the least it can take."""

    name: str
    run: Callable[[], float]
    n_tokens: int
    """0: the figure is in seconds."""
    n_bytes: int
    n_multiplications: int = 0


def wait_for_cache() -> None:
    """Until packed weights are on the disk, so that the next load is like that of a later start."""
    for thread in threading.enumerate():
        if thread.name == "packed-cache":
            thread.join()


def measure(
    loaded: LoadedModel,
    cancelled: Callable[[], bool],
    progress: Callable[[int, int, str], None],
    *,
    n_threads: int,
    n_rounds: int,
) -> Report:
    """Measure everything; the model's threads are set for good, so load it anew afterwards.

    Raises:
        LoadCancelled: `cancelled` said so.
    """
    use_threads(loaded, n_threads)
    machine = Machine(_device(loaded), n_threads, loaded.dtype)
    n_bytes, n_weights = _sizes(loaded)
    jobs = [
        *_decodes(loaded, n_bytes, n_weights),
        *_prefills(loaded, n_bytes, n_weights),
        *_loads(loaded, n_bytes),
    ]
    others = ForeignLoad()
    times, notes = _rounds(jobs, machine, n_rounds, cancelled, progress)
    return Report(
        model=loaded.name,
        generation=loaded.model.spec.generation.value,
        n_params=loaded.model.spec.n_params,
        device=loaded.device,
        dtype=loaded.dtype,
        is_native=_is_native(loaded),
        isa=kernels.status().isa if _is_native(loaded) else "",
        n_threads=n_threads,
        n_rounds=n_rounds,
        weight_bytes=n_bytes,
        state_bytes=loaded.model.blank().n_bytes,
        read_gb_s=machine.read_bytes_s / 1e9,
        gemm_gflop_s={name: rate / 1e9 for name, rate in machine.products.items()},
        foreign_load=others.cores(),
        figures=tuple(_figure(job, times[job.name], machine) for job in jobs if job.name in times),
        notes=tuple(notes),
    )


def _rounds(
    jobs: list[_Job],
    machine: Machine,
    n_rounds: int,
    cancelled: Callable[[], bool],
    progress: Callable[[int, int, str], None],
) -> tuple[dict[str, list[float]], list[str]]:
    """Seconds of each job in each round, and why a job that cannot be done was left out."""
    times: dict[str, list[float]] = defaultdict(list)
    failed: dict[str, str] = {}
    for turn in range(n_rounds + 1):  # the first warms up
        machine.measure()
        for i, job in enumerate(jobs):
            if cancelled():
                raise LoadCancelled("The measurement was stopped.")
            if job.name in failed:
                continue
            progress(turn * len(jobs) + i, (n_rounds + 1) * len(jobs), f"measuring {job.name}")
            try:
                seconds = job.run()
            except (ModelError, MemoryError) as error:
                failed[job.name] = f"{job.name} was not measured: {error}"
                continue
            if turn:
                times[job.name].append(seconds)
    return times, list(failed.values())


def use_threads(loaded: LoadedModel, n_threads: int) -> None:
    """Let the model, and torch on this thread, use so many threads."""
    torch.set_num_threads(n_threads)
    if _is_native(loaded):
        loaded.model.engine.set_threads(n_threads)  # type: ignore[attr-defined]  # of a native model


def _is_native(loaded: LoadedModel) -> bool:
    return hasattr(loaded.model, "engine")


def _figure(job: _Job, times: list[float], machine: Machine) -> Figure:
    least = machine.least_s(job.n_bytes, job.n_multiplications)
    median, low, high = statistics.median(times), min(times), max(times)
    percent = 100 * least / median
    if job.n_tokens:
        n = job.n_tokens
        limit = n / least if least else 0.0
        return Figure(job.name, "tok/s", n / median, n / high, n / low, limit, percent)
    return Figure(job.name, "s", median, low, high, least, percent)


def _decodes(loaded: LoadedModel, n_bytes: int, n_weights: int) -> Iterator[_Job]:
    blank = loaded.model.blank()
    engine = loaded.model.engine if _is_native(loaded) else None  # type: ignore[attr-defined]  # of a native model
    ways = [(f"decode x{n}" if n > 1 else "decode", n, False) for n in BATCHES]
    if engine is not None:
        ways.insert(1, ("decode skip", 1, True))
    warm: set[int] = set()
    for name, n_rows, skips in ways:

        def run(n_rows: int = n_rows, skips: bool = skips) -> float:
            if engine is not None:
                engine.skip_zeros(skips)
            least = _LEAST_STEPS if engine is None or n_rows in warm else _WARM_STEPS
            warm.add(n_rows)
            scratch = Scratch.stack([loaded.model.blank()] * n_rows)
            ids = iter(range(1 << 30))
            return _seconds_of_step(
                loaded, lambda: loaded.model.step(_ids(n_rows, next(ids)), scratch), least
            )

        yield _Job(name, run, n_rows, n_bytes + 2 * n_rows * blank.n_bytes, n_rows * n_weights)


def _prefills(loaded: LoadedModel, n_bytes: int, n_weights: int) -> Iterator[_Job]:
    n_context = loaded.model.spec.n_context
    n_head = loaded.model.spec.n_vocab * loaded.model.spec.n_embd  # multiplied once a prompt
    prompts = PROMPTS if _device(loaded).type == "cpu" else (*PROMPTS, _GPU_PROMPT)
    for n_tokens in prompts:
        if n_context and n_tokens > n_context:
            continue

        def run(n_tokens: int = n_tokens) -> float:
            scratch = loaded.model.blank().thaw()
            return _seconds(loaded, lambda: loaded.model.scan([_ids(n_tokens)], scratch))

        work = n_tokens * (n_weights - n_head) + n_head
        yield _Job(f"prefill {n_tokens}", run, n_tokens, n_bytes, work)


def _loads(loaded: LoadedModel, n_bytes: int) -> Iterator[_Job]:
    def load() -> LoadedModel:
        """A second model beside the first."""
        return load_model(loaded.path, device=loaded.device, dtype=loaded.dtype)

    def first_token() -> None:
        again = load()
        use_threads(again, torch.get_num_threads())
        again.model.scan([_ids(_FIRST_PROMPT)], again.model.blank().thaw())

    def copy() -> float:
        state = loaded.model.blank()
        return statistics.median(_seconds(loaded, state.thaw) for _ in range(_COPIES))

    yield _Job("load", lambda: _seconds(loaded, load), 0, n_bytes)
    yield _Job("first token", lambda: _seconds(loaded, first_token), 0, n_bytes)
    yield _Job("state copy", copy, 0, 2 * loaded.model.blank().n_bytes)


def _ids(n: int, start: int = 0) -> list[int]:
    """Ids that are characters in every vocabulary."""
    return [1 + (start + i) % 50 for i in range(n)]


def _seconds(loaded: LoadedModel, work: Callable[[], object]) -> float:
    start = time.perf_counter()
    work()
    wait_for(_device(loaded))
    return time.perf_counter() - start


def _seconds_of_step(loaded: LoadedModel, step: Callable[[], object], least: int) -> float:
    """The median over as many as `_DECODE_S` holds, but no fewer than `least`."""
    first = _seconds(loaded, step)
    n_steps = max(least, min(_MOST_STEPS, int(_DECODE_S / max(first, 1e-6))))
    return statistics.median(_seconds(loaded, step) for _ in range(n_steps))


def _device(loaded: LoadedModel) -> torch.device:
    """The first one, where there are several."""
    return torch.device(loaded.device.split()[0])


def _sizes(loaded: LoadedModel) -> tuple[int, int]:
    """Bytes that a token reads, and numbers in matrices: everything but the embedding; 0 if unknown."""
    packed = getattr(loaded.model, "packed", None)
    if packed is not None:
        slots = [slot for name, slot in packed.slots.items() if name != "emb"]
        return packed.token_bytes, sum(slot.rows * slot.cols for slot in slots if slot.kind is not None)
    parts = list(_tensors(getattr(loaded.model, "weights", None)))
    n_bytes = sum(_n_bytes(part) for part in parts)
    return n_bytes, sum(part.shape[0] * part.shape[1] for part in parts if len(part.shape) == 2)


def _tensors(value: Any) -> Iterator[Tensor | Coarse]:
    if isinstance(value, torch.Tensor | Coarse):
        yield value
    elif is_dataclass(value):
        for field in fields(value):
            if field.name != "emb":
                yield from _tensors(getattr(value, field.name))
    elif isinstance(value, tuple | list):
        for part in value:
            yield from _tensors(part)


def _n_bytes(part: Tensor | Coarse) -> int:
    if isinstance(part, Coarse):
        low = 0 if part.low is None else part.low.nbytes
        return part.levels.nbytes + part.scale.nbytes + low
    return part.nbytes
