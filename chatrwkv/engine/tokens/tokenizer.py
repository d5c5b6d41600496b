"""Text to token ids and back: what every tokenizer promises, and the World one (longest match over bytes).

Vocabulary file: one token a line, `ID SPACE LITERAL SPACE BYTE_LENGTH`, where LITERAL is a Python literal,
str (meaning its UTF-8) or bytes. `rwkv_vocab_v20230424.txt` is RWKV World's, as shipped in the `rwkv` 0.8.32
wheel (Apache-2.0) with its line ends made LF.

Encoding is not additive: encode(a + b) may differ from encode(a) + encode(b), so ids that were fed are the
truth and text is cut at turn borders only.
"""

from __future__ import annotations

import ast
import re
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING, Protocol, Self

from chatrwkv.errors import ModelFormatError, ModelNotFound

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

WORLD_VOCABULARY = Path(__file__).with_name("rwkv_vocab_v20230424.txt")
END = 0
"""The end of text in World, 20B and most others: never encoded, never fed in a reply, read as ''."""

# Almost every literal of a vocabulary is plain text in quotes, whose bytes can be taken as they stand; only
# the rest (840 of World's 65529 lines) needs a parser. 20 ms instead of 350 for the whole file.
_LINE = re.compile(
    rb"""^(\d{1,7}) (?:'([^'\\\x00-\x1f]*)'|"([^"\\\x00-\x1f]*)"|([^\n]{1,4096})) (\d{1,5})$""", re.MULTILINE
)
_WINDOW = 4  # bytes that select the longer tokens worth trying; 3 and 2 are slower (`benchmarks/sampling.py`)


class Tokenizer(Protocol):
    """What the engine and the chat need of a tokenizer."""

    @property
    def tokenizer_id(self) -> str:
        """16 hexadecimal characters of the vocabulary's sha256: ids with equal ones mean the same."""

    @property
    def n_vocab(self) -> int:
        """The highest id + 1."""

    @property
    def end_id(self) -> int | None:
        """The id that ends a text; None where every id is text."""

    def encode(self, text: str) -> list[int]:
        """The ids of `text`; never `end_id`."""

    def bytes_of(self, token_id: int) -> bytes:
        """What the id stands for, perhaps half a character; b"" for `end_id` and ids without an entry."""

    def decode(self, token_ids: Iterable[int]) -> str:
        """The text of `token_ids`, with U+FFFD for what is not UTF-8."""

    def unused(self, n: int) -> frozenset[int]:
        """The ids below `n`, a model's vocabulary, that must not be drawn; `end_id` is not among them."""


class ByteLevelTokenizer:
    """What all tokenizers share that know the bytes of each id.

    Args:
        table: the bytes of each id; None where an id has no entry.
        tokenizer_id: see `Tokenizer`.
        end_id: see `Tokenizer`.
    """

    def __init__(self, table: list[bytes | None], tokenizer_id: str, end_id: int | None = END) -> None:
        self._table = table
        self.tokenizer_id = tokenizer_id
        self.n_vocab = len(table)
        self.end_id = end_id

    def bytes_of(self, token_id: int) -> bytes:
        """What the id stands for; b"" for `end_id` and ids without an entry."""
        if token_id == self.end_id or not 0 <= token_id < len(self._table):
            return b""
        return self._table[token_id] or b""

    def decode(self, token_ids: Iterable[int]) -> str:
        """The text of `token_ids`, with U+FFFD for what is not UTF-8."""
        return b"".join(map(self.bytes_of, token_ids)).decode("utf-8", "replace")

    def unused(self, n: int) -> frozenset[int]:
        """The ids below `n` that have no entry."""
        known = self._table
        return frozenset(i for i in range(n) if i != self.end_id and (i >= len(known) or known[i] is None))


