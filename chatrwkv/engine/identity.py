"""The rolling hash of every token a state has read: two states are the same mind only if it agrees.

chain(no tokens) = sha256(b"") ; chain(… + id) = sha256(chain(…) + id as u32 little endian)

It is applied per token, so that any split of the tokens into calls gives the same chain.
"""

from __future__ import annotations

from hashlib import sha256
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

EMPTY_CHAIN = sha256(b"").hexdigest()
"""The chain of a blank state."""


def extend(chain: str, token_ids: Iterable[int]) -> str:
    """The chain after reading `token_ids` on top of `chain` (64 hexadecimal characters each)."""
    digest = bytes.fromhex(chain)
    for token_id in token_ids:
        digest = sha256(digest + token_id.to_bytes(4, "little")).digest()
    return digest.hex()
