"""What lies on disk: models and saved states, listed without loading any. One bad file never hides the rest."""

from __future__ import annotations

import difflib
import os
import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from chatrwkv.engine import peek_state
from chatrwkv.errors import ChatRWKVError, ModelNotFound

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from chatrwkv.engine import StateInfo

_WEIGHTS = (".pth", ".safetensors")
# What names say about the training data, tried in order; for the choice of a template only.
_FAMILIES = (
    ("g1", re.compile(r"rwkv7[ab]?-g\d|[-_]g1[a-z]?[-_.]")),
    ("raven", re.compile(r"raven")),
    ("world", re.compile(r"world")),
    ("pile", re.compile(r"pile")),
)


@dataclass(frozen=True, slots=True)
class ModelEntry:
    """A model that can be loaded."""

    name: str
    path: Path
    """A file, or a folder with one model in it."""
    size_bytes: int
    family: str
    """One of "builtin", "g1", "world", "raven", "pile" and "", guessed from the name."""
    source: str
    """builtin, museum, models (the user's folder), folder (one from the settings) or path."""
    problem: str = ""
    """Why it cannot be read; empty is good."""


@dataclass(frozen=True, slots=True)
class StateEntry:
    """A saved state file."""

    path: Path
    info: StateInfo | None
    """None when the file cannot be read."""
    problem: str = ""

    @property
    def title(self) -> str:
        """The title of the chat it was saved from."""
        return self.info.metadata.get("title", "") if self.info else ""


class Catalog:
    """Lists what can be opened.

    Args:
        builtin: folder of built-in models, one folder each, and of `museum` with the small ones.
        models: the user's folder.
        folders: more of them, from the settings.
        states: where saved states are.
    """

    def __init__(self, builtin: Path, models: Path, folders: Sequence[Path], states: Path) -> None:
        self._builtin = builtin
        self._places = [(models, "models"), *((folder, "folder") for folder in folders)]
        self._states = states

    def models(self) -> list[ModelEntry]:
        """Every model in the known folders: built-in ones first, then by name, the museum last."""
        found: dict[Path, ModelEntry] = {}
        for folder in _entries(self._builtin):
            if (folder / "model.safetensors").is_file():
                found[folder] = _entry(folder, "builtin")
        rest: dict[Path, ModelEntry] = {}
        for place, source in self._places:
            for path in _entries(place):
                if _is_model(path) and path not in rest:
                    rest[path] = _entry(path, source)
        return [
            *found.values(),
            *sorted(rest.values(), key=lambda entry: entry.name.lower()),
            *self.museum(),
        ]

    def museum(self) -> list[ModelEntry]:
        """The tiny models of every generation, the oldest first."""
        return [_entry(path, "museum") for path in _weights_in(self._builtin / "museum")]

    def find(self, ref: str | Path) -> ModelEntry:
        """The model that `ref` names: a listed name, a path, or the beginning of one name only.

        Raises:
            ModelNotFound: nothing or several things are meant.
        """
        text = str(ref)
        listed = self.models()
        named = [entry for entry in listed if text in (entry.name, str(entry.path))]
        if named:
            return named[0]
        path = Path(text).expanduser()
        if text and (os.sep in text or path.exists()):
            if path.exists():
                return _entry(path.absolute(), "path")
            raise ModelNotFound(f"There is no file {path}.", hint="Check the path.")
        begun = [entry for entry in listed if entry.name.lower().startswith(text.lower())] if text else []
        if len(begun) == 1:
            return begun[0]
        if begun:
            names = ", ".join(entry.name for entry in begun)
            raise ModelNotFound(f"{text!r} could be {names}.", hint="Write more of the name.")
        near = difflib.get_close_matches(text, [entry.name for entry in listed], n=1)
        raise ModelNotFound(
            f"There is no model {text!r}.",
            hint=f"Did you mean {near[0]!r}?"
            if near
            else "Give a path, or put the file into the models folder.",
        )

    def states(self) -> list[StateEntry]:
        """Every saved state file, the newest first."""
        found = [path for path in _entries(self._states) if path.suffix == ".rwkvstate"]
        return [_state_entry(path) for path in sorted(found, key=_age, reverse=True)]


def guess_family(name: str) -> str:
    """The family that a model's name suggests; empty for none."""
    low = name.lower()
    return next((family for family, pattern in _FAMILIES if pattern.search(low)), "")


def _entries(folder: Path) -> Iterator[Path]:
    # A folder that is missing or may not be read has nothing to list.
    try:
        yield from sorted(path for path in folder.iterdir() if not path.name.startswith("."))
    except OSError:
        return


def _is_model(path: Path) -> bool:
    try:
        return path.suffix in _WEIGHTS if not path.is_dir() else bool(_weights_in(path))
    except OSError:
        return path.suffix in _WEIGHTS


def _weights_in(folder: Path) -> list[Path]:
    return [path for path in _entries(folder) if path.suffix in _WEIGHTS]


def _entry(path: Path, source: str) -> ModelEntry:
    problem, size = "", 0
    is_dir = path.is_dir()
    try:
        files: Iterable[Path] = _weights_in(path) if is_dir else [path]
        size = sum(file.stat().st_size for file in files)
        if not is_dir and not path.is_file():
            problem = "not a file"
        elif not size:
            problem = "empty"
    except OSError as error:
        problem = error.strerror or str(error)
    name = path.name if is_dir else path.stem
    is_builtin = source in ("builtin", "museum") or "builtin" in [p.name for p in path.parents[:2]]
    return ModelEntry(name, path, size, "builtin" if is_builtin else guess_family(name), source, problem)


def _state_entry(path: Path) -> StateEntry:
    try:
        return StateEntry(path, peek_state(path))
    except ChatRWKVError as error:
        return StateEntry(path, None, error.message)


def _age(path: Path) -> float:
    try:
        return path.stat().st_mtime
    except OSError:
        return 0.0
