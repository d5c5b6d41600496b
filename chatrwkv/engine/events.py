"""What the engine tells: one stream of frozen events for replies, loads and tasks. Knows no torch.

A reply:  Prefilled … Prefilled(snapshot) Token … Token Finished
A load or task:  Progress … Done
Either may end in Failed instead. Nothing follows Finished, Done or Failed.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

    from chatrwkv.engine.state import Snapshot
    from chatrwkv.errors import ChatRWKVError


class FinishReason(StrEnum):
    """Why a reply ended."""

    END = "end"
    """The model drew the end of text (token 0)."""
    STOP_STRING = "stop_string"
    LENGTH = "length"
    CANCELLED = "cancelled"


@dataclass(frozen=True, slots=True)
class GenerationStats:
    """What a reply cost."""

    prompt_tokens: int = 0
    """Prefilled for this reply; 0 when it went on from a stored state."""
    reply_tokens: int = 0
    prefill_s: float = 0.0
    decode_s: float = 0.0

    @property
    def prefill_tok_s(self) -> float:
        """Prompt tokens a second; 0 when nothing was prefilled."""
        return self.prompt_tokens / self.prefill_s if self.prefill_s > 0 else 0.0

    @property
    def decode_tok_s(self) -> float:
        """Reply tokens a second; 0 when nothing was drawn."""
        return self.reply_tokens / self.decode_s if self.decode_s > 0 else 0.0


@dataclass(frozen=True, slots=True)
class ModelInfo:
    """What may be shown of a loaded model; plain values, so that it can cross threads and layers."""

    name: str
    path: str
    generation: str
    n_layer: int
    n_embd: int
    n_vocab: int
    n_params: int
    fingerprint: str
    tokenizer_id: str
    device: str
    dtype: str
    state_bytes: int
    card_family: str
    """One of "builtin", "g1", "world", "raven", "pile" and "", guessed from the name, for the choice of a template."""
    options: Mapping[str, str] = field(default_factory=dict)
    """What the checkpoint does not say about itself (`engine.options`), by name."""
    n_context: int = 0
    """Tokens after which the last half of them is read again and the rest forgotten (RWKV-1); 0: no end."""
    has_native_path: bool = False
    """Whether the native CPU code computes it once it is ready; `native_status` tells whether it is."""


@dataclass(frozen=True, slots=True)
class Prefilled:
    """`done` of `total` prompt tokens are read."""

    done: int
    total: int
    snapshot: Snapshot | None
    """The mind after the prompt once done == total, and at each of the prompt's marks; else None."""


@dataclass(frozen=True, slots=True)
class Token:
    """One token was drawn."""

    text: str
    """What became certain by it: "" while half a character or a possible stop string is held back."""
    token_id: int
    logprob: float
    top: tuple[tuple[int, float], ...]
    """The 8 likeliest as (token id, log-probability); () when the reader fell far behind."""
    row: bytes = b""
    """The same for the disk, always there: see `engine.record`."""


@dataclass(frozen=True, slots=True)
class Finished:
    """A reply ended as it should."""

    reason: FinishReason
    snapshot: Snapshot | None
    """The mind after the last kept byte; None only if it was cancelled before anything was read."""
    token_ids: tuple[int, ...]
    """What the state has read after the prompt: exactly `text`, as ids."""
    text: str
    """The whole reply; text held back until now is in it and in no Token."""
    stats: GenerationStats
    seed: int
    rows: bytes = b""
    """What was likely at each token, covering exactly `text`: see `engine.record`."""
    mu: float | None = None
    """Mirostat's bound after the last kept token; None where nothing was drawn with it."""


@dataclass(frozen=True, slots=True)
class Failed:
    """The job ended with an error; what was drawn before stands."""

    error: ChatRWKVError


@dataclass(frozen=True, slots=True)
class Progress:
    """A load or task is at `done` of `total`, doing `what`."""

    done: int
    total: int
    what: str


@dataclass(frozen=True, slots=True)
class Done:
    """A load or task returned `result`."""

    result: object


Event = Prefilled | Token | Finished | Failed | Progress | Done
FINAL = (Finished, Failed, Done)
"""The events that end a stream."""
