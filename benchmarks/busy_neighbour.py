"""Two threads beside a process that never rests: which share of our own one-thread speed they reach.

    PYTHONPATH=. python benchmarks/busy_neighbour.py [--shape 0.1b] [--dtype bf16] [--neighbours 1] [--rounds 5]

Goal: 90 % with one neighbour, pinned nowhere, on two cores. Each round decodes for `--seconds` with one thread,
then with all of them; whoever has several keeps what it has learned from round to round, as in a chat. Medians of
the rounds; the worst token is told as a multiple of the median token. With `--neighbours 0` two threads should
reach what two cores can.
"""

from __future__ import annotations

import argparse
import statistics
import subprocess
import sys
import time

import torch

from benchmarks.random_models import CACHE, native_model, tensors_of
from chatrwkv.engine import kernels
from chatrwkv.engine.tasks.machine import ForeignLoad
from chatrwkv.engine.tasks.shapes import SHAPES


def decode(model, state, seconds: float) -> tuple[float, float]:
    """Tokens a second, and the worst token over the median one."""
    times, until = [], time.perf_counter() + seconds
    while time.perf_counter() < until:
        start = time.perf_counter()
        model.step([1 + len(times) % 50], state)
        times.append(time.perf_counter() - start)
    return len(times) / sum(times), max(times) / statistics.median(times)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--shape", choices=SHAPES, default="0.1b")
    parser.add_argument("--dtype", default="bf16")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--neighbours", type=int, default=1)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=4.0)
    options = parser.parse_args()
    torch.set_num_threads(1)
    library, _ = kernels.open_or_build(CACHE)
    tensors = tensors_of(options.shape)
    models = {n: native_model(library, tensors, options.dtype, n) for n in (1, options.threads)}
    states = {n: model.blank().thaw() for n, model in models.items()}
    for n, model in models.items():
        decode(model, states[n], 2.0)  # native code measures how far to prefetch
    busy = [subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(options.neighbours)]
    others, rates, worst = ForeignLoad(), {n: [] for n in models}, {n: [] for n in models}
    try:
        for _ in range(options.rounds):
            for n, model in models.items():
                rate, far = decode(model, states[n], options.seconds)
                rates[n].append(rate)
                worst[n].append(far)
        foreign = others.cores() or 0.0
    finally:
        for process in busy:
            process.kill()
            process.wait()
    shares = [100 * many / one for one, many in zip(rates[1], rates[options.threads], strict=True)]
    for n in models:
        middle = statistics.median(rates[n])
        print(
            f"{n} threads  {middle:8.1f} tok/s   worst token {statistics.median(worst[n]):.1f} x the median"
        )
    stats = models[options.threads].engine.stats()
    print(
        f"share of one thread {statistics.median(shares):.0f} % ({min(shares):.0f} to {max(shares):.0f})   "
        f"alone in {100 * stats.alone / stats.passes:.0f} % of {stats.passes} passes, {stats.probes} tries   "
        f"{foreign:.2f} foreign cores, neighbours among them"
    )


if __name__ == "__main__":
    main()
