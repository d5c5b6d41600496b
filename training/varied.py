"""Lines of varied text, for the statistics of `chatrwkv embed`: equal shares of every source.

python -m training.varied --sources DIR --out lines.txt
chatrwkv embed lines.txt -m sprout --fit-stats chatrwkv/builtin/sprout/model.embed
"""

from __future__ import annotations

import argparse
import json
import lzma
import random
import re
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

SHORTEST, LONGEST = 2, 300  # characters
_READ = 6_000_000  # characters of a file of prose
_SENTENCE = re.compile(r"(?<=[.!?])\s+")


def lines_of(path: Path) -> Iterator[str]:
    """One turn of each dialogue, or the sentences of a text."""
    with lzma.open(path, "rt", encoding="utf-8") as file:
        if ".jsonl" in path.suffixes:
            for number, row in enumerate(file):
                turns = json.loads(row)["turns"]
                yield turns[number % len(turns)][1]
        else:
            yield from _SENTENCE.split(file.read(_READ).replace("\0", " "))


def varied(folder: Path, share: int, seed: int) -> list[str]:
    """At most `share` lines of each source, in random order."""
    draw, found = random.Random(seed), []
    for path in sorted(folder.rglob("*.xz")):
        lines = [" ".join(line.split()) for line in lines_of(path)]
        lines = sorted({line for line in lines if SHORTEST <= len(line) <= LONGEST})
        found += draw.sample(lines, min(share, len(lines)))
    draw.shuffle(found)
    return found


def main() -> None:
    """Write the lines."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--sources", type=Path, required=True, help="folder of .jsonl.xz and .txt.xz files")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--share", type=int, default=120, help="lines of each source")
    parser.add_argument("--seed", type=int, default=1)
    args = parser.parse_args()
    lines = varied(args.sources, args.share, args.seed)
    args.out.write_text("\n".join(lines) + "\n", encoding="utf-8")
    print(f"{args.out}: {len(lines):,} lines")


if __name__ == "__main__":
    main()
