"""Prepares the training rows: reads, filters, mixes by tokens, packs, and holds out a test set by source.

    python -m training.data --sources ../shared/data --vocab work/vocab.txt --out work/main

Rows are 512 tokens of packed documents. Most documents start from a blank state (`starts`); some follow
the document before them behind an id 0, so that the model knows the end of text as an input too. With
`--chain` all but the first of a row do, for a trainer that cannot blank the state inside of a row.
Without `--sources` only the hand-written text is used.
"""

from __future__ import annotations

import argparse
import json
import random
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from training import corpus, folders
from training.corpus import PAD, REPLY, TEXT, Document
from training.vocab import Vocabulary

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

ROW = 512
"""Tokens of a row, the context length of training."""
_OPEN_ROWS = 64  # rows being filled at once: more waste less, and keep neighbours less
MIXES: dict[str, dict[str, float]] = {
    "main": {
        "own": 0.70,
        "voice": 0.03,
        "self_dialogue": 0.07,
        "synthetic_persona_chat": 0.08,
        "topical_chat": 0.01,
        "byu_chitchat": 0.005,
        "openassistant_100trees": 0.005,
        "fairytale_qa": 0.01,
        "fairytales": 0.05,
        "books_easy": 0.04,
    },
    "final": {
        "own": 0.82,
        "voice": 0.03,
        "self_dialogue": 0.03,
        "synthetic_persona_chat": 0.06,
        "fairytales": 0.04,
        "books_easy": 0.02,
    },
    "museum": {"own": 0.76, "voice": 0.04, "synthetic_persona_chat": 0.12, "fairytales": 0.08},
}
"""Shares of the tokens: `main` for most of the run, `final` while the rate falls, `museum` for tiny models."""


@dataclass(slots=True)
class Encoded:
    """A document as the model sees it: inputs, what follows each, and the role of what follows."""

    ids: list[int]
    targets: list[int]
    roles: list[int]


def encode(document: Document, vocabulary: Vocabulary) -> Encoded:
    """Ids of a document; its last target is the end of text, id 0."""
    ids: list[int] = []
    roles: list[int] = []
    for role, text in document.pieces:
        piece = vocabulary.encode(text)
        ids += piece
        roles += [role] * len(piece)
    end = TEXT if roles[-1] == TEXT else REPLY
    # a piece of prose is cut anywhere: it teaches no end
    return Encoded(ids, [*ids[1:], 0], [*roles[1:], PAD if end == TEXT else REPLY])


@dataclass(slots=True)
class Rows:
    """Packed rows: four arrays of (rows, tokens of a row)."""

    ids: list[list[int]] = field(default_factory=list)
    targets: list[list[int]] = field(default_factory=list)
    roles: list[list[int]] = field(default_factory=list)
    starts: list[list[int]] = field(default_factory=list)

    def arrays(self) -> dict[str, np.ndarray]:
        """The rows as small integers."""
        return {
            "ids": np.array(self.ids, dtype=np.uint16),
            "targets": np.array(self.targets, dtype=np.uint16),
            "roles": np.array(self.roles, dtype=np.uint8),
            "starts": np.array(self.starts, dtype=np.uint8),
        }


class Packer:
    """Fills rows with whole documents, first fit over a pool of open rows.

    Args:
        rng: decides which documents are chained.
        length: tokens of a row.
        chained: only the first document of a row starts blank, the others behind an id 0.
    """

    def __init__(self, rng: random.Random, length: int = ROW, *, chained: bool = False) -> None:
        self.rows = Rows()
        self._rng = rng
        self._length = length
        self._is_chained = chained
        self._open: list[Encoded] = []
        self._starts: list[list[int]] = []

    def add(self, document: Encoded) -> None:
        """Put one document, cut at a row's length, into the first row with room."""
        ids, targets, roles = list(document.ids), list(document.targets), list(document.roles)
        chance = self._rng.random()
        if self._is_chained or chance < 0.25:  # 10 % start blank behind an id 0, 15 % behind the previous one
            ids, targets, roles = [0, *ids], [ids[0], *targets], [PAD, *roles]
        size = self._length
        ids, targets, roles = ids[:size], targets[:size], roles[:size]
        at = next((i for i, row in enumerate(self._open) if len(row.ids) + len(ids) <= size), None)
        if at is None:
            if len(self._open) == _OPEN_ROWS:
                self._close(max(range(_OPEN_ROWS), key=lambda i: len(self._open[i].ids)))
            self._open.append(Encoded([], [], []))
            self._starts.append([])
            at = len(self._open) - 1
        row = self._open[at]
        if self._is_chained and not row.ids and chance < 0.5:  # a chat begins without an id 0
            ids, targets, roles = ids[1:], targets[1:], roles[1:]
        blank = not row.ids or (chance >= 0.15 and not self._is_chained)
        self._starts[at] += [int(blank)] + [0] * (len(ids) - 1)
        row.ids += ids
        row.targets += targets
        row.roles += roles
        if len(row.ids) > size - 8:
            self._close(at)

    def finish(self) -> Rows:
        """Close what is open and return all rows."""
        while self._open:
            self._close(0)
        return self.rows

    def _close(self, at: int) -> None:
        row, starts = self._open.pop(at), self._starts.pop(at)
        gap = self._length - len(row.ids)
        self.rows.ids.append(row.ids + [0] * gap)
        self.rows.targets.append(row.targets + [0] * gap)
        self.rows.roles.append(row.roles + [PAD] * gap)
        self.rows.starts.append(starts + [1] * min(gap, 1) + [0] * (gap - 1))


