"""Several replies at once, each drawn in its own way: `8`, `8 temp 0.5..1.5`, `temp 0.5,1,1.5 top_p 0.3..0.9`."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from chatrwkv.errors import BadValue
from chatrwkv.tui.sampling_text import field_name, label, with_value

if TYPE_CHECKING:
    from chatrwkv.engine.params import SamplingParams

# More replies at once than this cannot be read, and each takes a state.
MOST_REPLIES = 16

_HINT = "For example: /retry 8, /retry 8 temp 0.5..1.5, /retry temp 0.5,1,1.5"


def spread(argument: str, params: SamplingParams) -> list[SamplingParams]:
    """The settings of each reply that is asked for.

    A range is divided evenly, a list gives one reply a value. A fixed seed counts up unless it is among the
    settings, since the same seed would often draw the same reply.

    Args:
        argument: a number, then pairs of a setting and its values; either may be left out.
        params: what the chat draws with.

    Raises:
        BadValue: the argument cannot be understood, or a value is out of range.
        UnknownKey: there is no such setting.
    """
    words = argument.replace("=", " ").split()
    n = _count(words.pop(0)) if words and words[0].isdecimal() else 0
    if len(words) % 2:
        raise BadValue(
            f"{words[-1]!r} is neither a number of replies nor a setting with its values.", hint=_HINT
        )
    pairs = [(field_name(name), values) for name, values in zip(words[::2], words[1::2], strict=True)]
    n = n or _count(str(max((len(values.split(",")) for _, values in pairs), default=1)))
    made = [params] * n
    if params.seed is not None and "seed" not in dict(pairs):
        made = [replace(params, seed=params.seed + place) for place in range(n)]
    for name, values in pairs:
        each = _values(name, values, n)
        made = [with_value(one, name, value) for one, value in zip(made, each, strict=True)]
    return made


def _count(text: str) -> int:
    if not 1 <= int(text) <= MOST_REPLIES:
        raise BadValue(f"{text} replies are asked for; it must be 1 to {MOST_REPLIES}.", hint=_HINT)
    return int(text)


def _values(name: str, text: str, n: int) -> list[str]:
    low, dots, high = text.partition("..")
    if not dots:
        values = text.split(",")
        if len(values) not in (1, n):
            raise BadValue(
                f"{label(name)} has {len(values)} values for {n} replies.",
                hint="Give one for each, or a range.",
            )
        return values * n if len(values) == 1 else values
    try:
        first, last = float(low), float(high)
    except ValueError as error:
        raise BadValue(f"{label(name)} has the range {text!r}; it needs two numbers.", hint=_HINT) from error
    if n == 1:
        raise BadValue(f"A range of {label(name)} needs a number of replies.", hint=_HINT)
    steps = [first + (last - first) * place / (n - 1) for place in range(n)]
    is_whole = name in ("seed", "top_k", "min_tokens", "max_tokens")
    return [str(round(step)) if is_whole else f"{step:.6g}" for step in steps]
