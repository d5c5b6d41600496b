"""An engine with a model loaded, for as long as a command needs it."""

from __future__ import annotations

import sys
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from chatrwkv.commands.output import narrate
from chatrwkv.commands.placement import plan_lines
from chatrwkv.engine import EngineThread, Progress, prepare_native
from chatrwkv.paths import Paths
from chatrwkv.text import cut, sanitise_name

if TYPE_CHECKING:
    from collections.abc import Iterator

    from chatrwkv.config import Settings
    from chatrwkv.engine import Job, ModelInfo


@contextmanager
def engine_with_model(settings: Settings) -> Iterator[tuple[EngineThread, ModelInfo]]:
    """Load the model that the settings name, and close the engine at the end.

    Raises:
        ModelError: it is not there or cannot be loaded.
    """
    from chatrwkv.commands.models import model_entry, weights_file

    entry = model_entry(settings)
    prepare_native(Paths.default().cache_dir)
    for line in plan_lines(weights_file(entry.path), settings):
        narrate(line)
    engine = EngineThread()
    engine.start()
    try:
        job = engine.load(entry.path, device=settings.model.device, dtype=settings.model.dtype)
        yield engine, watched(job, f"loading {sanitise_name(entry.name)}")
    finally:
        engine.close()


def watched(job: Job[Any], what: str) -> Any:
    """Wait for a task, with its progress on a terminal."""
    is_watched, shown = sys.stderr.isatty(), 0
    for event in job:
        if is_watched and isinstance(event, Progress) and event.total:
            line = cut(f"{what} {100 * event.done // event.total} %", 79)
            sys.stderr.write("\r" + line.ljust(shown))
            sys.stderr.flush()
            shown = max(shown, len(line))
    _clear(shown)
    return job.result()


def _clear(n_chars: int) -> None:
    if n_chars:
        sys.stderr.write("\r" + " " * n_chars + "\r")
        sys.stderr.flush()