class WorldTokenizer(ByteLevelTokenizer):
    """At each place the longest token that matches.

    Args:
        entries: the bytes of each id from 1 on; all 256 single bytes must be among them, so that any text
            can be encoded.
        tokenizer_id: by default a hash over the entries.
    """

    def __init__(self, entries: Mapping[int, bytes], tokenizer_id: str = "") -> None:
        table: list[bytes | None] = [None] * (max(entries, default=0) + 1)
        for token_id, raw in entries.items():
            table[token_id] = raw
        super().__init__(table, tokenizer_id or _digest_of(entries))
        self._ids = {raw: token_id for token_id, raw in entries.items()}
        missing = [byte for byte in range(256) if bytes([byte]) not in self._ids]
        if missing:
            raise ModelFormatError(
                f"The vocabulary has no token for the single byte {missing[0]} ({len(missing)} are missing).",
                hint="Use the vocabulary file that belongs to the model.",
            )
        lengths: dict[bytes, set[int]] = {}
        for raw in self._ids:
            if len(raw) >= _WINDOW:
                lengths.setdefault(raw[:_WINDOW], set()).add(len(raw))
        # first four bytes: lengths of the tokens that begin with them, longest first
        self._lengths = {start: tuple(sorted(found, reverse=True)) for start, found in lengths.items()}

    @classmethod
    def from_file(cls, path: Path) -> Self:
        """The vocabulary of a file in the World format.

        Raises:
            ModelNotFound: there is no such file.
            ModelFormatError: a line is not `ID LITERAL LENGTH`, or its length is wrong; names the line.
        """
        try:
            raw = path.read_bytes()
        except OSError as error:
            raise ModelNotFound(
                f"The vocabulary {path} cannot be read: {error.strerror}.",
                hint="Put the vocabulary file beside the model again.",
            ) from error
        raw = raw.replace(b"\r\n", b"\n")
        return cls(parse_vocabulary(raw, path.name), sha256(raw).hexdigest()[:16])

    @classmethod
    def bundled(cls) -> Self:
        """RWKV World, which v4-World and every published v5, v6 and v7 World and G1 model use."""
        return cls.from_file(WORLD_VOCABULARY)

    def encode(self, text: str) -> list[int]:
        """The ids of `text`; a lone surrogate, which has no UTF-8, becomes '?'."""
        return self.encode_raw(text.encode("utf-8", "replace"))

    def encode_raw(self, raw: bytes) -> list[int]:
        """The ids of any bytes. 4.4-12 MB/s, against 2.8-4.7 of the `rwkv` package on the same texts."""
        ids: list[int] = []
        append, known, lengths_of = ids.append, self._ids.get, self._lengths.get
        at, end, none = 0, len(raw), ()
        while at < end:
            for length in lengths_of(raw[at : at + _WINDOW], none):
                token_id = known(raw[at : at + length])
                if token_id:
                    append(token_id)
                    at += length
                    break
            else:
                length = _WINDOW - 1
                while not (token_id := known(raw[at : at + length])):
                    length -= 1  # ends at 1 at the latest: all single bytes are known
                append(token_id)
                at += length
        return ids


def parse_vocabulary(raw: bytes, name: str = "vocabulary") -> dict[int, bytes]:
    """The entries of a vocabulary file with LF line ends.

    Raises:
        ModelFormatError: names the first line that is wrong.
    """
    raw = raw.removesuffix(b"\n")
    rows = _LINE.findall(raw)
    if len(rows) != raw.count(b"\n") + 1:
        at = next(i for i, line in enumerate(raw.split(b"\n")) if not _LINE.fullmatch(line))
        raise _bad_line(name, at, "is not `ID LITERAL LENGTH`")
    entries: dict[int, bytes] = {}
    for at, (number, single, double, other, length) in enumerate(rows):
        try:
            token = _literal(other) if other else single or double
        except (ValueError, SyntaxError, MemoryError, RecursionError) as error:
            raise _bad_line(name, at, "has no Python literal") from error
        token_id = int(number)
        if len(token) != int(length) or not token:
            raise _bad_line(name, at, f"says {int(length)} bytes, but its token has {len(token)}")
        if token_id == END or token_id in entries:
            raise _bad_line(name, at, f"has the id {token_id}, which is taken")
        entries[token_id] = token
    if len(set(entries.values())) != len(entries):
        raise ModelFormatError(f"{name}: a token has two ids.", hint=_HINT)
    try:
        b"".join(single + double for _, single, double, _, _ in rows).decode()
    except UnicodeDecodeError as error:
        raise ModelFormatError(f"{name} is not UTF-8.", hint=_HINT) from error
    return entries


_HINT = "Use the vocabulary file that belongs to the model."


def _literal(source: bytes) -> bytes:
    value = ast.literal_eval(source.decode())
    if isinstance(value, str):
        return value.encode()
    if isinstance(value, bytes):
        return value
    raise ValueError


def _bad_line(name: str, at: int, problem: str) -> ModelFormatError:
    return ModelFormatError(f"{name}: line {at + 1} {problem}.", hint=_HINT)


def _digest_of(entries: Mapping[int, bytes]) -> str:
    total = sha256()
    for token_id in sorted(entries):
        total.update(token_id.to_bytes(4, "little") + len(entries[token_id]).to_bytes(4, "little"))
        total.update(entries[token_id])
    return total.hexdigest()[:16]
