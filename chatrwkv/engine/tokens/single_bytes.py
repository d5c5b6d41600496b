"""Nets that read bytes: one id a byte.

Test nets have 256 of them and no end of text. The ABC music nets have 128 (ASCII), with 2 for the beginning
and 3 for the end of a tune.
"""

from __future__ import annotations

from typing import Self

from chatrwkv.engine.tokens.tokenizer import ByteLevelTokenizer

_ABC_START, _ABC_END = 2, 3


class SingleByteTokenizer(ByteLevelTokenizer):
    """id = byte. Bytes that the vocabulary does not reach become '?'."""

    @classmethod
    def of_bytes(cls) -> Self:
        """256 ids, all of them text."""
        return cls([bytes([byte]) for byte in range(256)], "bytes-256-------", end_id=None)

    @classmethod
    def of_abc(cls) -> Self:
        """128 ids; tunes begin with 2, which is never drawn, and end with 3."""
        table: list[bytes | None] = [bytes([byte]) for byte in range(128)]
        table[_ABC_START] = table[_ABC_END] = None
        return cls(table, "abc-128---------", end_id=_ABC_END)

    def encode(self, text: str) -> list[int]:
        """The ids of `text`."""
        return [
            byte if byte < self.n_vocab and self._table[byte] is not None else ord("?")
            for byte in text.encode("utf-8", "replace")
        ]
