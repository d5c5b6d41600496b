"""What may be shown of a reply's bytes, and where a text is cut in tokens."""

from __future__ import annotations

from typing import TYPE_CHECKING

from chatrwkv.engine.tokens.detok import Utf8Stream
from chatrwkv.engine.tokens.stops import StopMatcher

if TYPE_CHECKING:
    from collections.abc import Sequence


class ReplyText:
    """Bytes of tokens in, text that is certain out. Counts characters, so that a cut can be found.

    Args:
        stops: the stop strings.
        before: the reply that this one goes on from; a stop string may span the border, but what was
            shown of it cannot be taken back.
    """

    def __init__(self, stops: Sequence[str], before: str = "") -> None:
        self._utf8 = Utf8Stream()
        self._stops = StopMatcher(stops)
        # A whole stop string in the old text was kept then, and a new setting does not change that.
        longest = max(map(len, stops), default=0)
        if longest and self._stops.feed(before[-longest:])[1] is not None:
            self._stops = StopMatcher(stops)
        self._n_border = len(self._stops.held)
        self.n_in = self._n_border
        """Characters that arrived; those of `before` that are still held count."""
        self.n_out = 0
        """Characters let through, counted from the same place."""
        self._shown: list[str] = []

    @property
    def pending(self) -> bytes:
        """The beginning of a character."""
        return self._utf8.pending

    @property
    def matched(self) -> str | None:
        """The stop string that was found."""
        return self._stops.matched

    @property
    def text(self) -> str:
        """Everything let through."""
        return "".join(self._shown)

    def feed(self, raw: bytes) -> str:
        """The text that is certain with these bytes."""
        text = self._utf8.feed(raw)
        self.n_in += len(text)
        return self._release(self._stops.feed(text)[0])

    def flush(self) -> None:
        """No stop string can follow any more: let the held text through."""
        self._release(self._stops.flush())

    def _release(self, text: str) -> str:
        fresh = text[max(0, self._n_border - self.n_out) :]
        self.n_out += len(text)
        self._shown.append(fresh)
        return fresh


def cut(pieces: Sequence[bytes], n_chars: int) -> tuple[int, bytes]:
    """How many whole pieces, and which beginning of the next one, make the first `n_chars` characters.

    Args:
        pieces: bytes of tokens, from the beginning of a character on.
        n_chars: <= 0 is none.
    """
    if n_chars <= 0:
        return 0, b""
    stream, n = Utf8Stream(), 0
    for at, piece in enumerate(pieces):
        for end in range(1, len(piece) + 1):
            n += len(stream.feed(piece[end - 1 : end]))
            if n >= n_chars:
                # A byte that proves those before it to be no character may be a character itself (two at
                # once), or begin one.
                kept = piece[: end - (n > n_chars) - len(stream.pending)]
                return (at + 1, b"") if kept == piece else (at, kept)
    return len(pieces), b""


def is_utf8(raw: bytes) -> bool:
    """Whether the bytes are whole characters."""
    try:
        raw.decode()
    except UnicodeDecodeError:
        return False
    return True
