"""Decoding of RWKV-7 on a GPU with random weights of published shapes, against what its memory allows.

    python benchmarks/cuda_decode.py [--way nvcc|nvrtc] [--shapes 0.1b 1.5b 7.2b] [--kinds fp16 int8] [--rows 1 8] [--json]

Needs torch, numpy and, for nvcc, ninja; nothing of the interface, and memory for the largest shape (7.2b in fp16: 16 GB).
The limit of a token is the time in which the measured bandwidth of this GPU reads every weight but the embedding once,
and reads and writes the states. `share` is that limit over the time of the fused step, replayed as a graph; with zeros,
85 % of the inputs of the value matrices are zero and skipped, and the limit stays that of the dense model.
"""

from __future__ import annotations

import argparse
import json
import math
import sys
import tempfile
from pathlib import Path

import torch

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from chatrwkv.engine import cuda_kernels
from chatrwkv.engine.coarse import Coarse
from chatrwkv.engine.cuda_decode import Decoder, decode7
from chatrwkv.engine.models.graphed import record_on_cuda
from chatrwkv.engine.models.rwkv7 import RWKV7, blank
from chatrwkv.engine.spec import Generation, ModelSpec
from chatrwkv.engine.state import Scratch

# layers, channels, ranks of w, a, v, g, as in the published files
SHAPES = {
    "0.1b": (12, 768, (64, 64, 32, 128)),
    "1.5b": (24, 2048, (96, 96, 64, 256)),
    "7.2b": (32, 4096, (128, 128, 96, 480)),
}
HEAD_SIZE, VOCABULARY = 64, 65536
TYPES = {"fp16": torch.float16, "bf16": torch.bfloat16, "int8": torch.float16}
ZEROS = 0.85
ROUNDS = 30
BUFFER = 1 << 30  # bytes: beyond every cache


