"""The native path against the torch path, the `rwkv` package and llama.cpp: decode, eight rows, prefill; in one run.

    python benchmarks/native_decode.py [--shape 0.1b] [--formats bf16,int8,int4] [--threads 1,2] [--rounds 5]
                                       [--llama PYTHON] [--generation 4|5.2|6|7]

llama.cpp takes part where PYTHON has `llama-cpp-python` and `gguf`, see llama_child.py for how they are built;
only beside RWKV-7.

Every round measures every contestant once, one after the other, so that a busy machine slows all of them;
medians over the rounds count. The machine's read bandwidth is measured in each round too, and shares are
against its median with as many threads; bytes are the packed weights without the embedding, and the state
read and written. Foreign load is the processor time that others took during the run, in cores: beyond 0.2
the wall clock says little about two threads. For one thread `cpu` is the median in processor time, which a
busy neighbour hardly touches. Weights are random, so half of the FFN is zeros.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import replace
from functools import partial
from pathlib import Path

import torch

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from chatrwkv.engine import kernels, quant
from chatrwkv.engine.models import packing
from chatrwkv.engine.models.native import Native
from chatrwkv.engine.spec import detect
from chatrwkv.engine.state import Scratch
from chatrwkv.engine.tasks.shapes import SHAPES as RANKED
from chatrwkv.engine.weights import prepare
from tests.checkpoints import Size, rwkv4, rwkv5, rwkv6, rwkv7

SHAPES = {
    "builtin": Size(6, 192, 64, 4096),
    "0.1b": Size(12, 768, 64, 65536),
    "0.4b": Size(24, 1024, 64, 65536),
    "1.5b": Size(24, 2048, 64, 65536),
}
# what makes random tensors, and the width of ffn over that of the stream
GENERATIONS = {
    "4": (rwkv4, 4),
    "5.2": (rwkv5, 3.5),
    "6": (partial(rwkv6, mix_rank=32, decay_rank=64), 3.5),
    "7": (rwkv7, 4),
}
PREFILL = (16, 128, 512)
READ_BYTES = 512 << 20  # far beyond any cache


class Ours:
    """A model of this program, in this process; all measurements are (wall, processor) seconds."""

    def __init__(self, name, model, n_threads):
        self.name, self.model, self.n_threads = name, model, n_threads
        self.one = model.blank().thaw()
        self.eight = Scratch.stack([model.blank()] * 8)

    def decode(self, n):
        """Seconds of a token."""
        torch.set_num_threads(self.n_threads)
        return timed(lambda i: self.model.step([1 + i % 50], self.one), n)

    def rows8(self, n):
        """Seconds of a token when eight replies share a pass."""
        torch.set_num_threads(self.n_threads)
        wall, cpu = timed(lambda i: self.model.step([1 + (i + row) % 50 for row in range(8)], self.eight), n)
        return wall / 8, cpu / 8

    def prefill(self, n):
        """Seconds of a token of a prompt of `n`."""
        torch.set_num_threads(self.n_threads)
        ids = [1 + i % 50 for i in range(n)]
        wall, cpu = timed(lambda _: self.model.scan([ids], self.one), 1)
        return wall / n, cpu / n


def timed(work, n):
    """Median seconds of n calls: on the clock, and of the calling thread's processor time."""
    walls, cpus = [], []
    for i in range(n):
        start, cpu = time.perf_counter(), time.thread_time()
        work(i)
        walls.append(time.perf_counter() - start)
        cpus.append(time.thread_time() - cpu)
    return statistics.median(walls), statistics.median(cpus)


class Peer:
    """Another program's model in a child process, which is asked over a pipe."""

    def __init__(self, name, n_threads, command, environment=()):
        self.name, self.n_threads = name, n_threads
        self.process = subprocess.Popen(
            command,
            env=os.environ | dict(environment),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )
        if self.process.stdout.readline() != "ready\n":
            raise SystemExit(f"{name} did not start: {' '.join(command)}")

    def ask(self, what, n):
        """One measurement in the child."""
        self.process.stdin.write(json.dumps([what, n]) + "\n")
        self.process.stdin.flush()
        return tuple(json.loads(self.process.stdout.readline()))

    def decode(self, n):
        """Seconds of a token."""
        return self.ask("decode", n)

    def prefill(self, n):
        """Seconds of a token of a prompt of `n`."""
        wall, cpu = self.ask("prefill", n)
        return wall / n, cpu / n

    def close(self):
        """End the child."""
        self.process.stdin.close()
        self.process.wait()


