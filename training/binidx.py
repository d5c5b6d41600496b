r"""RWKV-LM's binidx: token files with an index, and the order in which its trainer reads them.

    python -m training.binidx pack data.jsonl --vocab vocab.txt --out work/data
    python -m training.binidx rows work/data --context 512 --samples 40320 --out work/rows

`.bin` holds all ids one after the other; `.idx` is MMIDIDX\0\0, u64 version 1, u8 dtype code (8 is uint16),
u64 sequences n, u64 documents + 1, then n int32 lengths in tokens, n int64 offsets in bytes, and the document
index as int64. Every document ends with id 0. `pack` takes lines of {"text": ...} and of {"turns": [...]}.

Samples are as many tokens as the context and one more. Sample i of a run, counted from 1, starts at token
((f i^3) mod p) context: p is the magic prime, the largest 3n + 2 below tokens / context - 1, so that i^3 hits
every place once, and f = floor(p (sqrt 5 - 1) / 2). 40,320 samples are a mini-epoch.
"""

from __future__ import annotations

import argparse
import json
import math
import random
import struct
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from training import corpus, folders, sources
from training.corpus import TEXT, Document
from training.data import ROW
from training.vocab import Vocabulary

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from training.train import Arrays

MINI_EPOCH = 40_320
_MAGIC = b"MMIDIDX\x00\x00"
_VERSION = 1
_HEADER = struct.Struct("<QBQQ")
_DTYPES: dict[int, np.dtype[Any]] = {4: np.dtype("<i4"), 8: np.dtype("<u2")}
_UINT16 = 8


def write(prefix: Path, documents: Iterable[Sequence[int]]) -> int:
    """Write `prefix.bin` and `prefix.idx`; returns the tokens, the id 0 behind each document among them.

    Raises:
        ValueError: an id does not fit 16 bits, or there is no document.
    """
    lengths: list[int] = []
    prefix.parent.mkdir(parents=True, exist_ok=True)
    with prefix.with_name(f"{prefix.name}.bin").open("wb") as file:
        for ids in documents:
            whole = [*ids, 0] if not ids or ids[-1] else list(ids)
            if max(whole) > 0xFFFF or min(whole) < 0:
                raise ValueError(f"the id {max(whole)} of document {len(lengths)} does not fit 16 bits")
            file.write(np.array(whole, dtype=_DTYPES[_UINT16]).tobytes())
            lengths.append(len(whole))
    if not lengths:
        raise ValueError("there is no document to write")
    n = len(lengths)
    offsets = 2 * (np.cumsum(lengths, dtype=np.int64) - lengths)
    with prefix.with_name(f"{prefix.name}.idx").open("wb") as file:
        file.write(_MAGIC + _HEADER.pack(_VERSION, _UINT16, n, n + 1))
        file.write(np.array(lengths, dtype="<i4").tobytes() + offsets.astype("<i8").tobytes())
        file.write(np.arange(n + 1, dtype="<i8").tobytes())
    return sum(lengths)


class Binidx:
    """A pair of files, mapped into memory.

    Args:
        prefix: both names without `.bin` and `.idx`.

    Raises:
        ValueError: the index is damaged, of another version or dtype, or does not fit the tokens.
    """

    def __init__(self, prefix: Path) -> None:
        raw = prefix.with_name(f"{prefix.name}.idx").read_bytes()
        start = len(_MAGIC) + _HEADER.size
        if raw[: len(_MAGIC)] != _MAGIC or len(raw) < start:
            raise ValueError(f"{prefix}.idx is no binidx")
        version, code, n, n_index = _HEADER.unpack_from(raw, len(_MAGIC))
        if version != _VERSION or code not in _DTYPES:
            raise ValueError(f"{prefix}.idx has version {version} and dtype {code}; 1 and 4 or 8 are read")
        if len(raw) != start + 12 * n + 8 * n_index:
            raise ValueError(f"{prefix}.idx has {len(raw)} bytes, which {n} sequences do not make")
        self.lengths = np.frombuffer(raw, "<i4", n, start)
        self._offsets = np.frombuffer(raw, "<i8", n, start + 4 * n)
        self.tokens = np.memmap(prefix.with_name(f"{prefix.name}.bin"), _DTYPES[code], "r")
        self._size = _DTYPES[code].itemsize
        if n and int(self._offsets[-1]) // self._size + int(self.lengths[-1]) > len(self.tokens):
            raise ValueError(f"{prefix}.bin has {len(self.tokens)} tokens, fewer than its index says")

    def __len__(self) -> int:
        """Sequences."""
        return len(self.lengths)

    def document(self, at: int) -> np.ndarray:
        """The ids of one sequence, its id 0 last."""
        first = int(self._offsets[at]) // self._size
        ids: np.ndarray = self.tokens[first : first + int(self.lengths[at])]
        return ids

    def sample(self, number: int, context: int) -> np.ndarray:
        """Sample `number` of a run, counted from 1: context + 1 ids."""
        first = sample_start(number, magic_prime(len(self.tokens), context), context)
        ids: np.ndarray = self.tokens[first : first + context + 1]
        return ids


