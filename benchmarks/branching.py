"""A thousand branches of states as large as those of a 1.5B model, with a gigabyte for them.

Goals: never more than 1.1 GB over the start, and the oldest branch goes on within 100 ms. A fake model carries the
states through the real engine, session, database and vault; what it does not do is compute. 14 GB of disk are
needed.

    python benchmarks/branching.py [--branches 1000] [--state-mb 13] [--budget-mb 1000] [--folder FOLDER]
"""

from __future__ import annotations

import argparse
import resource
import statistics
import sys
import tempfile
import threading
import time
from pathlib import Path

from chatrwkv.chat.workspace import Workspace
from chatrwkv.config import ChatSettings, Settings
from chatrwkv.engine import EngineThread
from chatrwkv.paths import Paths
from tests.fakes import HeavyModel, fake_loader

POLL_S = 0.02


def resident_mb() -> float:
    """Memory of this process now."""
    pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])
    return pages * resource.getpagesize() / 1e6


class Peak:
    """The most memory between two looks, seen every 20 ms."""

    def __init__(self) -> None:
        self.most_mb = 0.0
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)
        self._thread.start()

    def _watch(self) -> None:
        while not self._over.wait(POLL_S):
            self.most_mb = max(self.most_mb, resident_mb())

    def close(self) -> None:
        """Stop looking."""
        self._over.set()
        self._thread.join()


def main() -> None:
    """Grow the tree, then go back to its oldest branches."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--branches", type=int, default=1000)
    parser.add_argument("--state-mb", type=float, default=13.0)
    parser.add_argument("--budget-mb", type=int, default=1000)
    parser.add_argument("--at-once", type=int, default=1, help="replies in one batch")
    parser.add_argument("--folder", type=Path, help="on the disk that is to be measured")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=args.folder, prefix="chatrwkv-branches-") as folder:
        measure(Path(folder), args)


def measure(root: Path, args: argparse.Namespace) -> None:
    """Run and print."""
    model = HeavyModel(int(args.state_mb * 1e6))
    engine = EngineThread(loader=fake_loader(model))
    engine.start()
    chat_settings = ChatSettings(state_budget_mb=args.budget_mb, state_disk_budget_mb=100_000)
    settings = Settings(chat=chat_settings, sampling={"max_tokens": 4, "top_p": 1.0, "temperature": 5.0})
    paths = Paths(root / "config", root / "data", root / "state", root / "cache")
    workspace = Workspace.open(paths, settings, engine)
    engine.load(root / "heavy.pth").result()
    chat = workspace.new_chat()
    chat.send("one").wait()
    start_mb, peak, began = resident_mb(), Peak(), time.perf_counter()
    first = chat.head
    for done in range(0, args.branches, args.at_once):
        for reply in chat.retry(first, n=args.at_once):
            reply.wait()
        if done % 100 < args.at_once:
            sys.stderr.write(f"\r{done} branches, {resident_mb() - start_mb:,.0f} MB over the start  ")
    grown_s = time.perf_counter() - began
    chat.vault.flush()
    flushed_s = time.perf_counter() - began
    scanned, took = len(model.scan_sizes), []
    for node_id in chat.conversation.siblings(first)[1:11]:
        chat.select(node_id)
        at = time.perf_counter()
        reply = chat.continue_reply(node_id)
        while not reply.poll().n_tokens and reply.is_running:
            time.sleep(0.0005)
        took.append(1000 * (time.perf_counter() - at))
        reply.wait()
    peak.close()
    usage = chat.vault.usage()
    print(
        f"{args.branches} branches of {args.state_mb:g} MB, {args.at_once} at once, budget {args.budget_mb} MB"
    )
    print(
        f"grown in {grown_s:.0f} s, on disk after {flushed_s:.0f} s: {usage.n_disk} files, {usage.disk_bytes / 1e9:.1f} GB"
    )
    print(f"most memory over the start: {peak.most_mb - start_mb:,.0f} MB")
    print(f"of it states in memory: {usage.n_ram}, {usage.ram_bytes / 1e6:,.0f} MB")
    print(
        f"the ten oldest go on: median {statistics.median(took):.0f} ms to the first token, most {max(took):.0f} ms"
    )
    print("each:", " ".join(f"{each:.0f}" for each in took), "ms")
    print(f"read again for that: {len(model.scan_sizes) - scanned} times")
    workspace.close()
    engine.close()


if __name__ == "__main__":
    main()