def seconds(work, rounds=ROUNDS):
    """The median of some rounds, by events on the device."""
    times = []
    for _ in range(rounds + 3):
        start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        start.record()
        work()
        end.record()
        end.synchronize()
        times.append(start.elapsed_time(end) / 1e3)
    return sorted(times[3:])[rounds // 2]


def bandwidth(device):
    """Measured bytes a second of a copy, read and written ones together."""
    a, b = (torch.ones(BUFFER // 4, device=device) for _ in range(2))
    return 2 * BUFFER / seconds(lambda: b.copy_(a))


def matrix(n_out, n_in, kind, device):
    dense = torch.randn(n_out, n_in, device=device) / math.sqrt(n_in)
    return Coarse.of(dense, "int8", TYPES[kind]) if kind == "int8" else dense.to(TYPES[kind])


def layer(i, channels, ranks, kind, device):
    """Weights of one block; the first inputs of the ffn are those that are not zero if the zeros are asked for."""
    at, dtype = f"blocks.{i}.", TYPES[kind]
    found = {}
    for name in ("ln1", "ln2", "att.ln_x", *(["ln0"] if i == 0 else [])):
        found |= {f"{at}{name}.weight": torch.ones(channels, device=device)}
        found |= {f"{at}{name}.bias": torch.zeros(channels, device=device)}
    found |= {f"{at}att.x_{j}": torch.rand(channels, device=device) for j in "rwkvag"}
    found |= {
        f"{at}att.{name}": torch.randn(channels, device=device) for name in ("w0", "a0", "v0", "k_k", "k_a")
    }
    found[at + "att.r_k"] = torch.randn(channels // HEAD_SIZE, HEAD_SIZE, device=device)
    for j, rank in zip("wavg", ranks, strict=True):
        found[f"{at}att.{j}1"] = torch.randn(channels, rank, device=device, dtype=dtype) / math.sqrt(channels)
        found[f"{at}att.{j}2"] = torch.randn(rank, channels, device=device, dtype=dtype) / math.sqrt(rank)
    for name in ("receptance", "key", "value", "output"):
        found[f"{at}att.{name}.weight"] = matrix(channels, channels, kind, device)
    found[at + "ffn.x_k"] = torch.rand(channels, device=device)
    found[at + "ffn.key.weight"] = matrix(4 * channels, channels, kind, device)
    found[at + "ffn.value.weight"] = matrix(channels, 4 * channels, kind, device)
    return found


def random_model(shape, kind, device):
    n_layer, channels, ranks = SHAPES[shape]
    spec = ModelSpec(Generation.V7, n_layer, channels, HEAD_SIZE, VOCABULARY, 4 * channels, "", 0, kind)
    tensors = {"emb.weight": torch.randn(VOCABULARY, channels, device=device, dtype=TYPES[kind])}
    tensors["head.weight"] = matrix(VOCABULARY, channels, kind, device)
    tensors |= {"ln_out.weight": torch.ones(channels, device=device)}
    tensors |= {"ln_out.bias": torch.zeros(channels, device=device)}
    for i in range(n_layer):
        tensors |= layer(i, channels, ranks, kind, device)
    return RWKV7(spec, tensors), sum(t.nbytes for name, t in tensors.items() if name != "emb.weight")


def silence(model):
    """Make 85 % of the inputs of the value matrices zero: rows of zeros in the matrix before."""
    for one in model.weights.layers:
        key = one.ffn.key.levels if isinstance(one.ffn.key, Coarse) else one.ffn.key
        key[torch.rand(len(key), device=key.device) < ZEROS] = 0


def measure(launch, shape, kind, args, device):
    """One result for each number of rows."""
    model, n_bytes = random_model(shape, kind, device)
    rate = bandwidth(device)
    decoder = Decoder(model, launch)
    eager = {}
    if kind != "int8":  # which makes every matrix dense at each use
        for n in args.rows:
            scratch = Scratch(model.blank_rows(n))
            eager[n] = seconds(lambda n=n, scratch=scratch: model.step(list(range(n)), scratch))
    times = {}
    for has_zeros in (False, True):
        if has_zeros:
            silence(model)
        for n in args.rows:
            ids, state = torch.arange(n, device=device), list(blank(model.spec, n, device).values())
            replay, _ = record_on_cuda(
                device,
                lambda ids=ids, state=state, skips=has_zeros: decode7(ids, *state, decoder.number, skips),
            )
            times[n, has_zeros] = seconds(replay)
            states = 2 * sum(tensor.nbytes for tensor in state)
            eager.setdefault((n, "limit"), (n_bytes + states) / rate)
    for n in args.rows:
        limit = eager[n, "limit"]
        yield {
            "shape": shape,
            "kind": kind,
            "rows": n,
            "tokens_a_second": n / times[n, False],
            "share": limit / times[n, False],
            "share_with_zeros": limit / times[n, True],
            "times_eager": eager[n] / times[n, False] if n in eager else None,
            "times_one_row": n * times[args.rows[0], False] / times[n, False] / args.rows[0],
            "gigabytes_a_second": rate / 1e9,
        }


def show(name, results):
    print(f"{name}; {results[0]['gigabytes_a_second']:.0f} GB/s measured\n")
    print(
        "| shape | weights | replies | tokens/s | share | share, 85 % zeros | times eager torch | times one reply |"
    )
    print("|---|---|---:|---:|---:|---:|---:|---:|")
    for r in results:
        eager = f"{r['times_eager']:.1f}" if r["times_eager"] else ""
        shares = f"{100 * r['share']:.0f} % | {100 * r['share_with_zeros']:.0f} %"
        print(
            f"| {r['shape']} | {r['kind']} | {r['rows']} | {r['tokens_a_second']:.0f} | {shares} | {eager} |"
            f" {r['times_one_row']:.1f} |"
        )


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--way", choices=("nvcc", "nvrtc"), default="nvcc")
    parser.add_argument("--shapes", nargs="+", choices=SHAPES, default=list(SHAPES))
    parser.add_argument("--kinds", nargs="+", choices=TYPES, default=["fp16", "int8"])
    parser.add_argument("--rows", nargs="+", type=int, default=[1, 2, 4, 8, 16])
    parser.add_argument("--json", action="store_true")
    args = parser.parse_args()
    if not torch.cuda.is_available() or torch.version.hip is not None:
        print("torch sees no NVIDIA GPU here; nothing was measured.", file=sys.stderr)
        return 1
    device = torch.device("cuda", torch.cuda.current_device())
    torch.zeros(1, device=device)  # makes the context, which the driver API needs
    major, minor = torch.cuda.get_device_capability(device)
    way = {"nvcc": cuda_kernels.with_nvcc, "nvrtc": cuda_kernels.with_nvrtc}[args.way]
    folder = Path(tempfile.gettempdir()) / "chatrwkv-cuda-benchmark"
    launch, status = way(folder, f"sm_{major}{minor}", lambda: None)
    name = f"{torch.cuda.get_device_name(device)}, {status.compiler}, torch {torch.__version__}"
    results = []
    with torch.inference_mode():
        for shape in args.shapes:
            for kind in args.kinds:
                results += measure(launch, shape, kind, args, device)
                torch.cuda.empty_cache()
    if args.json:
        print(json.dumps({"machine": name, "results": results}))
    else:
        show(name, results)
    return 0


if __name__ == "__main__":
    sys.exit(main())