def magic_prime(n_tokens: int, context: int) -> int:
    """The largest prime 3n + 2 below n_tokens / context - 1.

    Raises:
        ValueError: there is none within a tenth of the samples, since the file is too short.
    """
    n_samples = n_tokens // context
    for p in range(math.ceil(n_tokens / context - 1) - 1, int(0.9 * n_samples), -1):
        if p % 3 == 2 and _is_prime(p):
            return p
    raise ValueError(f"{n_tokens} tokens are too few for samples of {context}")


def _is_prime(n: int) -> bool:
    return n > 1 and all(n % divisor for divisor in range(2, math.isqrt(n) + 1))


def mini_epochs(n_tokens: int, context: int) -> float:
    """How many mini-epochs read every token once."""
    return n_tokens / context / MINI_EPOCH


def sample_start(number: int, prime: int, context: int) -> int:
    """The first token of sample `number`, counted from 1."""
    factor = int(prime * (math.sqrt(5) - 1) / 2)
    return factor * number**3 % prime * context


def rows_of(file: Binidx, context: int, n_samples: int) -> Arrays:
    """The first samples of a run as rows of the trainer; a row starts blank and may begin anywhere."""
    prime = magic_prime(len(file.tokens), context)
    starts = [sample_start(number, prime, context) for number in range(1, n_samples + 1)]
    samples = np.stack([file.tokens[at : at + context + 1] for at in starts])
    blank = np.zeros((n_samples, context), dtype=np.uint8)
    blank[:, 0] = 1
    return {
        "ids": samples[:, :-1].astype(np.uint16),
        "targets": samples[:, 1:].astype(np.uint16),
        "roles": np.full((n_samples, context), TEXT, dtype=np.uint8),
        "starts": blank,
    }


def documents(path: Path, vocabulary: Vocabulary) -> Iterator[list[int]]:
    """The ids of every line of a .jsonl(.xz): a text as it stands, turns in the app's template."""
    for line in sources.read_lines(path):
        row = json.loads(line)
        if "text" in row:
            found = Document("text", ((TEXT, str(row["text"])),))
        else:
            found = corpus.conversation("turns", [(str(role), str(text)) for role, text in row["turns"]])
        yield [i for _, text in found.pieces for i in vocabulary.encode(text)]


def main() -> None:
    """The command."""
    parser = argparse.ArgumentParser(prog="python -m training.binidx", description=__doc__.split("\n", 1)[0])
    what = parser.add_subparsers(dest="what", required=True)
    pack = what.add_parser("pack", help="from .jsonl")
    pack.add_argument("data", type=Path)
    pack.add_argument("--vocab", type=Path, default=folders.VOCABULARY)
    pack.add_argument("--repeat", type=int, default=1, help="passes, each shuffled anew, as RWKV-LM wants it")
    rows = what.add_parser("rows", help="to rows for training.train")
    rows.add_argument("data", type=Path, help="prefix of .bin and .idx")
    rows.add_argument("--context", type=int, default=ROW)
    rows.add_argument("--samples", type=int, default=MINI_EPOCH)
    for each in (pack, rows):
        each.add_argument("--out", type=Path, required=True)
    options = parser.parse_args()
    if options.what == "pack":
        found = list(documents(options.data, Vocabulary(options.vocab)))
        order = random.Random(1)
        passes = (order.sample(found, len(found)) for _ in range(options.repeat))
        n_tokens = write(options.out, (ids for one in passes for ids in one))
        print(f"{len(found) * options.repeat} documents, {n_tokens} tokens")
        return
    file = Binidx(options.data)
    options.out.mkdir(parents=True, exist_ok=True)
    np.savez(options.out / "train.npz", **rows_of(file, options.context, options.samples))  # type: ignore[arg-type] # numpy's own stub
    n = len(file.tokens)
    print(f"{mini_epochs(n, options.context):.2f} mini-epochs, prime {magic_prime(n, options.context)}")


if __name__ == "__main__":
    main()
