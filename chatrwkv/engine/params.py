"""How a reply is drawn: the settings, free of torch so that every layer can hold them."""

from __future__ import annotations

import math
from dataclasses import dataclass, fields
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from chatrwkv.errors import BadValue

if TYPE_CHECKING:
    from collections.abc import Mapping

# name: (lowest, highest), both allowed. Reasons: temperature 5 is already noise; a penalty beyond 10
# outweighs any logit; RWKV's decay is a factor per token; a surprise of 20 bits is one token in a million;
# guidance beyond 10 shows nothing but the difference of the two minds.
_RANGES: dict[str, tuple[float, float]] = {
    "temperature": (0.0, 5.0),
    "top_p": (0.0, 1.0),
    "top_p_x": (0.0, 1.0),
    "top_k": (0, 1_000_000),
    "top_a": (0.0, 1.0),
    "top_a_power": (0.0, 10.0),
    "min_p": (0.0, 1.0),
    "typical": (0.0, 1.0),
    "mirostat": (0.0, 20.0),
    "mirostat_rate": (0.0, 1.0),
    "cfg": (0.0, 10.0),
    "presence": (-10.0, 10.0),
    "frequency": (-10.0, 10.0),
    "decay": (0.0, 1.0),
    "min_tokens": (0, 1_000_000),
    "max_tokens": (1, 10_000_000),
}
_LONGEST_NEGATIVE = 100_000  # characters; it is read anew for each reply


@dataclass(frozen=True, slots=True, kw_only=True)
class SamplingParams:
    """Sampling settings of one reply; the defaults are the G1 chat card's.

    Order: guidance, newline schedule, anti-repeat rule, bans, penalties, one float32 softmax, every filter
    masks from that same softmax and the masks are combined (the likeliest token always stays), then
    temperature as a power, then the draw. The cut before the temperature is RWKV's convention;
    `temp_first` puts it into the softmax instead.
    """

    temperature: float = 1.0
    """0 is greedy."""
    temp_first: bool = False
    """Divide the logits by the temperature before the cut, as most other programs do."""
    top_p: float = 0.3
    """1 switches the filter off; 0 keeps the likeliest only."""
    top_p_x: float = 1.0
    """top-p never drops a token of at least this probability (BlinkDL: 0.01); 1 switches it off."""
    top_k: int = 0
    """0 switches the filter off."""
    top_a: float = 0.0
    """Drop p < top_a * p_max ** top_a_power (BlinkDL, 2021: 0.02 and 2); 0 switches it off."""
    top_a_power: float = 2.0
    min_p: float = 0.0
    """Drop p < min_p * p_max; 0 switches it off."""
    typical: float = 1.0
    """Locally typical sampling, mass to keep; 1 switches it off."""
    mirostat: float = 0.0
    """Surprise in bits that mirostat 2 aims at, in place of every filter and of the temperature after the
    cut (ai00: 3); 0 switches it off."""
    mirostat_rate: float = 0.1
    """How fast mirostat corrects itself."""
    cfg: float = 1.0
    """Classifier-free guidance: cfg * logits + (1 - cfg) * logits of the mind that read `negative`; 1 is off."""
    negative: str = ""
    """What the other mind of guidance reads in place of the conversation, before the reply's opening."""
    presence: float = 0.5
    frequency: float = 0.5
    decay: float = 0.996
    """Factor on every count per token."""
    newline_rule: bool = False
    """chat.py's: no line end at first, unlikely up to token 40, likelier and likelier from token 150 on."""
    anti_repeat: bool = False
    """chat.py's: the same of ，：？！ never twice in a row."""
    min_tokens: int = 0
    """The end of text is banned before this many tokens."""
    max_tokens: int = 1024
    stop: tuple[str, ...] = ()
    """More stop strings beside the template's."""
    seed: int | None = None
    """None draws a fresh one, which is stored with the reply."""
    banned: frozenset[int] = frozenset()

    def __post_init__(self) -> None:
        for name, kind in SAMPLING_KINDS.items():
            value = getattr(self, name)
            if kind in _WANTED and not _is_a(kind, value) and not (name == "seed" and value is None):
                raise _bad(name, value, _WANTED[kind])
            low, high = _RANGES.get(name, (-math.inf, math.inf))
            if name in _RANGES and not low <= value <= high:
                raise _bad(name, value, f"between {low:,.10g} and {high:,.10g}")
        if len(self.negative) > _LONGEST_NEGATIVE:
            raise _bad("negative", self.negative, f"at most {_LONGEST_NEGATIVE:,} characters long")

    @property
    def guide(self) -> str | None:
        """The negative prompt; None without guidance."""
        return None if self.cfg == 1 else self.negative

    @property
    def has_mirostat(self) -> bool:
        """Whether mirostat draws; greedy comes before it."""
        return self.mirostat > 0 and self.temperature > 0


_WANTED: dict[type, str] = {bool: "on or off", int: "a whole number", float: "a number", str: "a text"}


def _is_a(kind: type, value: object) -> bool:
    """Whether a setting of this kind may have the value; a float may be whole, a switch is no number."""
    if isinstance(value, bool) or kind is bool:
        return kind is bool and isinstance(value, bool)
    if kind is float:
        return isinstance(value, int) or (isinstance(value, float) and math.isfinite(value))
    return isinstance(value, kind)


def _bad(name: str, value: Any, wanted: str) -> BadValue:
    shown = repr(value)
    shown = shown if len(shown) <= 60 else f"{shown[:57]}..."
    return BadValue(f"{name} is {shown}; it must be {wanted}.", hint="Correct the value and try again.")


SAMPLING_KINDS: Mapping[str, type] = MappingProxyType(
    {f.name: int if f.default is None else type(f.default) for f in fields(SamplingParams)}
)
"""Every setting and the type of its value."""
SAMPLING_FIELDS: tuple[str, ...] = tuple(SAMPLING_KINDS)
