"""Decode and prefill speed of `step` and `scan` against the `rwkv` package, in one run, on one thread.

    python benchmarks/prefill_decode.py [--shape small|0.1b] [--threads N] [--gen 7] [--seconds 2]

Each measurement alternates between the two, so that a busy machine slows both; the best round counts.
The package runs in a child process (it decides for v7 at import) and is asked over a pipe.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import torch

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from chatrwkv.engine.model import _family
from chatrwkv.engine.spec import detect
from chatrwkv.engine.weights import prepare
from tests import checkpoints
from tests.checkpoints import Size

SHAPES = {"small": Size(6, 192, 64, 4096), "0.1b": Size(12, 768, 64, 65536)}
PREFILL = (16, 128, 512)
CHUNK = 256  # what the scheduler feeds at most


class Ours:
    """This engine, in this process."""

    name = "chatrwkv"

    def __init__(self, tensors):
        spec = detect({name: tuple(t.shape) for name, t in tensors.items()})
        cpu = torch.device("cpu")
        prepared = {name: prepare(name, tensor, cpu, torch.float32) for name, tensor in tensors.items()}
        self.model = _family(spec.generation)(spec, prepared)
        self.scratch = self.model.blank().thaw()

    def decode(self, n):
        """Tokens a second over `n` steps."""
        start = time.perf_counter()
        for i in range(n):
            self.model.step([1 + i % 50], self.scratch)
        return n / (time.perf_counter() - start)

    def prefill(self, n):
        """Tokens a second over a prompt of `n`."""
        ids = [1 + i % 50 for i in range(n)]
        start = time.perf_counter()
        for at in range(0, n, CHUNK):
            self.model.scan([ids[at : at + CHUNK]], self.scratch)
        return n / (time.perf_counter() - start)


class Package:
    """The `rwkv` package, in a child process."""

    name = "rwkv package"

    def __init__(self, path, threads, *, is_v7):
        environment = os.environ | {
            "RWKV_V7_ON": str(int(is_v7)),
            "RWKV_JIT_ON": "1",  # its own default, and its fastest on the CPU
            "OMP_NUM_THREADS": str(threads),
            "PYTHONWARNINGS": "ignore",
        }
        command = [sys.executable, __file__, "--child", str(path), "--threads", str(threads)]
        self.process = subprocess.Popen(
            command,
            env=environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )
        assert self.process.stdout.readline() == "ready\n"

    def ask(self, kind, n):
        """One measurement in the child."""
        self.process.stdin.write(json.dumps([kind, n]) + "\n")
        self.process.stdin.flush()
        return float(self.process.stdout.readline())

    def decode(self, n):
        """Tokens a second over `n` steps."""
        return self.ask("decode", n)

    def prefill(self, n):
        """Tokens a second over a prompt of `n`."""
        return self.ask("prefill", n)

    def close(self):
        """End the child."""
        self.process.stdin.close()
        self.process.wait()


def child(path, threads):
    with contextlib.redirect_stdout(sys.stderr):
        from rwkv.model import RWKV

        torch.set_num_threads(threads)
        model = RWKV(model=path, strategy="cpu fp32")
        _, state = model.forward([1, 2, 3], None)
    print("ready", flush=True)
    for line in sys.stdin:
        kind, n = json.loads(line)
        start = time.perf_counter()
        if kind == "decode":
            for i in range(n):
                _, state = model.forward([1 + i % 50], state)
        else:
            _, state = model.forward([1 + i % 50 for i in range(n)], state)
        print(n / (time.perf_counter() - start), flush=True)


def measure(sides, seconds):
    rows = []
    n_steps = max(3, int(0.2 * seconds * sides[0].decode(5)))
    for kind, n in [("decode", n_steps), *(("prefill", n) for n in PREFILL)]:
        best = dict.fromkeys(sides, 0.0)
        for _ in range(2):  # warm
            for side in sides:
                getattr(side, kind)(min(n, 32) if kind == "decode" else n)
        deadline = time.perf_counter() + seconds
        rounds = 0
        while time.perf_counter() < deadline or rounds < 3:
            rounds += 1
            for side in sides:
                best[side] = max(best[side], getattr(side, kind)(n))
        ours, theirs = best[sides[0]], best[sides[1]]
        rows.append((f"{kind} {n}" if kind == "prefill" else "decode", ours, theirs, ours / theirs))
    return rows


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--shape", choices=SHAPES, default="small")
    parser.add_argument("--gen", default="7")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--seconds", type=float, default=3.0)
    parser.add_argument("--child")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    if options.child:
        child(options.child, options.threads)
        return
    tensors = getattr(checkpoints, f"rwkv{options.gen}")(SHAPES[options.shape])
    with tempfile.TemporaryDirectory() as folder:
        torch.save(tensors, Path(folder) / "model.pth")
        package = Package(Path(folder) / "model", options.threads, is_v7=options.gen == "7")
        print(
            f"RWKV-{options.gen} {options.shape} {SHAPES[options.shape]}, fp32, {options.threads} thread(s), tok/s"
        )
        for name, ours, theirs, ratio in measure([Ours(tensors), package], options.seconds):
            print(f"  {name:<12} chatrwkv {ours:9.1f}   package {theirs:9.1f}   ratio {ratio:5.2f}")
        package.close()


if __name__ == "__main__":
    main()
