"""Everything that is to be known of a GPU, with one command and in eight minutes: the tests, then one table.

    python benchmarks/gpu.py [--json FILE]

Needs torch, numpy, safetensors, tokenizers, ninja and pytest; nothing of the interface, and 24 GB on the GPU. Each
part runs in a process of its own with a limit of time: what fails or takes too long leaves its rows empty and is told
of, the others are measured all the same. Weights are random; bandwidth and matrix rate are measured in the same run.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import time
from pathlib import Path

import torch

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

LIMIT_S = 480
# seconds for each part; what is left of one is not given to the next
PARTS = {
    "tests": (150, ["-m", "pytest", "-c", "tests/cuda/pytest.ini", "-q", "tests/cuda/test_gpu.py"]),
    "decode": (120, ["benchmarks/cuda_decode.py", "--kinds", "fp16", "--rows", "1", "8", "--json"]),
    "prefill": (60, ["benchmarks/gpu.py", "--part", "prefill"]),
    "errors": (30, ["benchmarks/gpu.py", "--part", "errors"]),
    "draw": (30, ["benchmarks/gpu.py", "--part", "draw"]),
    "bench": (
        90,
        ["-m", "chatrwkv", "bench", "--device", "cuda", "--shape", "0.1b", "--rounds", "2", "--json"],
    ),
}
LAYERS, CHANNELS, HEAD_SIZE, TOKENS = 32, 4096, 64, 4096  # of the 7.2B
MATRICES = 12  # times C^2 a layer: r k v o, and 8 of the ffn


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--part", choices=("prefill", "errors", "draw"), help="one part, as JSON")
    parser.add_argument("--json", metavar="FILE", type=Path, help="keep all that the parts said")
    args = parser.parse_args()
    if not torch.cuda.is_available() or torch.version.hip is not None:
        print("torch sees no NVIDIA GPU here; nothing was measured.", file=sys.stderr)
        return 1
    if args.part:
        with torch.inference_mode():
            print(json.dumps({"prefill": prefill, "errors": errors, "draw": draw}[args.part]()))
        return 0
    start, found = time.monotonic(), {}
    for name, (limit, command) in PARTS.items():
        left = min(limit, LIMIT_S - (time.monotonic() - start))
        found[name] = run(name, command, left)
    if args.json:
        args.json.write_text(json.dumps(found, indent=1))
    print(f"\n{torch.cuda.get_device_name()}, torch {torch.__version__}, {time.monotonic() - start:.0f} s\n")
    print("\n".join(table(found)))
    return 0


def run(name: str, command: list[str], limit: float) -> dict:
    """The last line that a part printed, if it is JSON; what went wrong under `problem`."""
    print(f"{name} ...", file=sys.stderr, flush=True)
    try:
        done = subprocess.run(
            [sys.executable, *command],
            cwd=ROOT,
            capture_output=True,
            text=True,
            timeout=max(1.0, limit),
            check=False,
        )
    except subprocess.TimeoutExpired:
        return {"problem": f"it took longer than {limit:.0f} s"}
    lines = done.stdout.strip().splitlines()
    last = lines[-1] if lines else ""
    if name == "tests":
        return {"summary": last} | ({"problem": "\n".join(lines[-12:])} if done.returncode else {})
    if done.returncode:
        return {"problem": (done.stderr or done.stdout).strip()[-600:]}
    return json.loads(done.stdout[done.stdout.index("{") :])


def seconds(work, rounds: int = 7) -> float:
    """The median of some rounds, by events on the device; two more go before them."""
    times = []
    for _ in range(rounds + 2):
        start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        start.record()
        work()
        end.record()
        end.synchronize()
        times.append(start.elapsed_time(end) / 1e3)
    return sorted(times[2:])[rounds // 2]


def ready_kernels():
    """What launches the kernels of this GPU, built as the app builds them."""
    import tempfile

    from chatrwkv.engine import cuda_kernels

    device = torch.device("cuda", torch.cuda.current_device())
    torch.zeros(1, device=device)  # makes the context, which the driver API needs
    major, minor = torch.cuda.get_device_capability(device)
    folder = Path(tempfile.gettempdir()) / "chatrwkv-cuda-benchmark"
    for way in (cuda_kernels.with_nvcc, cuda_kernels.with_nvrtc):
        try:
            return way(folder, f"sm_{major}{minor}", lambda: None)[0], device
        except Exception as problem:  # noqa: BLE001 - the other one may do
            print(problem, file=sys.stderr)
    raise SystemExit("no kernels")


def matrix_rate(device, width: int = 8192) -> float:
    """Measured operations a second of an fp16 product."""
    a, b = (torch.randn(width, width, device=device, dtype=torch.float16) for _ in range(2))
    return 2 * width**3 / seconds(lambda: a @ b)


def prefill() -> dict:
    """4,096 tokens through the layers of the 7.2B; how much of it the recurrence takes."""
    from benchmarks.cuda_decode import random_model
    from chatrwkv.engine import cuda_kernels
    from chatrwkv.engine.cuda_forms import CHUNKED, SEQUENTIAL, Forms
    from chatrwkv.engine.cuda_ops import launch_heads

    launch, device = ready_kernels()
    forms = Forms(has_chunked=True)
    cuda_kernels.launcher, cuda_kernels.forms = (lambda *_: launch), (lambda _: forms)
    rate = matrix_rate(device)
    model, _ = random_model("7.2b", "fp16", device)
    ids = [[1 + i % 500 for i in range(TOKENS)]]
    whole = seconds(lambda: model.scan(ids, model.blank().thaw(device)), rounds=3)
    shape = (1, TOKENS, CHANNELS // HEAD_SIZE, HEAD_SIZE)
    x = {name: torch.randn(shape, device=device, dtype=torch.float16) / 8 for name in "rkvab"}
    x["log_decay"] = -0.6 * torch.rand(shape, device=device)
    s = torch.zeros(1, shape[2], HEAD_SIZE, HEAD_SIZE, device=device)
    times = {
        name: seconds(lambda name=name: launch_heads(launch, name, x, s, None))
        for name in (SEQUENTIAL, CHUNKED)
    }
    n_operations = 2 * LAYERS * MATRICES * CHANNELS**2 * TOKENS
    return {
        "tokens_a_second": TOKENS / whole,
        "tflops": rate / 1e12,
        "share": n_operations / rate / whole,
        "wkv_share": LAYERS * min(times.values()) / whole,
        "wkv_ms": {name: 1e3 * t for name, t in times.items()},
    }


def errors() -> dict:
    """The largest error of RWKV-7's kernels against float64 on the CPU, over the largest value."""
    from chatrwkv.engine import ops
    from chatrwkv.engine.cuda_forms import CHUNKED, SEQUENTIAL
    from chatrwkv.engine.cuda_ops import launch_heads
    from tests.cuda.test_shim import heads

    launch, device = ready_kernels()
    found = {}
    for dtype in (torch.float32, torch.bfloat16):
        for kernel in (SEQUENTIAL, CHUNKED):
            x = heads(kernel, 2, 700, 4, HEAD_SIZE, dtype)
            s = x.pop("state")
            end = s.clone().to(device)
            y = launch_heads(launch, kernel, {n: t.to(device) for n, t in x.items()}, end, None)
            z = [x[n].double() for n in ("r", "log_decay", "k", "v", "a", "b")]
            want, want_end = ops.wkv7_scan(*z, s.double())
            pairs = ((y, want), (end, want_end)) if dtype == torch.float32 else ((y, want),)
            worst = max(float((a.cpu().double() - b).abs().max() / b.abs().max()) for a, b in pairs)
            name = str(dtype).removeprefix("torch.")
            found[name] = max(found.get(name, 0.0), worst)
    return found


