"""A thousand branches in the vault: how much memory they take, and how fast the oldest is there again.

Goals for states of a 1.5B model (13 MB) and a budget of 1 GB: at most 1.1 GB over the start, the oldest reopened
from disk in at most 100 ms.

    python benchmarks/branches.py [--branches N] [--mb N] [--budget-mb N] [--folder PLACE]
"""

from __future__ import annotations

import argparse
import tempfile
import time
from pathlib import Path

import torch

from chatrwkv.chat.vault import Vault
from chatrwkv.engine import EMPTY_CHAIN, Snapshot, State, extend

MODEL = "b" * 64


def resident_mb() -> float:
    """Memory of this process; Linux."""
    for line in Path("/proc/self/status").read_text(encoding="ascii").splitlines():
        if line.startswith("VmRSS"):
            return int(line.split()[1]) / 1000
    return 0.0


def branch(number: int, n_floats: int) -> Snapshot:
    """One state, unlike any other."""
    noise = torch.Generator().manual_seed(number)
    state = State({"wkv": torch.randn(n_floats, generator=noise)})
    return Snapshot(state, torch.zeros(1000), 1, extend(EMPTY_CHAIN, (number,)), MODEL)


def main() -> None:
    """Fill a vault and look."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--branches", type=int, default=1000)
    parser.add_argument("--mb", type=float, default=13.0, help="of one state")
    parser.add_argument("--budget-mb", type=int, default=1000)
    parser.add_argument("--folder", help="where the files go; removed afterwards")
    args = parser.parse_args()
    n_floats = round(args.mb * 1e6 / 4)
    with tempfile.TemporaryDirectory(dir=args.folder) as place:
        vault = Vault(
            Path(place) / "states", args.budget_mb * 1_000_000, round(2e6 * args.mb * args.branches)
        )
        branch(0, n_floats)  # what torch itself takes
        start, most, began = resident_mb(), 0.0, time.perf_counter()
        for number in range(args.branches):
            vault.put(branch(number, n_floats))
            if number % 8 == 7:
                vault.flush()  # a reply takes longer than the disk
            most = max(most, resident_mb() - start)
        vault.flush()
        usage, seconds = vault.usage(), time.perf_counter() - began
        print(f"{args.branches:,} states of {args.mb:g} MB put in {seconds:.0f} s: {usage.n_disk:,} on disk,")
        print(
            f"{usage.n_ram:,} in memory, {most:,.0f} MB over the start at most (budget {args.budget_mb:,} MB)"
        )
        took = []
        for number in range(10):
            chain = extend(EMPTY_CHAIN, (number,))
            began = time.perf_counter()
            assert vault.get(MODEL, chain) is not None
            took.append(1000 * (time.perf_counter() - began))
        print(f"oldest ten from disk: median {sorted(took)[5]:.0f} ms, slowest {max(took):.0f} ms")
        vault.close()


if __name__ == "__main__":
    main()
