"""Sampling settings as text: what each means, how its value is written, and what is wrong with one."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from chatrwkv.engine.params import SAMPLING_FIELDS, SamplingParams
from chatrwkv.errors import BadValue, UnknownKey

MEANINGS: dict[str, str] = {
    "temperature": "0 takes the likeliest, 1 as learned, above wilder",
    "top_p": "keep the likeliest that make up this share; 1 is off",
    "top_k": "keep this many; 0 is off",
    "top_a": "drop p < top-a · p_max ^ power; 0 is off",
    "top_a_power": "power of top-a",
    "min_p": "drop p < min-p · p_max; 0 is off",
    "typical": "locally typical, mass to keep; 1 is off",
    "presence": "penalty for what was said",
    "frequency": "penalty for each time it was said",
    "decay": "how penalties fade, a token",
    "min_tokens": "no end before this many",
    "max_tokens": "stop after this many",
    "stop": "more stop strings, with | between; \\n is a new line",
    "seed": "a number repeats the reply; empty draws a new one",
    "banned": "token ids never to say, with spaces between",
}
assert tuple(sorted(MEANINGS)) == tuple(sorted(SAMPLING_FIELDS)), "every setting is explained"

_WHOLE = frozenset({"top_k", "min_tokens", "max_tokens"})
_SHORT = {
    "temp": "temperature",
    "t": "temperature",
    "p": "top_p",
    "k": "top_k",
    "a": "top_a",
    "max": "max_tokens",
}


def field_name(typed: str) -> str:
    """The setting that was meant: `temp`, `top-p` and `Top_P` are understood.

    Raises:
        UnknownKey: there is none.
    """
    name = typed.strip().casefold().replace("-", "_")
    name = _SHORT.get(name, name)
    if name not in MEANINGS:
        raise UnknownKey(
            f"There is no sampling setting {typed!r}.", hint=f"There are: {', '.join(map(label, MEANINGS))}."
        )
    return name


def label(name: str) -> str:
    """The name as people read it."""
    return name.replace("_", "-")


def text_of(params: SamplingParams, name: str) -> str:
    """The value as it is typed."""
    value: Any = getattr(params, name)
    if name == "stop":
        return " | ".join(text.replace("\\", "\\\\").replace("\n", "\\n") for text in value)
    if name == "banned":
        return " ".join(map(str, sorted(value)))
    if value is None:
        return ""
    return f"{value:g}" if isinstance(value, float) else str(value)


def with_value(params: SamplingParams, typed_name: str, text: str) -> SamplingParams:
    """The settings with one value changed.

    Raises:
        UnknownKey: no such setting.
        BadValue: the text is no value, or out of range.
    """
    name = field_name(typed_name)
    return replace(params, **{name: _value(name, text.strip())})


def _value(name: str, text: str) -> Any:
    if name == "stop":
        return tuple(_unescaped(part.strip(" ")) for part in text.split("|") if part.strip(" "))
    if name == "seed" and text.casefold() in ("", "off", "none", "fresh"):
        return None
    try:
        if name == "banned":
            return frozenset(int(part) for part in text.replace(",", " ").split())
        if name in _WHOLE or name == "seed":
            return int(text)
        return float(text)
    except ValueError as error:
        wanted = (
            "whole numbers"
            if name == "banned"
            else "a whole number"
            if name in (*_WHOLE, "seed")
            else "a number"
        )
        raise BadValue(
            f"{label(name)} is {text!r}; it must be {wanted}.", hint="Correct the value and try again."
        ) from error


def _unescaped(text: str) -> str:
    return text.replace("\\\\", "\0").replace("\\n", "\n").replace("\0", "\\")


def describe(params: SamplingParams) -> str:
    """The common settings in one line."""
    return f"temperature {params.temperature:g}, top-p {params.top_p:g}" + (
        f", seed {params.seed}" if params.seed is not None else ""
    )
