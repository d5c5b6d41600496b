"""How long one draw takes, and how fast text becomes ids: `python -m benchmarks.sampling`.

The budget: at 300 tokens a second a whole token has 3.3 ms; drawing, detokenising and showing it may take 0.17.
Draws with and without native code are made in turns.
"""

from __future__ import annotations

import lzma
import statistics
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING
from unittest import mock

import numpy as np

from chatrwkv.engine import kernels
from chatrwkv.engine.chance import uniform
from chatrwkv.engine.params import SamplingParams
from chatrwkv.engine.sampling import Marks, Sampler
from chatrwkv.engine.tokens.tokenizer import WorldTokenizer

if TYPE_CHECKING:
    from collections.abc import Callable

OFF = {"top_p": 1.0, "presence": 0.0, "frequency": 0.0}
SETTINGS = {
    "chat (top-p 0.3, penalties)": {},
    "greedy": OFF | {"temperature": 0.0},
    "top-p 0.9, temperature 1.2": OFF | {"top_p": 0.9, "temperature": 1.2},
    "top-k 50, min-p 0.05": OFF | {"top_k": 50, "min_p": 0.05},
    "top-a 0.02": OFF | {"top_a": 0.02},
    "typical 0.5": OFF | {"typical": 0.5},
    "mirostat 3": OFF | {"mirostat": 3.0},
    "no filter": OFF,
    "no filter, temperature 0.8": OFF | {"temperature": 0.8},
}


def logits_like_a_model(n_vocab: int, certainty: float, seed: int) -> np.ndarray:
    """Normal noise and a few strong candidates; certainty 10 gives an entropy of about 2 nats."""
    random = np.random.default_rng(seed)
    logits = random.standard_normal(n_vocab).astype(np.float32) * 2
    logits[random.integers(1, n_vocab, 30)] += certainty * random.random(30)
    return logits


def microseconds(call: Callable[[int], object], n: int = 200) -> tuple[float, float]:
    """Median and 95th percentile of n calls."""
    times = []
    for i in range(n):
        start = time.perf_counter()
        call(i)
        times.append((time.perf_counter() - start) * 1e6)
    times.sort()
    return statistics.median(times), times[int(n * 0.95)]


def draws(library: kernels.Library, n_vocab: int, certainty: float) -> None:
    print(f"\n{n_vocab} logits, certainty {certainty:g}: us per draw, median and p95; NumPy, native")
    many = [logits_like_a_model(n_vocab, certainty, seed) for seed in range(16)]
    for name, changes in SETTINGS.items():
        samplers = []
        for found in (None, library):
            with mock.patch.object(kernels, "library", return_value=found):
                samplers.append(
                    Sampler(SamplingParams(seed=1, **changes), n_vocab, range(n_vocab - 6, n_vocab))
                )
            for token_id in range(1, 400):
                samplers[-1].accept(token_id)
        times = [[], []]
        for i in range(200):
            for sampler, taken in zip(samplers, times, strict=True):
                start = time.perf_counter()
                sampler.pick(many[i % 16], i)
                taken.append((time.perf_counter() - start) * 1e6)
        cells = (f"{statistics.median(x):9.0f}{sorted(x)[int(len(x) * 0.95)]:9.0f}" for x in times)
        print(f"  {name:30s}" + "   ".join(cells))


def tokenizing(paths: list[str]) -> None:
    start = time.perf_counter()
    tokenizer = WorldTokenizer.bundled()
    print(f"\nloading the World vocabulary: {(time.perf_counter() - start) * 1e3:.0f} ms")
    marks = microseconds(lambda _: Marks.of(tokenizer), 20)[0]
    print(f"marks of a reply: {marks:.0f} us")
    for path in paths:
        with lzma.open(path) if path.endswith(".xz") else Path(path).open("rb") as file:
            raw = file.read(1_000_000)
        middle, _ = microseconds(lambda _, raw=raw: tokenizer.encode_raw(raw), 3)
        print(f"  encode {Path(path).name:30s}{len(raw) / middle:6.1f} MB/s")


if __name__ == "__main__":
    print(f"one uniform: {microseconds(lambda i: uniform(1, i))[0]:.1f} us")
    native, _ = kernels.open_or_build(Path(tempfile.gettempdir()) / "chatrwkv-bench")
    for size in (65536, 4096):
        for sure in (15.0, 10.0, 0.0):
            draws(native, size, sure)
    tokenizing(sys.argv[1:] or [__file__, np.__file__])
