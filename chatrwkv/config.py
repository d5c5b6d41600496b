"""Settings: defaults < file < environment < flags, each value remembering where it came from.

The user's TOML file is read and never rewritten, so its comments are safe; what the interface changes goes
to a file of its own. Environment names are `CHATRWKV_SECTION__KEY`.
"""

from __future__ import annotations

import difflib
import os
import tomllib
from collections.abc import Mapping  # noqa: TC003 -- get_type_hints reads it at run time
from dataclasses import dataclass, field, fields, replace
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, get_type_hints

from chatrwkv.errors import BadValue, ConfigError, UnknownKey

if TYPE_CHECKING:
    from pathlib import Path

_ENV_PREFIX = "CHATRWKV_"
# Handled by paths.py, before any settings exist, by the engine and by tests.
_ENV_RESERVED = frozenset({"CHATRWKV_CONFIG", "CHATRWKV_DATA_DIR", "CHATRWKV_NATIVE", "CHATRWKV_TEST_MODELS"})
_LARGEST_FILE = 1_000_000


@dataclass(frozen=True, slots=True)
class ModelSettings:
    """`[model]`: what is loaded at start and how."""

    default: str = ""
    """Name or path; empty is the last one used, or the built-in model."""
    device: str = "auto"
    """auto, cpu, cuda, cuda:N, mps, or a strategy such as "cuda fp16 *10 -> cpu fp32"."""
    dtype: str = "auto"
    """auto, fp32, bf16, fp16, int8 or int4."""
    folders: tuple[str, ...] = ()
    """More folders whose models are listed; nothing is copied."""


@dataclass(frozen=True, slots=True)
class ChatSettings:
    """`[chat]`: how conversations behave."""

    template: str = ""
    """Template of new chats; empty follows the model's family."""
    thinking: str = ""
    """Thinking mode of new chats; empty is the template's first."""
    state_budget_mb: int = 512
    """Memory for snapshots; beyond it the least used live on disk only."""
    state_disk_budget_mb: int = 4000
    """Disk for snapshots; beyond it the least used go, and are rebuilt from their text when needed."""
    state_fp16_after_days: int = 0
    """Snapshots that nobody used for so many days are kept in half precision; 0 keeps all of them exact."""


@dataclass(frozen=True, slots=True)
class InterfaceSettings:
    """`[interface]`: how the app looks and which keys it has."""

    theme: str = ""
    """A Textual theme name; empty is the one chosen last."""
    send_key: str = "enter"
    """enter or ctrl+j; the other one makes a new line."""
    keys: Mapping[str, str] = field(default_factory=dict)
    """Binding id to key, `[interface.keys]`."""


@dataclass(frozen=True, slots=True)
class Settings:
    """All settings and where each came from."""

    model: ModelSettings = ModelSettings()
    chat: ChatSettings = ChatSettings()
    interface: InterfaceSettings = InterfaceSettings()
    sampling: Mapping[str, Any] = field(default_factory=dict)
    """`[sampling]`: overrides of the template's defaults, named as in SamplingParams."""
    offline: bool = False
    sources: Mapping[str, str] = field(default_factory=dict)
    """Dotted key to "default", a file, an environment variable or a flag."""


_SECTIONS: dict[str, type] = {"model": ModelSettings, "chat": ChatSettings, "interface": InterfaceSettings}
_CHOICES = {
    "interface.send_key": ("enter", "ctrl+j"),
    "model.dtype": ("auto", "fp32", "bf16", "fp16", "int8", "int4"),
}


def load_settings(
    path: Path,
    *,
    environ: Mapping[str, str] | None = None,
    flags: Mapping[str, Any] | None = None,
    sampling_kinds: Mapping[str, type] = MappingProxyType({}),
) -> Settings:
    """Merge the layers into one `Settings`.

    Args:
        path: the user's TOML file; it need not exist.
        environ: the process environment unless given.
        flags: dotted keys from the command line; `None` values are not set.
        sampling_kinds: names allowed in `[sampling]` and the types of their values; the engine knows them,
            this module does not.

    Raises:
        ConfigError: the file is no TOML, or names or values are wrong; the message says which and where.
    """
    settings = Settings(sources=_default_sources())
    for source, values in (
        (str(path), _from_file(path)),
        ("environment", _from_environment(os.environ if environ is None else environ)),
        ("flag", {k: v for k, v in (flags or {}).items() if v is not None}),
    ):
        for key, value in values.items():
            settings = _with_value(settings, key, value, source, sampling_kinds)
    return settings


