"""How a reply is drawn: the settings, free of torch so that every layer can hold them."""

from __future__ import annotations

import math
from dataclasses import dataclass, fields

from chatrwkv.errors import BadValue

# name: (lowest, highest), both allowed. Reasons: temperature 5 is already noise; a penalty beyond 10
# outweighs any logit; RWKV's decay is a factor per token.
_RANGES: dict[str, tuple[float, float]] = {
    "temperature": (0.0, 5.0),
    "top_p": (0.0, 1.0),
    "top_k": (0, 1_000_000),
    "top_a": (0.0, 1.0),
    "top_a_power": (0.0, 10.0),
    "min_p": (0.0, 1.0),
    "typical": (0.0, 1.0),
    "presence": (-10.0, 10.0),
    "frequency": (-10.0, 10.0),
    "decay": (0.0, 1.0),
    "min_tokens": (0, 1_000_000),
    "max_tokens": (1, 10_000_000),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class SamplingParams:
    """Sampling settings of one reply; the defaults are the G1 chat card's.

    Order, fixed: bans, penalties, one float32 softmax, every filter masks from that same softmax and the
    masks are combined (the likeliest token always stays), then temperature as a power, then the draw. The
    cut before the temperature is RWKV's convention.
    """

    temperature: float = 1.0
    """0 is greedy."""
    top_p: float = 0.3
    """1 switches the filter off; 0 keeps the likeliest only."""
    top_k: int = 0
    """0 switches the filter off."""
    top_a: float = 0.0
    """Drop p < top_a * p_max ** top_a_power (BlinkDL, 2021: 0.02 and 2); 0 switches it off."""
    top_a_power: float = 2.0
    min_p: float = 0.0
    """Drop p < min_p * p_max; 0 switches it off."""
    typical: float = 1.0
    """Locally typical sampling, mass to keep; 1 switches it off."""
    presence: float = 0.5
    frequency: float = 0.5
    decay: float = 0.996
    """Factor on every count per token."""
    min_tokens: int = 0
    """The end of text is banned before this many tokens."""
    max_tokens: int = 1024
    stop: tuple[str, ...] = ()
    """More stop strings beside the template's."""
    seed: int | None = None
    """None draws a fresh one, which is stored with the reply."""
    banned: frozenset[int] = frozenset()

    def __post_init__(self) -> None:
        for name, (low, high) in _RANGES.items():
            value = getattr(self, name)
            if not (isinstance(value, int | float) and math.isfinite(value) and low <= value <= high):
                raise BadValue(
                    f"{name} is {value!r}; it must be between {low:g} and {high:g}.",
                    hint="Correct the value and try again.",
                )


SAMPLING_FIELDS: tuple[str, ...] = tuple(f.name for f in fields(SamplingParams))
