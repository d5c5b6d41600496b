"""What a checkpoint does not say about itself, from a small TOML file beside it: `<stem>.toml`.

Some published networks were trained with a constant or a function that leaves no trace in names or shapes.
The usual one is the default; the file is for the others. Knows no torch.

    # 20220501-6548.toml
    k_eps = 1e-9
"""

from __future__ import annotations

import tomllib
from dataclasses import dataclass, replace
from hashlib import sha256
from typing import TYPE_CHECKING

from chatrwkv.engine.spec import Generation, ModelSpec
from chatrwkv.engine.tokens.choice import KINDS
from chatrwkv.errors import BadValue, UnknownKey

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

OptionValue = bool | int | float | str
Options = dict[str, OptionValue]
_CHARACTERS = 50_000  # vocabularies below are characters, those from it on the 20B tokens of the Pile
_MAX_FILE_BYTES = 1 << 16


@dataclass(frozen=True, slots=True)
class Option:
    """One setting that leaves no trace in the file."""

    default: Callable[[ModelSpec], OptionValue]
    accepts: Callable[[OptionValue], bool]
    wants: str
    """What a value must be, for the message."""


def _is_positive(value: OptionValue) -> bool:
    return type(value) is int and value > 0


def _choice(*words: str) -> Option:
    return Option(lambda _: words[0], lambda value: value in words, f"one of {', '.join(words)}")


_CTX_LEN = Option(lambda _: 1024, _is_positive, "a whole number above 0")
_TOKENIZER = Option(
    lambda _: "auto", lambda value: value in ("auto", *KINDS), f"one of auto, {', '.join(KINDS)}"
)
_K_EPS = Option(
    # The 2022-05 previews of v2 Pile have 1e-9; it shows in the first tokens only.
    lambda spec: 1e-8 if spec.generation is Generation.V3 or spec.n_vocab >= _CHARACTERS else 1e-16,
    lambda value: type(value) is float and 0 < value < 1e-3,
    "a number between 0 and 0.001, such as 1e-9",
)

# of every generation; it does not change what a state means to the weights
_COMMON = {"tokenizer": _TOKENIZER}
OPTIONS: dict[Generation, dict[str, Option]] = {
    Generation.V1: {
        "activation": _choice("mish", "gelu"),  # gelu before 2021-08-11
        # both since 2021-08-25, upper since 2021-08-15
        "k_clamp": _choice("both", "upper", "none"),
    },
    # HeadQK copies from this many tokens; it is the context of the training
    Generation.V2: {"k_eps": _K_EPS, "ctx_len": _CTX_LEN},
    Generation.V3: {"k_eps": _K_EPS, "ctx_len": _CTX_LEN},
    # k *= exp(min(log of the raw decay, 0)), the advice of 2024 against spikes of the loss
    Generation.V6: {"k_clamp": Option(lambda _: False, lambda v: isinstance(v, bool), "true or false")},
}


def known_options(spec: ModelSpec) -> dict[str, Option]:
    """What the file of this model may set."""
    return _COMMON | OPTIONS.get(spec.generation, {})


def default_options(spec: ModelSpec) -> Options:
    """What holds without a file."""
    return {name: option.default(spec) for name, option in known_options(spec).items()}


def read_options(model_file: Path, spec: ModelSpec) -> Options:
    """All options of the model: those of `<stem>.toml` beside it, the defaults for the rest.

    Raises:
        UnknownKey: the file names an option that this generation does not have.
        BadValue: a value cannot be used, or the file is no TOML.
    """
    path = model_file.with_suffix(".toml")
    options = default_options(spec)
    if not path.is_file():
        return options
    known = known_options(spec)
    for name, value in _parsed(path).items():
        if name not in known:
            raise UnknownKey(
                f"{path.name} sets {name!r}, which is no option of an RWKV-{spec.generation} model.",
                hint=f"Its options: {', '.join(known)}.",
            )
        if not known[name].accepts(value):
            raise BadValue(f"{path.name} sets {name} to {value!r}.", hint=f"It must be {known[name].wants}.")
        options[name] = value
    return options


def with_options(spec: ModelSpec, options: Mapping[str, OptionValue]) -> ModelSpec:
    """The blueprint whose fingerprint tells apart what the options make of one file.

    A state read with one constant is no state of a model with another.
    """
    usual = default_options(spec)
    others = sorted((k, v) for k, v in options.items() if k not in _COMMON and v != usual[k])
    if not others:
        return spec
    text = f"{spec.fingerprint};{others}"
    return replace(spec, fingerprint=sha256(text.encode()).hexdigest())


def shown(options: Mapping[str, OptionValue]) -> dict[str, str]:
    """The options as text, for `models info`."""
    return {
        name: str(value).lower() if isinstance(value, bool) else f"{value}" for name, value in options.items()
    }


def _parsed(path: Path) -> dict[str, OptionValue]:
    try:
        if path.stat().st_size > _MAX_FILE_BYTES:
            raise BadValue(f"{path.name} is too large for a settings file.", hint="Remove it.")
        table = tomllib.loads(path.read_text("utf-8"))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError, RecursionError) as error:
        raise BadValue(f"{path.name} cannot be read: {error}.", hint="It must be plain TOML.") from error
    return table