def _default_sources() -> dict[str, str]:
    names = [f"{section}.{f.name}" for section, kind in _SECTIONS.items() for f in fields(kind)]
    return dict.fromkeys([*names, "offline"], "default")


def _from_file(path: Path) -> dict[str, Any]:
    try:
        if not path.exists():
            return {}
        if path.stat().st_size > _LARGEST_FILE:
            raise BadValue(f"{path} is larger than 1 MB.", hint="Settings are a few lines; check the file.")
        tree = tomllib.loads(path.read_text(encoding="utf-8"))
    except tomllib.TOMLDecodeError as error:
        raise ConfigError(f"{path} is not valid TOML: {error}.", hint="Correct that line.") from error
    except UnicodeDecodeError as error:
        raise ConfigError(f"{path} is not UTF-8 text.", hint="Save it as UTF-8.") from error
    except OSError as error:
        raise ConfigError(f"{path} cannot be read: {error.strerror or error}.") from error
    return _flatten(tree)


def _flatten(tree: Mapping[str, Any]) -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for section, body in tree.items():
        if isinstance(body, dict):
            flat.update({f"{section}.{key}": value for key, value in body.items()})
        else:
            flat[section] = body
    return flat


def _from_environment(environ: Mapping[str, str]) -> dict[str, Any]:
    values: dict[str, Any] = {}
    for name, text in environ.items():
        if name.startswith(_ENV_PREFIX) and name not in _ENV_RESERVED:
            values[name.removeprefix(_ENV_PREFIX).lower().replace("__", ".", 1)] = text
    return values


def _with_value(
    settings: Settings, key: str, value: Any, source: str, sampling_kinds: Mapping[str, type]
) -> Settings:
    section, _, name = key.partition(".")
    sources = {**settings.sources, key: source}
    if key == "offline":
        return replace(settings, offline=_convert(key, value, bool, source), sources=sources)
    if section == "sampling" and name in sampling_kinds:
        known = _sampling_value(key, value, sampling_kinds[name], source)
        return replace(settings, sampling={**settings.sampling, name: known}, sources=sources)
    kind = _SECTIONS.get(section)
    hints = get_type_hints(kind) if kind else {}
    if kind is None or name not in hints:
        known = (
            [k for k in settings.sources if "." in k]
            + [f"sampling.{k}" for k in sampling_kinds]
            + ["offline"]
        )
        near = difflib.get_close_matches(key, known, n=1)
        raise UnknownKey(
            f"{source} sets {key!r}, which does not exist.",
            hint=f"Did you mean {near[0]!r}?" if near else "`chatrwkv config show` lists all settings.",
        )
    body = replace(getattr(settings, section), **{name: _convert(key, value, hints[name], source)})
    return replace(settings, **{section: body}, sources=sources)


def _sampling_value(key: str, value: Any, kind: type, source: str) -> Any:
    """The value as its setting has it; what is out of range is found by those who use it."""
    if kind in (bool, str):
        return _convert(key, value, kind, source)
    if kind is tuple:
        return _convert(key, value.split("|") if isinstance(value, str) else value, kind, source)
    if not isinstance(value, str):
        return value
    try:
        return float(value) if any(c in value for c in ".eE") else int(value)
    except ValueError as error:
        raise _bad(key, value, source, "a number") from error


def _convert(key: str, value: Any, hint: Any, source: str) -> Any:
    if hint is bool:
        truth = {"1": True, "true": True, "yes": True, "on": True}
        truth |= {"0": False, "false": False, "no": False, "off": False}
        known = value if isinstance(value, bool) else truth.get(str(value).lower())
        if known is None:
            raise _bad(key, value, source, "true or false")
        return known
    if hint is int:
        if isinstance(value, bool) or not str(value).isdecimal():
            raise _bad(key, value, source, "a whole number of at least 0")
        return int(value)
    if hint is str:
        if not isinstance(value, str):
            raise _bad(key, value, source, "text")
        if key in _CHOICES and value not in _CHOICES[key]:
            raise _bad(key, value, source, " or ".join(_CHOICES[key]))
        return value
    if key == "interface.keys":
        if not isinstance(value, dict) or not all(isinstance(v, str) for v in value.values()):
            raise _bad(key, value, source, 'a table of id = "key"')
        return dict(value)
    if isinstance(value, str):
        return tuple(part for part in value.split(os.pathsep) if part)
    if isinstance(value, list) and all(isinstance(part, str) for part in value):
        return tuple(value)
    raise _bad(key, value, source, "a list of texts")


def _bad(key: str, value: Any, source: str, wanted: str) -> BadValue:
    return BadValue(
        f"{source} sets {key} to {value!r}; it must be {wanted}.", hint="Correct it and try again."
    )