def package(path, kind, n_threads, generation):
    """The `rwkv` package in this Python."""
    environment = {
        "RWKV_V7_ON": str(int(generation == "7")),
        "RWKV_JIT_ON": "1",
        "OMP_NUM_THREADS": str(n_threads),
        "PYTHONWARNINGS": "ignore",
    }
    command = [sys.executable, __file__, "--child", str(path), kind, str(n_threads)]
    return Peer(f"rwkv package {kind}", n_threads, command, environment)


def llama_cpp(python, folder, shape, kind, n_threads):
    """llama.cpp in the Python that has it, on random weights of the same shapes."""
    sizes = {"n_layer": shape.n_layer, "n_embd": shape.n_embd, "ranks": shape.ranks}
    script = str(Path(__file__).with_name("llama_child.py"))
    return Peer(
        f"llama.cpp {kind}", n_threads, [python, script, str(folder), json.dumps(sizes), kind, str(n_threads)]
    )


def child(path, kind, n_threads):
    with contextlib.redirect_stdout(sys.stderr):
        from rwkv.model import RWKV

        torch.set_num_threads(n_threads)
        model = RWKV(model=path, strategy=f"cpu {kind}")
        _, state = model.forward([1, 2, 3], None)
        model.forward([1, 2, 3, 4], None)
    print("ready", flush=True)
    for line in sys.stdin:
        what, n = json.loads(line)
        if what == "decode":
            result = timed(lambda i: model.forward([1 + i % 50], state), n)
        else:
            ids = [1 + i % 50 for i in range(n)]
            result = timed(lambda _, ids=ids: model.forward(ids, state), 1)
        print(json.dumps(result), flush=True)


def contestants(options, folder):
    """Of all kinds that were asked for."""
    torch.manual_seed(0)
    make, widening = GENERATIONS[options.generation]
    size = SHAPES[options.shape]
    tensors = make(replace(size, n_ffn=int(widening * size.n_embd)))
    spec = detect({name: tuple(tensor.shape) for name, tensor in tensors.items()})
    library, found = kernels.open_or_build(Path(options.cache))
    print(f"native: {found.isa}, {found.compiler}")
    layout = packing.LAYOUTS[spec.generation]
    weights = layout.build(tensors, spec, {})
    sides = []
    for kind in options.formats.split(","):
        engines = {n: kernels.Engine(library, n) for n in options.threads}
        packed = packing.pack(weights, spec, quant.FORMATS[kind], next(iter(engines.values())))
        sides += [Ours(f"native {kind}", Native(spec, packed, engine), n) for n, engine in engines.items()]
    if options.torch:
        for kind, dtype in (("fp32", torch.float32), ("bf16", torch.bfloat16)):
            prepared = {name: prepare(name, t, torch.device("cpu"), dtype) for name, t in tensors.items()}
            model = layout.family(spec, prepared)
            sides += [Ours(f"torch {kind}", model, n) for n in options.threads]
    if options.package:
        torch.save({name: t.bfloat16() for name, t in tensors.items()}, folder / "model.pth")
        sides += [
            package(folder / "model", kind, n, options.generation)
            for kind in ("fp32", "bf16")
            for n in options.threads
        ]
    if options.llama and options.generation == "7":
        shape = RANKED[options.shape]
        kinds = options.llama_types.split(",")
        sides += [llama_cpp(options.llama, folder, shape, kind, n) for kind in kinds for n in options.threads]
    return library, sides


def busy_seconds():
    """Processor seconds of everybody since boot, and of this process and its children."""
    ticks = [int(x) for x in Path("/proc/stat").read_text(encoding="ascii").split("\n", 1)[0].split()[1:9]]
    mine = sum(os.times()[:4])
    return (sum(ticks) - ticks[3] - ticks[4]) / os.sysconf("SC_CLK_TCK"), mine


def children_seconds(sides):
    """Of the other programs, which still run."""
    total = 0.0
    for side in sides:
        if isinstance(side, Peer):
            stat = (
                Path(f"/proc/{side.process.pid}/stat").read_text(encoding="ascii").rpartition(")")[2].split()
            )
            total += (int(stat[11]) + int(stat[12])) / os.sysconf("SC_CLK_TCK")
    return total


