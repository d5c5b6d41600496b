"""What each precision costs the built-in model: KL and agreement with fp32 over `heldout.jsonl`.

    python benchmarks/precision.py [--readme] [--model chatrwkv/builtin/NAME] [--dtypes bf16,fp16,int8,int4]

`--readme` writes the table between the `precision` markers of README.md. The text comes from
`benchmarks/heldout.py`, and has to be made anew with a model whose vocabulary or held-out split is another.
"""

from __future__ import annotations

import argparse
import datetime as dt
import json
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
HELD_OUT = Path(__file__).with_name("heldout.jsonl")
BEGIN, END = "<!-- precision -->", "<!-- /precision -->"
# precision: (largest mean KL, smallest share of equal first choices where fp32 is sure)
BOUNDS = {"int8": (0.005, 0.99), "int4": (0.08, 0.95)}


def measured(model, dtype):
    """What `chatrwkv eval` says, as it says it to anybody."""
    command = [sys.executable, "-m", "chatrwkv", "eval", str(HELD_OUT), "-m", str(model)]
    command += ["--device", "cpu", "--dtype", dtype, "--json"]
    command += ["--against", "fp32"] if dtype != "fp32" else []
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=ROOT)
    if done.returncode:
        raise SystemExit(done.stderr)
    return json.loads(done.stdout)


def verdict(dtype, against):
    """How it stands to its bound."""
    if dtype not in BOUNDS:
        return ""
    kl, share = BOUNDS[dtype]
    missed = [
        what
        for what, ok in (("KL", against["mean_kl"] <= kl), ("top-1", against["top1_sure"] >= share))
        if not ok
    ]
    wanted = f"KL ≤ {kl:g}, sure top-1 ≥ {100 * share:g} %"
    return f"{wanted}: {'**' + ' and '.join(missed) + ' missed**' if missed else 'held'}"


def table(model, results):
    """The block of the README."""
    first = next(iter(results.values()))
    sure = next((r["against"]["n_sure"] for r in results.values() if r["against"]), 0)
    today = dt.datetime.now(tz=dt.UTC).date().isoformat()
    said = (
        f"The built-in model `{model.name}` over {first['n_tokens']:,} held-out positions"
        f" (`benchmarks/heldout.jsonl`) on a CPU, {today}{', native code' if first['is_native'] else ''}; fp16 runs"
        f" in torch. Sure: the {sure:,} positions where fp32 leads by at least 0.5 nat."
    )
    lines = [
        said,
        "",
        "| precision | bits a byte | mean KL from fp32 | same top-1 | same top-1 where sure | goal |",
        "|---|---|---|---|---|---|",
    ]
    for dtype, result in results.items():
        a = result["against"]
        cells = [dtype, f"{result['bits_per_byte']:.4f}"]
        cells += (
            [f"{a['mean_kl']:.2g}", f"{100 * a['top1']:.1f} %", f"{100 * a['top1_sure']:.1f} %"]
            if a
            else ["0", "100 %", "100 %"]
        )
        lines.append(f"| {' | '.join([*cells, verdict(dtype, a) if a else ''])} |")
    return "\n".join(lines)


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--readme", action="store_true", help="write the table into README.md")
    parser.add_argument("--model", type=Path, default=ROOT / "chatrwkv" / "builtin" / "sprout")
    parser.add_argument("--dtypes", default="bf16,fp16,int8,int4")
    options = parser.parse_args()
    results = {dtype: measured(options.model, dtype) for dtype in ("fp32", *options.dtypes.split(","))}
    block = table(options.model, results)
    print(block)
    if options.readme:
        path = ROOT / "README.md"
        before, rest = path.read_text("utf-8").split(BEGIN)
        path.write_text(f"{before}{BEGIN}\n{block}\n{END}{rest.split(END)[1]}", encoding="utf-8")


if __name__ == "__main__":
    main()
