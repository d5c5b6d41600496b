"""What was likely at each token of a reply, in a row of 35 or 51 bytes a token. Knows no torch.

A row (little endian):
    flags        u8          which of the candidates was drawn (0-7, 15: none is known), 16: a character is unfinished
    n_chars      u16         characters of the reply's text that this token completed
    ids          8 x u16     the candidates, likeliest first; u32 for vocabularies above 65,536
    log-probs    8 x f16     of the softmax after bans and penalties, before any cut; -inf fills unused places

The drawn token is always among the eight: where it was not one of the 8 likeliest, it takes the last place. Half
precision is off by at most 0.01 down to a log-probability of -20.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

    from chatrwkv.engine.sampling import Picked

N_KEPT = 8
NARROW_BYTES, WIDE_BYTES = 35, 51
_LARGEST_NARROW_ID = (1 << 16) - 1
_NONE, _UNFINISHED = 15, 16
_MOST_CHARS = (1 << 16) - 1
_UNUSED = float("-inf")


@dataclass(frozen=True, slots=True)
class Drawn:
    """One row, read back."""

    token_id: int | None
    """None for text that nobody drew: typed, or encoded anew after a cut."""
    n_chars: int
    logprob: float
    """Of the drawn token; NaN if none was drawn."""
    top: tuple[tuple[int, float], ...]
    """Up to 8 candidates as (token id, log-probability), likeliest first, the drawn one among them."""
    is_unfinished: bool
    """Whether the token ends inside a character."""


def row_bytes(n_vocab: int) -> int:
    """Bytes a row for a vocabulary of this size."""
    return NARROW_BYTES if n_vocab - 1 <= _LARGEST_NARROW_ID else WIDE_BYTES


@cache
def _layout(n_bytes: int) -> struct.Struct:
    layouts = {NARROW_BYTES: "<BH8H8e", WIDE_BYTES: "<BH8I8e"}
    if n_bytes not in layouts:
        raise ValueError(f"a row has {NARROW_BYTES} or {WIDE_BYTES} bytes, not {n_bytes}")
    return struct.Struct(layouts[n_bytes])


def pack_row(picked: Picked, n_chars: int, n_bytes: int, *, is_unfinished: bool = False) -> bytes:
    """The row of a drawn token.

    Args:
        picked: what the sampler drew, with its candidates.
        n_chars: characters that the token completed.
        n_bytes: see `row_bytes`.
        is_unfinished: the token ends inside a character.
    """
    top = list(picked.top[:N_KEPT])
    place = next((i for i, (token_id, _) in enumerate(top) if token_id == picked.id), -1)
    if place < 0:
        del top[N_KEPT - 1 :]
        place = len(top)
        top.append((picked.id, picked.logprob))
    ids, logprobs = [0] * N_KEPT, [_UNUSED] * N_KEPT
    for i, (token_id, logprob) in enumerate(top):
        ids[i], logprobs[i] = token_id, logprob
    flags = place | (_UNFINISHED if is_unfinished else 0)
    return _layout(n_bytes).pack(flags, min(n_chars, _MOST_CHARS), *ids, *logprobs)


def gap_rows(n_chars: int, n_bytes: int) -> bytes:
    """Rows for text of which no token is known."""
    layout, nothing = _layout(n_bytes), (*[0] * N_KEPT, *[_UNUSED] * N_KEPT)
    sizes = [_MOST_CHARS] * (n_chars // _MOST_CHARS) + [n_chars % _MOST_CHARS]
    return b"".join(layout.pack(_NONE, size, *nothing) for size in sizes if size)


def n_chars_of(row: bytes) -> int:
    """Characters of the text that a row covers; 0 for no row."""
    return int.from_bytes(row[1:3], "little")


def unpack_rows(raw: bytes, n_bytes: int) -> Sequence[Drawn]:
    """The tokens of packed rows.

    Raises:
        ValueError: it is no whole number of rows, or a row holds what nobody wrote.
    """
    layout = _layout(n_bytes)
    if len(raw) % n_bytes:
        raise ValueError(f"{len(raw)} bytes are no rows of {n_bytes}")
    return [_drawn(values) for values in layout.iter_unpack(raw)]


def _drawn(values: tuple[float, ...]) -> Drawn:
    flags, n_chars = int(values[0]), int(values[1])
    pairs = zip(values[2 : 2 + N_KEPT], values[2 + N_KEPT :], strict=True)
    top = tuple((int(token_id), logprob) for token_id, logprob in pairs if logprob <= 0)
    top = tuple(pair for pair in top if pair[1] != _UNUSED)
    place = flags & _NONE
    if place == _NONE:
        return Drawn(None, n_chars, float("nan"), (), is_unfinished=False)
    if place >= len(top):
        raise ValueError("the drawn token is not among the candidates")
    token_id, logprob = top[place]
    return Drawn(token_id, n_chars, logprob, top, is_unfinished=bool(flags & _UNFINISHED))