def run(options, library, sides):
    """Measure: {(name, threads, what): [(wall, cpu) of each round]}."""
    area = quant.allocate(READ_BYTES)
    area[:] = 1
    readers = {n: kernels.Engine(library, n) for n in options.threads}
    n_steps = 40 if SHAPES[options.shape].n_embd < 1000 else 12
    results = {}
    start, (busy, mine), others = time.perf_counter(), busy_seconds(), children_seconds(sides)
    for turn in range(options.rounds + 1):  # the first round warms up, and measures how far to prefetch
        for n, engine in readers.items():
            wall, cpu = timed(lambda _, e=engine: e.read(area.ctypes.data, READ_BYTES), 3)
            if turn:
                results.setdefault(("read", n, "read"), []).append((wall, cpu))
        for side in sides:
            jobs = [("decode", "decode", n_steps)]
            if hasattr(side, "rows8") and options.rows:
                jobs.append(("8 rows", "rows8", max(3, n_steps // 4)))
            jobs += [(f"prefill {n}", "prefill", n) for n in options.prefill]
            for what, method, n in jobs:
                measured = getattr(side, method)(n)
                if turn:
                    results.setdefault((side.name, side.n_threads, what), []).append(measured)
    (busy_end, mine_end), seconds = busy_seconds(), time.perf_counter() - start
    foreign = (busy_end - busy) - (mine_end - mine) - (children_seconds(sides) - others)
    print(f"foreign load {foreign / seconds:.2f} cores over {seconds:.0f} s")
    return results


def report(options, sides, results):
    """The table."""

    def median(key, i):
        values = [pair[i] for pair in results.get(key, [])]
        return statistics.median(values) if values else float("nan")

    read = {n: READ_BYTES / median(("read", n, "read"), 0) for n in options.threads}
    read_cpu = READ_BYTES / median(("read", 1, "read"), 1) if 1 in read else float("nan")
    print(
        f"{options.shape}: read bandwidth "
        + ", ".join(f"{n} threads {b / 1e9:.1f} GB/s" for n, b in read.items())
    )
    columns = ["decode", "8 rows", *(f"prefill {n}" for n in options.prefill)]
    print(
        f"{'tok/s':<20} thr "
        + "".join(f"{c:>13}" for c in columns)
        + "   GB/s  share"
        + " |  cpu:     decode"
        + "".join(f"{f'prefill {n}':>13}" for n in options.prefill)
        + "  share"
    )
    for side in sides:
        key = (side.name, side.n_threads)
        cells = "".join(f"{1 / median((*key, c), 0):13.1f}" for c in columns)
        line = f"{side.name:<20} {side.n_threads:>3} {cells}"
        packed = getattr(getattr(side, "model", None), "packed", None)
        if packed is not None:
            n_bytes = packed.token_bytes + 2 * side.model.blank().n_bytes
            rate = n_bytes / median((*key, "decode"), 0)
            line += f" {rate / 1e9:6.1f} {100 * rate / read[side.n_threads]:5.0f}%"
        if side.n_threads == 1:
            cpu = median((*key, "decode"), 1)
            line += f"{'' if packed else ' ' * 14} | {1 / cpu:15.1f}"
            line += "".join(f"{1 / median((*key, f'prefill {n}'), 1):13.1f}" for n in options.prefill)
            line += f" {100 * n_bytes / cpu / read_cpu:5.0f}%" if packed else ""
        print(line)


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--shape", choices=SHAPES, default="0.1b")
    parser.add_argument("--generation", choices=GENERATIONS, default="7")
    parser.add_argument("--formats", default="fp32,bf16,int8,int4")
    parser.add_argument("--threads", type=lambda text: [int(n) for n in text.split(",")], default=[1, 2])
    parser.add_argument(
        "--prefill", type=lambda text: [int(n) for n in text.split(",") if n], default=list(PREFILL)
    )
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--rows", action=argparse.BooleanOptionalAction, default=True)
    parser.add_argument("--torch", action=argparse.BooleanOptionalAction, default=True)
    parser.add_argument("--package", action=argparse.BooleanOptionalAction, default=True)
    parser.add_argument("--llama", metavar="PYTHON", help="a Python that has llama-cpp-python and gguf")
    parser.add_argument("--llama-types", default="f16,q8_0,q4_K_M")
    parser.add_argument("--cache", default=str(Path(tempfile.gettempdir()) / "chatrwkv-bench"))
    parser.add_argument("--child", nargs=3)
    options = parser.parse_args()
    if options.llama and options.shape not in RANKED:
        parser.error(f"llama.cpp is compared on {', '.join(RANKED)}")
    if options.child:
        child(options.child[0], options.child[1], int(options.child[2]))
        return
    with tempfile.TemporaryDirectory() as folder:
        library, sides = contestants(options, Path(folder))
        report(options, sides, run(options, library, sides))
        for side in sides:
            if isinstance(side, Peer):
                side.close()


if __name__ == "__main__":
    main()
