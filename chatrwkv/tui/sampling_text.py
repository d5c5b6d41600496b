"""Sampling settings as text: what each means, how its value is written, and what is wrong with one."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from chatrwkv.engine.params import SAMPLING_KINDS, SamplingParams
from chatrwkv.errors import BadValue, UnknownKey

MEANINGS: dict[str, str] = {
    "temperature": "0 takes the likeliest; above 1 is wilder",
    "temp_first": "on: temperature before the cut, not after",
    "top_p": "keep the likeliest of this share; 1 is off",
    "top_p_x": "top-p keeps whatever is ≥ this; 1 is off",
    "top_k": "keep this many; 0 is off",
    "top_a": "drop p < top-a · p_max ^ power; 0 is off",
    "top_a_power": "power of top-a",
    "min_p": "drop p < min-p · p_max; 0 is off",
    "typical": "locally typical, mass to keep; 1 is off",
    "mirostat": "bits of surprise to aim at; 0 is off",
    "mirostat_rate": "how fast mirostat corrects itself",
    "cfg": "guidance away from `negative`; 1 is off",
    "negative": "read in place of the chat; \\n: new line",
    "presence": "penalty for what was said",
    "frequency": "penalty for each time it was said",
    "decay": "how penalties fade, a token",
    "newline_rule": "on: line ends late, as in chat.py",
    "anti_repeat": "on: none of ，：？！ twice in a row",
    "min_tokens": "no end before this many",
    "max_tokens": "stop after this many",
    "stop": "more stop strings, | between; \\n: new line",
    "seed": "repeats the reply; empty draws a new one",
    "banned": "token ids never to say, with spaces between",
}
assert sorted(MEANINGS) == sorted(SAMPLING_KINDS), "every setting is explained"

_SWITCHES = dict.fromkeys(("on", "true", "yes", "1"), True) | dict.fromkeys(
    ("off", "false", "no", "0"), False
)
_WANTED = {bool: "on or off", int: "a whole number", float: "a number", frozenset: "whole numbers"}
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
        return " | ".join(map(_escaped, value))
    if name == "negative":
        return _escaped(value)
    if name == "banned":
        return " ".join(map(str, sorted(value)))
    if value is None:
        return ""
    if isinstance(value, bool):
        return "on" if value else "off"
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
    if name == "negative":
        return _unescaped(text)
    if name == "seed" and text.casefold() in ("", "off", "none", "fresh"):
        return None
    kind = SAMPLING_KINDS[name]
    try:
        if kind is bool:
            return _SWITCHES[text.casefold()]
        if kind is frozenset:
            return frozenset(int(part) for part in text.replace(",", " ").split())
        return kind(text)
    except (KeyError, ValueError) as error:
        raise BadValue(
            f"{label(name)} is {text!r}; it must be {_WANTED[kind]}.", hint="Correct the value and try again."
        ) from error


def _escaped(text: str) -> str:
    return text.replace("\\", "\\\\").replace("\n", "\\n")


def _unescaped(text: str) -> str:
    return text.replace("\\\\", "\0").replace("\\n", "\n").replace("\0", "\\")


def describe(params: SamplingParams) -> str:
    """The common settings in one line."""
    return f"temperature {params.temperature:g}, top-p {params.top_p:g}" + (
        f", seed {params.seed}" if params.seed is not None else ""
    )
