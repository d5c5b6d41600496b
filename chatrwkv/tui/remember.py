"""What the interface remembers between runs: theme and panels.

Chats, drafts and the history of the prompt are in the database.

The file is replaced whole (temporary file, fsync, rename), so a crash leaves the old or the new one. Nothing
here is needed to start: a file that is missing or damaged counts as empty.
"""

from __future__ import annotations

import contextlib
import json
import os
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

from chatrwkv.errors import StoreFull
from chatrwkv.paths import private_dir

if TYPE_CHECKING:
    from collections.abc import Mapping

_LARGEST_FILE = 100_000


class Memory:
    """`ui.json` in the state folder."""

    def __init__(self, ui_file: Path) -> None:
        self._ui_file = ui_file
        found = _read(ui_file)
        self._values: dict[str, Any] = found if isinstance(found, dict) else {}

    def get(self, name: str, default: str = "") -> str:
        """A remembered text."""
        value = self._values.get(name, default)
        return value if isinstance(value, str) else default

    def update(self, **values: str) -> None:
        """Remember; written at once, since the next moment may be a crash."""
        if {**self._values, **values} != self._values:
            self._values.update(values)
            _write(self._ui_file, self._values)


def _read(path: Path) -> object:
    try:
        if path.stat().st_size > _LARGEST_FILE:
            return None
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None


def _write(path: Path, value: Mapping[str, Any]) -> None:
    """Replace `path`; a disk that is full or read-only costs the memory, not the chat."""
    with contextlib.suppress(OSError, StoreFull):
        folder = private_dir(path.parent)
        handle, temporary = tempfile.mkstemp(dir=folder, prefix=f".{path.name}.")
        try:
            with os.fdopen(handle, "w", encoding="utf-8") as file:
                json.dump(value, file, ensure_ascii=False)
                file.flush()
                os.fsync(file.fileno())
            Path(temporary).replace(path)
        except OSError:
            with contextlib.suppress(OSError):
                Path(temporary).unlink()
            raise
