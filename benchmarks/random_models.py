"""What the measurements of speed share: random models in the shapes of published ones, timing, a quiet machine."""

from __future__ import annotations

import statistics
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from chatrwkv.engine import kernels, quant
from chatrwkv.engine.models import packing
from chatrwkv.engine.models.native import Native
from chatrwkv.engine.models.rwkv7 import Weights7
from chatrwkv.engine.spec import detect
from chatrwkv.engine.tasks.machine import ForeignLoad
from chatrwkv.engine.tasks.shapes import SHAPES, random_tensors

if TYPE_CHECKING:
    from collections.abc import Callable

    from torch import Tensor

CACHE = Path(tempfile.gettempdir()) / "chatrwkv-bench"
QUIET = 0.2  # cores of others: with more, two threads measure the neighbours too


def tensors_of(name: str) -> dict[str, Tensor]:
    """A bf16 checkpoint whose layers from the second on have the same values: speed does not depend on them."""
    shape = SHAPES[name]
    tensors = random_tensors(replace(shape, n_layer=2))
    of_second = {
        key.removeprefix("blocks.1."): x for key, x in tensors.items() if key.startswith("blocks.1.")
    }
    for i in range(2, shape.n_layer):
        tensors |= {f"blocks.{i}.{key}": x for key, x in of_second.items()}
    return tensors


def native_model(library: kernels.Library, tensors: dict[str, Tensor], kind: str, n_threads: int) -> Native:
    """A packed model with threads of its own."""
    spec = detect({name: tuple(tensor.shape) for name, tensor in tensors.items()})
    engine = kernels.Engine(library, n_threads)
    return Native(
        spec, packing.pack(Weights7.build(tensors, spec), spec, quant.FORMATS[kind], engine), engine
    )


def token_bytes(model: Native) -> int:
    """What a token reads and writes: the packed weights without the embedding, the state twice."""
    return model.packed.token_bytes + 2 * model.blank().n_bytes


def seconds_of(work: Callable[[int], object], n: int) -> float:
    """The median of n calls."""
    times = []
    for i in range(n):
        start = time.perf_counter()
        work(i)
        times.append(time.perf_counter() - start)
    return statistics.median(times)


def quiet_rounds(
    one_round: Callable[[], None], n_rounds: int, until: float, forget: Callable[[], None]
) -> str:
    """Do rounds until enough were quiet; a disturbed one is forgotten while there is time to repeat it.

    Args:
        one_round: measures everything once.
        n_rounds: how many shall count.
        until: by `time.monotonic`, when disturbed rounds have to do.
        forget: drops what the last round measured.

    Returns:
        How quiet it was, for the report.
    """
    loads: list[float] = []
    n_repeated, longest = 0, 0.0
    while len(loads) < n_rounds and (not loads or time.monotonic() + longest < until):
        others, start = ForeignLoad(), time.monotonic()
        one_round()
        longest = max(longest, time.monotonic() - start)
        load = others.cores() or 0.0
        if load > QUIET and time.monotonic() + longest * (n_rounds - len(loads)) < until:
            n_repeated += 1
            forget()
            continue
        loads.append(load)
        print(f"round {len(loads)}: {load:.2f} foreign cores", file=sys.stderr)
    verdict = "DISTURBED" if max(loads) > QUIET else "quiet"
    return f"{verdict}: {len(loads)} rounds with {min(loads):.2f} to {max(loads):.2f} foreign cores, {n_repeated} repeated"