def draw() -> dict:
    """Microseconds of a draw from 65,536 logits by the kernel, and what a sort of them takes."""
    from chatrwkv.engine.cuda_draw import DeviceDraws
    from chatrwkv.engine.params import SamplingParams
    from chatrwkv.engine.sampling import Sampler

    launch, device = ready_kernels()
    logits = -torch.randperm(65536, device=device).float() / 500
    found = {}
    for n_rows in (1, 8, 16):
        draws = DeviceDraws(launch, device, 65536)
        wishes = {i: (Sampler(SamplingParams(seed=i), 65536).wish(0), logits, None) for i in range(n_rows)}

        def both(draws=draws, wishes=wishes):
            draws.queue(wishes)
            draws.collect()

        found[f"{n_rows} rows, us"] = 1e6 * seconds(both, rounds=101)
    return found | {"sort, us": 1e6 * seconds(lambda: logits.sort(descending=True), rounds=101)}


def table(found: dict) -> list[str]:
    """A row for each goal: what it is, at least or at most how much, and what was found."""
    lines = ["| | goal | found | |", "|---|---|---:|---|"]

    def row(what: str, goal: str, value: float | None, words: str, *, is_met: bool | None) -> None:
        verdict = "" if value is None or is_met is None else "met" if is_met else "missed"
        lines.append(
            f"| {what} | {goal} | {words.format(value) if value is not None else 'not measured'} | {verdict} |"
        )

    def at_least(what: str, goal: float, value: float | None, unit: str) -> None:
        row(what, f"{goal:g}{unit}", value, f"{{:.1f}}{unit}", is_met=value is not None and value >= goal)

    decode = {(r["shape"], r["rows"]): r for r in found["decode"].get("results", [])}

    def of(shape: str, rows: int, name: str, factor: float = 1.0) -> float | None:
        value = decode.get((shape, rows), {}).get(name)
        return None if value is None else factor * value

    at_least("decode 7.2B, one reply, share of the bandwidth", 90, of("7.2b", 1, "share", 100), " %")
    at_least("the same with 85 % FFN zeros", 105, of("7.2b", 1, "share_with_zeros", 100), " %")
    at_least("decode 1.5B, share", 80, of("1.5b", 1, "share", 100), " %")
    at_least("decode 0.1B against eager torch", 5, of("0.1b", 1, "times_eager"), "x")
    at_least("8 replies, 7.2B, total against one", 6.5, of("7.2b", 8, "times_one_row"), "x")
    prefill_ = found["prefill"]
    share, wkv = prefill_.get("share"), prefill_.get("wkv_share")
    at_least(
        "prefill 4,096, 7.2B, share of the matrix rate", 55, None if share is None else 100 * share, " %"
    )
    row(
        "WKV's share of that time",
        "15 % at most",
        None if wkv is None else 100 * wkv,
        "{:.1f} %",
        is_met=wkv and wkv <= 0.15,
    )
    for name, goal in (("float32", 1e-5), ("bfloat16", 5e-3)):
        value = found["errors"].get(name)
        row(
            f"error against float64, {name} inputs",
            f"{goal:g}",
            value,
            "{:.1e}",
            is_met=value is not None and value <= goal,
        )
    draws = found["draw"]
    for name in ("1 rows, us", "8 rows, us", "sort, us"):
        row(f"a draw from 65,536: {name.removesuffix(', us')}", "", draws.get(name), "{:.0f} us", is_met=None)
    return [*lines, "", *notes(found)]


def notes(found: dict) -> list[str]:
    """How the tests ended, and what could not be measured."""
    problems = [f"{name}: {part['problem']}" for name, part in found.items() if part.get("problem")]
    return [f"tests: {found['tests'].get('summary') or 'not run'}", *problems]


if __name__ == "__main__":
    sys.exit(main())
