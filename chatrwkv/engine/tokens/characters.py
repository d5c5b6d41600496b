"""Vocabularies of single characters: enwik8, AI-Writer and the other nets of 2021.

A JSON object "id as string" -> character (or word), written as UTF-16 with a mark, or as UTF-8 in the browser
versions. Every id is text; there is no end of text. U+E083 stands for whatever is not in the vocabulary: it
can be read, but must not be drawn, as in the official code.
"""

from __future__ import annotations

import codecs
import json
from hashlib import sha256
from typing import TYPE_CHECKING, Self

from chatrwkv.engine.tokens.tokenizer import ByteLevelTokenizer
from chatrwkv.errors import ModelFormatError, ModelNotFound

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

UNKNOWN = "\ue083"
_HINT = "Use the vocabulary .json that belongs to the model."
_MAX_IDS = 1 << 20


class CharacterTokenizer(ByteLevelTokenizer):
    """At each place the longest entry that matches; one character in all published vocabularies.

    Args:
        entries: the text of each id.
        tokenizer_id: of the vocabulary.
    """

    def __init__(self, entries: Mapping[int, str], tokenizer_id: str) -> None:
        self._ids = {text: token_id for token_id, text in entries.items()}
        self._unknown = self._ids.get(UNKNOWN)
        self._longest = max(map(len, self._ids), default=1)
        table: list[bytes | None] = [None] * (max(entries, default=0) + 1)
        for token_id, text in entries.items():
            table[token_id] = text.encode("utf-8", "replace")
        super().__init__(table, tokenizer_id, end_id=None)

    @classmethod
    def from_file(cls, path: Path) -> Self:
        """A vocabulary file.

        Raises:
            ModelNotFound: there is no such file.
            ModelFormatError: it is not an object of ids and texts.
        """
        try:
            raw = path.read_bytes()
        except OSError as error:
            raise ModelNotFound(
                f"The vocabulary {path} cannot be read: {error.strerror}.",
                hint="Put the vocabulary file beside the model again.",
            ) from error
        is_wide = raw.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE))
        try:
            content = json.loads(raw.decode("utf-16" if is_wide else "utf-8-sig"))
            entries = {int(token_id): text for token_id, text in content.items()}
        except (ValueError, AttributeError, RecursionError) as error:
            raise ModelFormatError(f"{path.name} is not a vocabulary: {error}", hint=_HINT) from error
        for token_id, text in entries.items():
            if not isinstance(text, str) or not text or not 0 <= token_id < _MAX_IDS:
                raise ModelFormatError(f"{path.name}: the entry {token_id} is {text!r}.", hint=_HINT)
        return cls(entries, sha256(raw).hexdigest()[:16])

    def encode(self, text: str) -> list[int]:
        """The ids of `text`; without an entry for the unknown, unknown characters are left out."""
        ids, at = [], 0
        while at < len(text):
            for length in range(min(self._longest, len(text) - at), 0, -1):
                token_id = self._ids.get(text[at : at + length])
                if token_id is not None:
                    break
            else:
                length, token_id = 1, self._unknown
            at += length
            if token_id is not None:
                ids.append(token_id)
        return ids

    def unused(self, n: int) -> frozenset[int]:
        """Ids without an entry, and the one of the unknown."""
        return super().unused(n) | ({self._unknown} if self._unknown is not None else set())


def refine(text: str) -> str:
    """A prompt as AI-Writer was trained: a newline before each line, lines stripped, none empty."""
    lines = (line.strip().strip("\u3000\r") for line in text.strip().split("\n"))
    return "".join(f"\n{line}" for line in lines if line) or "\n"
