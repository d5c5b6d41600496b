"""Makes the model's own vocabulary: BPE's entries, written in the World file format.

The entries come from byte-pair training; text is encoded by longest match, as the engine's World tokenizer
does (measured on held-out chat: 3.40 bytes a token, true BPE with the same entries 3.30). Entries never
cross a border of PATTERN, so a word's ids do not depend on its neighbours, and a turn can be encoded apart
from the next one.

    python -m training.vocab --sources ../shared/data --out work/vocab.txt
"""

from __future__ import annotations

import argparse
import ast
import re
from pathlib import Path
from typing import TYPE_CHECKING

from training import folders

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

ROLES = ("User:", "Assistant:", "System:")
"""One token each: the template costs little."""
PATTERN = r"User:|Assistant:|System:|'(?:[sdmt]|ll|ve|re)| ?[A-Za-z]+|[0-9]| ?[^\sA-Za-z0-9]+|\n+|\s"
_PIECES = re.compile(PATTERN)


def train_entries(texts: Iterable[str], size: int) -> list[bytes]:
    """`size` distinct byte strings: all 256 bytes, the roles, then the most useful pieces of the texts."""
    from tokenizers import Regex, Tokenizer, models, pre_tokenizers, trainers

    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(PATTERN), "isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    trainer = trainers.BpeTrainer(
        vocab_size=size + 64, initial_alphabet=pre_tokenizers.ByteLevel.alphabet(), show_progress=False
    )
    tokenizer.train_from_iterator(texts, trainer)
    to_byte = _byte_level()
    ranked = sorted(tokenizer.get_vocab().items(), key=lambda item: item[1])
    found = [bytes(to_byte[c] for c in piece) for piece, _ in ranked]
    wanted = [bytes([i]) for i in range(256)] + [role.encode() for role in ROLES] + [b"\n\n"]
    entries = list(dict.fromkeys(wanted + found))[:size]
    return sorted(entries[:256]) + sorted(entries[256:], key=lambda e: (len(e), e))


def _byte_level() -> dict[str, int]:
    """The inverse of GPT-2's map from bytes to printable characters, which `tokenizers` uses."""
    printable = [*range(33, 127), *range(161, 173), *range(174, 256)]
    table = {chr(b): b for b in printable}
    others = (b for b in range(256) if b not in set(printable))
    return table | {chr(256 + i): b for i, b in enumerate(others)}


def write(path: Path, entries: Iterable[bytes]) -> None:
    """The World format: `ID LITERAL BYTES`, ids from 1, LF line ends."""
    lines = []
    for token_id, entry in enumerate(entries, start=1):
        try:
            literal = repr(entry.decode())
        except UnicodeDecodeError:
            literal = repr(entry)
        lines.append(f"{token_id} {literal} {len(entry)}\n")
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(lines), encoding="utf-8", newline="\n")


class Vocabulary:
    """Longest-match encoding with a cache of words, for the bulk work of preparing data."""

    def __init__(self, path: Path) -> None:
        self.entries: list[bytes] = [b""]  # id 0 is the end of text
        for line in path.read_text(encoding="utf-8").splitlines():
            literal = ast.literal_eval(line[line.index(" ") + 1 : line.rindex(" ")])
            self.entries.append(literal if isinstance(literal, bytes) else literal.encode())
        self._ids = {entry: i for i, entry in enumerate(self.entries) if entry}
        self._longest = max(map(len, self.entries))
        self._words: dict[str, tuple[int, ...]] = {}

    def encode(self, text: str) -> list[int]:
        """Ids of a text, the same as the engine's tokenizer gives."""
        ids: list[int] = []
        for word in _PIECES.findall(text):
            known = self._words.get(word)
            if known is None:
                known = self._words[word] = tuple(self._match(word.encode()))
            ids.extend(known)
        return ids

    def _match(self, raw: bytes) -> Iterator[int]:
        at = 0
        while at < len(raw):
            for length in range(min(self._longest, len(raw) - at), 0, -1):
                token_id = self._ids.get(raw[at : at + length])
                if token_id is not None:
                    yield token_id
                    at += length
                    break

    def decode(self, token_ids: Iterable[int]) -> str:
        """The text of some ids."""
        return b"".join(self.entries[i] for i in token_ids).decode(errors="replace")


def main() -> None:
    """The command."""
    from training.corpus import vocabulary_texts

    parser = argparse.ArgumentParser(prog="python -m training.vocab", description=__doc__.split("\n", 1)[0])
    parser.add_argument("--sources", type=Path, help="folder with chat/ and text/ (optional)")
    parser.add_argument("--out", type=Path, default=folders.VOCABULARY)
    parser.add_argument("--size", type=int, default=4096, help="ids, the end of text included (default 4096)")
    options = parser.parse_args()
    entries = train_entries(vocabulary_texts(options.sources), options.size - 1)
    write(options.out, entries)
    vocabulary = Vocabulary(options.out)
    sample = "".join(text for text, _ in zip(vocabulary_texts(options.sources), range(2000), strict=False))
    ratio = len(sample.encode()) / len(vocabulary.encode(sample))
    print(f"{len(entries)} entries, longest {max(map(len, entries))} bytes, {ratio:.2f} bytes a token")


if __name__ == "__main__":
    main()