def read_sources(
    folder: Path | None, names: Iterable[str], banned: frozenset[str]
) -> dict[str, list[Document]]:
    """The documents of each source but the own text, which is made anew in every pass."""
    found: dict[str, list[Document]] = {}
    if folder is None:
        return found
    for name in names:
        if name == "voice":
            found[name] = corpus.voice(folder, banned)
        elif name in {"fairytales", "books_easy"}:
            found[name] = corpus.prose(folder, name)
        elif name != "own":
            found[name] = corpus.chats(folder, name, banned)
    return found


def _passes(documents: list[Document], vocabulary: Vocabulary, rng: random.Random) -> Iterator[Encoded]:
    """Endless shuffled passes over a source."""
    encoded = [encode(d, vocabulary) for d in documents]
    while encoded:
        rng.shuffle(encoded)
        yield from encoded


def _own_passes(
    vocabulary: Vocabulary, refused: list[str], banned: frozenset[str], rng: random.Random
) -> Iterator[Encoded]:
    """Endless passes over the own text, each with other answers and wordings."""
    while True:
        for document in corpus.own(rng, banned, refused):
            yield encode(document, vocabulary)


def mix(
    streams: dict[str, Iterator[Encoded]], shares: dict[str, float], n_tokens: int, packer: Packer
) -> tuple[Rows, dict[str, int]]:
    """Rows of about `n_tokens`: at every turn the source that is furthest behind its share gives a document."""
    total = sum(shares[name] for name in streams)
    given = dict.fromkeys(streams, 0)
    documents: list[Encoded] = []
    while sum(given.values()) < n_tokens:
        name = min(streams, key=lambda n: given[n] / (shares[n] / total))
        document = next(streams[name])
        given[name] += len(document.ids)
        documents.append(document)
    for document in documents:
        packer.add(document)
    return packer.finish(), given


def save(folder: Path, name: str, rows: Rows, rng: random.Random | None = None) -> int:
    """Write the rows, shuffled if an `rng` is given; returns how many."""
    arrays = rows.arrays()
    order = list(range(len(arrays["ids"])))
    if rng is not None:
        rng.shuffle(order)
    folder.mkdir(parents=True, exist_ok=True)
    chosen: dict[str, Any] = {key: array[order] for key, array in arrays.items()}
    np.savez(folder / f"{name}.npz", **chosen)
    return len(order)


def main() -> None:
    """The command."""
    parser = argparse.ArgumentParser(prog="python -m training.data", description=__doc__.split("\n", 1)[0])
    parser.add_argument(
        "--sources", type=Path, help="folder with chat/ and text/; without it only the own text"
    )
    parser.add_argument("--vocab", type=Path, default=folders.VOCABULARY)
    parser.add_argument("--out", type=Path, default=folders.ROWS)
    parser.add_argument("--mix", choices=sorted(MIXES), default="main")
    parser.add_argument("--tokens", type=float, default=2e6, help="tokens of training rows (default 2e6)")
    parser.add_argument("--row", type=int, default=ROW, help=f"tokens of a row (default {ROW})")
    parser.add_argument("--chain", action="store_true", help="documents of a row follow behind an id 0")
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    rng = random.Random(options.seed)
    vocabulary = Vocabulary(options.vocab)
    banned = corpus.banned_questions()
    shares = MIXES[options.mix]
    found = read_sources(options.sources, shares, banned)
    train = {name: [d for d in docs if not d.is_held_out] for name, docs in found.items()}
    refused = corpus.refused_questions(options.sources)
    streams = {name: _passes(docs, vocabulary, rng) for name, docs in train.items()}
    streams["own"] = _own_passes(vocabulary, refused, banned, rng)
    packer = Packer(rng, options.row, chained=options.chain)
    rows, given = mix(streams, shares, int(options.tokens), packer)
    n_rows = save(options.out, "train", rows, rng)
    tests = {name: [d for d in docs if d.is_held_out][:150] for name, docs in found.items()}
    tests["own"] = corpus.own_held_out()[:300]
    for name, documents in tests.items():
        packer = Packer(random.Random(0), options.row, chained=options.chain)
        for document in documents:
            packer.add(encode(document, vocabulary))
        save(options.out, f"test-{name}", packer.finish())
    facts = {"rows": n_rows, "tokens": given, "mix": options.mix, "seed": options.seed}
    facts |= {
        "passes": {
            n: round(given[n] / max(1, sum(len(encode(d, vocabulary).ids) for d in docs)), 2)
            for n, docs in train.items()
        }
    }
    (options.out / "facts.json").write_text(json.dumps(facts, indent=2) + "\n", encoding="utf-8")
    print(json.dumps(facts, indent=2))


if __name__ == "__main__":
    main()
