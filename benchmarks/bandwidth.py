"""How much of the machine's read bandwidth decoding uses: shapes x formats, FFN skipping off and on, in one table.

    PYTHONPATH=. python benchmarks/bandwidth.py [--shapes 0.4b,1.5b] [--formats bf16,int8,int4] [--threads 2]

Takes less than six minutes for everything: a minute to build the native library the first time, half a minute to
make and pack a shape, then at most `--seconds` a shape (90). Needs 8 GB of memory for 1.5B. Nothing else should
run: a round in which others used more than 0.2 cores is repeated while the time lasts, and the table says
"DISTURBED" if that did not help. Run it as it is, without `nice`.

Every round reads 512 MB and decodes with each format, skipping off and on, one after the other; medians over the
rounds. Bytes are the packed weights without the embedding, plus the state read and written; with skipping on they
count as if all were read, so that its share may pass 100 %. Random weights: half of the FFN is zeros. Goals with
skipping off: bf16 85, int8 75, int4 75 %.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections import defaultdict
from typing import TYPE_CHECKING

import torch

from benchmarks.random_models import (
    CACHE,
    native_model,
    quiet_rounds,
    seconds_of,
    tensors_of,
    token_bytes,
)
from chatrwkv.engine import kernels, quant
from chatrwkv.engine.tasks.shapes import SHAPES

if TYPE_CHECKING:
    from chatrwkv.engine.models.native import Native

GOALS = {"bf16": 85, "int8": 75, "int4": 75}
READ_BYTES = 512 << 20  # far beyond any cache
WARM_STEPS = 48  # in which native code measures how far to prefetch


class Table:
    """The measurements of one shape."""

    def __init__(self, models: dict[str, Native], reader: kernels.Engine) -> None:
        self.models, self._reader = models, reader
        self._area = quant.allocate(READ_BYTES)
        self._area[:] = 1  # pages that were never written are all the same one
        self._states = {kind: model.blank().thaw() for kind, model in models.items()}
        self.reads: list[float] = []
        self.times: dict[tuple[str, bool], list[float]] = defaultdict(list)

    def warm_up(self) -> None:
        """Let native code measure what it measures."""
        for kind in self.models:
            self._decode(kind, WARM_STEPS)

    def round(self) -> None:
        """Everything once."""
        seconds = seconds_of(lambda _: self._reader.read(self._area.ctypes.data, READ_BYTES), 5)
        self.reads.append(READ_BYTES / seconds)
        for kind, model in self.models.items():
            for skips in (False, True):
                model.engine.skip_zeros(skips)
                self.times[kind, skips].append(self._decode(kind, 16))

    def forget(self) -> None:
        """The last round."""
        for values in (self.reads, *self.times.values()):
            values.pop()

    def _decode(self, kind: str, n: int) -> float:
        model, state = self.models[kind], self._states[kind]
        return seconds_of(lambda i: model.step([1 + i % 50], state), n)

    def show(self, shape: str) -> None:
        """One line for each format and way."""
        read = statistics.median(self.reads)
        print(f"\n{shape}: memory is read at {read / 1e9:.1f} GB/s ({min(self.reads) / 1e9:.1f} to "
              f"{max(self.reads) / 1e9:.1f})")  # fmt: skip
        print(
            f"{'format':8}{'zeros':10}{'tok/s':>8}{'range':>16}{'MB a token':>12}{'GB/s':>8}{'share':>8}{'goal':>7}"
        )
        for (kind, skips), times in self.times.items():
            n_bytes, middle = token_bytes(self.models[kind]), statistics.median(times)
            rate = n_bytes / middle
            spread = f"{1 / max(times):.1f} - {1 / min(times):.1f}"
            goal = "" if skips else f"{GOALS.get(kind, '')}"
            print(
                f"{kind:8}{'skipped' if skips else 'read':10}{1 / middle:8.1f}{spread:>16}{n_bytes / 1e6:12.0f}"
                f"{rate / 1e9:8.1f}{100 * rate / read:7.0f}%{goal:>6}"
            )


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--shapes", default="0.4b,1.5b", help=f"of {', '.join(SHAPES)}")
    parser.add_argument("--formats", default="bf16,int8,int4", help="of fp32, bf16, int8, int4")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=5, help="that count")
    parser.add_argument("--seconds", type=float, default=90.0, help="for the rounds of a shape, at most")
    options = parser.parse_args()
    torch.set_num_threads(1)
    library, found = kernels.open_or_build(CACHE)
    print(f"{found.isa}, {options.threads} threads, {found.compiler}")
    for shape in options.shapes.split(","):
        tensors = tensors_of(shape)
        models = {
            kind: native_model(library, tensors, kind, options.threads) for kind in options.formats.split(",")
        }
        del tensors
        table = Table(models, kernels.Engine(library, options.threads))
        table.warm_up()
        verdict = quiet_rounds(table.round, options.rounds, time.monotonic() + options.seconds, table.forget)
        table.show(shape)
        print(verdict)


if __name__ == "__main__":
    main()
