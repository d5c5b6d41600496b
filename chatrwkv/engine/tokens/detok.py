"""Bytes of tokens to text as it arrives, never showing half a character.

A token may end inside a UTF-8 sequence, so up to 3 bytes wait for the next one. Any split of the bytes gives
the same text, which is that of decoding all at once.
"""

from __future__ import annotations

import codecs

_Utf8Decoder = codecs.getincrementaldecoder("utf-8")


class Utf8Stream:
    """An incremental decoder; bytes that can never become UTF-8 turn into U+FFFD."""

    def __init__(self) -> None:
        self._decoder = _Utf8Decoder("replace")

    def feed(self, raw: bytes) -> str:
        """The characters that are complete now."""
        return self._decoder.decode(raw)

    @property
    def pending(self) -> bytes:
        """The beginning of a character that waits for its rest: at most 3 bytes."""
        return self._decoder.getstate()[0]

    def finish(self) -> str:
        """What is left when nothing follows: U+FFFD for half a character, usually ""."""
        return self._decoder.decode(b"", final=True)
