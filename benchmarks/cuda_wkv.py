"""Time of the recurrences alone on a GPU: the kernels against the torch path and against what the matrices need.

    python benchmarks/cuda_wkv.py [--way nvcc|nvrtc] [--tokens 4096] [--rows 1] [--json]

Needs torch, numpy and, for nvcc, ninja; nothing of the interface. `share` is the kernel's time in a prefill of
all layers whose matrices run at the measured rate of this GPU: sum of kernels / (kernels + matrix products).
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from pathlib import Path

import torch

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from chatrwkv.cuda.abi import RECURRENCES
from chatrwkv.engine import cuda_kernels, ops
from chatrwkv.engine.cuda_ops import launch_channels, launch_heads

# name: (channels, head size, parameters of the matrices of one layer of RWKV-7 in C^2: r k v o + 8 of the ffn)
SHAPES = {"0.1b": (768, 64), "1.5b": (2048, 64), "7.2b": (4096, 64)}
MATRICES = 12
ROUNDS = 7


def seconds(work):
    """The best of some rounds, by events on the device."""
    work()
    best = float("inf")
    for _ in range(ROUNDS):
        start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        start.record()
        work()
        end.record()
        end.synchronize()
        best = min(best, start.elapsed_time(end) / 1e3)
    return best


def matrix_rate(device, width=8192):
    """Measured operations a second of an fp16 product."""
    a, b = (torch.randn(width, width, device=device, dtype=torch.float16) for _ in range(2))
    return 2 * width**3 / seconds(lambda: a @ b)


def inputs(generation, rows, tokens, channels, size, device):
    def noise(*shape):
        return torch.randn(shape, device=device)

    if generation == "wkv4":
        x = {"k": noise(rows, tokens, channels), "v": noise(rows, tokens, channels)}
        return x | {"w": -noise(channels).exp(), "u": noise(channels)}
    shape = (rows, tokens, channels // size, size)
    x = {name: noise(*shape) for name in "rkv"}
    if generation.startswith("wkv7"):
        kk = torch.nn.functional.normalize(noise(*shape), dim=-1)
        return x | {"a": -kk, "b": kk * noise(*shape).sigmoid(), "log_decay": -0.6 * noise(*shape).sigmoid()}
    x["log_decay"] = -noise(*(shape[2:] if generation == "wkv5" else shape)).exp()
    return x | {"u": noise(*shape[2:])}


def by_kernel(launch, generation, x, dtype):
    vectors = {name: t.to(dtype) if name in "rkvab" else t for name, t in x.items()}
    if generation == "wkv4":
        rows, _, channels = x["k"].shape
        sums = torch.zeros(3, rows, channels, device=x["k"].device)
        return lambda: launch_channels(launch, vectors, sums, None, None)
    rows, _, heads, size = x["r"].shape
    s = torch.zeros(rows, heads, size, size, device=x["r"].device)
    return lambda: launch_heads(launch, generation, vectors, s, None)


def by_torch(generation, x):
    if generation == "wkv4":
        zero = torch.zeros_like(x["k"][:, 0])
        return lambda: ops.wkv4_scan(x["k"], x["v"], x["w"], x["u"], (zero, zero, zero + ops.NOTHING_4))
    rows, _, heads, size = x["r"].shape
    s = torch.zeros(rows, heads, size, size, device=x["r"].device)
    if generation.startswith("wkv7"):
        return lambda: ops.wkv7_scan(x["r"], x["log_decay"], x["k"], x["v"], x["a"], x["b"], s)
    return lambda: ops.wkv6_scan(x["r"], x["log_decay"].expand_as(x["r"]), x["k"], x["v"], x["u"], s)


def measure(launch, args, device):
    """One result a shape and generation; all times for one layer."""
    rate = matrix_rate(device)
    for shape, (channels, size) in SHAPES.items():
        products = 2 * MATRICES * channels**2 * args.rows * args.tokens / rate
        for generation in RECURRENCES:
            x = inputs(generation, args.rows, args.tokens, channels, size, device)
            fp32 = seconds(by_kernel(launch, generation, x, torch.float32))
            fp16 = seconds(by_kernel(launch, generation, x, torch.float16))
            yield {
                "shape": shape,
                "generation": generation,
                "kernel_fp32_ms": 1e3 * fp32,
                "kernel_fp16_ms": 1e3 * fp16,
                "torch_ms": 1e3 * seconds(by_torch(generation, x)),
                "share": fp32 / (fp32 + products),
                "matrix_tflops": rate / 1e12,
            }


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--way", choices=("nvcc", "nvrtc"), default="nvcc")
    parser.add_argument("--tokens", type=int, default=4096)
    parser.add_argument("--rows", type=int, default=1)
    parser.add_argument("--json", action="store_true")
    args = parser.parse_args()
    if not torch.cuda.is_available() or torch.version.hip is not None:
        print("torch sees no NVIDIA GPU here; nothing was measured.", file=sys.stderr)
        return 1
    device = torch.device("cuda", 0)
    torch.zeros(1, device=device)  # makes the context, which the driver API needs
    major, minor = torch.cuda.get_device_capability(device)
    way = {"nvcc": cuda_kernels.with_nvcc, "nvrtc": cuda_kernels.with_nvrtc}[args.way]
    folder = Path(tempfile.gettempdir()) / "chatrwkv-cuda-benchmark"
    launch, status = way(folder, f"sm_{major}{minor}", lambda: None)
    name = f"{torch.cuda.get_device_name(device)}, {status.compiler}, torch {torch.__version__}"
    with torch.inference_mode():
        results = list(measure(launch, args, device))
    if args.json:
        print(json.dumps({"machine": name, "rows": args.rows, "tokens": args.tokens, "results": results}))
        return 0
    print(f"{name}; {args.rows} x {args.tokens} tokens; {results[0]['matrix_tflops']:.0f} TFLOP/s measured\n")
    print("| shape | recurrence | kernel fp32 ms | kernel fp16 ms | torch ms | kernel's share of a layer |")
    print("|---|---|---:|---:|---:|---:|")
    for r in results:
        times = f"{r['kernel_fp32_ms']:.3f} | {r['kernel_fp16_ms']:.3f} | {r['torch_ms']:.2f}"
        print(f"| {r['shape']} | {r['generation']} | {times} | {100 * r['share']:.0f} % |")
    return 0


if __name__ == "__main__":
    sys.exit(main())
