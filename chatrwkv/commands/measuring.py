"""What the commands that measure a model share: native code before the model, and progress while it works."""

from __future__ import annotations

import sys
import threading
from typing import TYPE_CHECKING, TypeVar

from chatrwkv.commands.output import narrate
from chatrwkv.paths import Paths
from chatrwkv.text import cut, sanitise_name

if TYPE_CHECKING:
    from pathlib import Path

    from chatrwkv.engine import Job

T = TypeVar("T")
_NATIVE_WAIT_S = 300.0  # a first build takes 35 s on a slow core, and more beside other work


def settle_native(packed: Path | None = None) -> None:
    """Wait until it is decided whether there is native code.

    A model that changes over while it is measured would be two.

    Args:
        packed: keep packed weights here instead of in the cache.
    """
    from chatrwkv.engine import kernels

    ready = threading.Event()
    kernels.prepare(Paths.default().cache_dir, packed)
    kernels.when_ready(lambda _: ready.set())
    if kernels.library() is None and kernels.status().is_building:
        narrate("building the native library, once ...")
    waited = 0.0
    while kernels.status().is_building and waited < _NATIVE_WAIT_S:
        waited += 0.2
        ready.wait(0.2)


def watched(job: Job[T], name: str) -> T:
    """Wait for the end with the progress on a terminal; ctrl+c stops the work and is passed on."""
    from chatrwkv.engine import Progress

    is_watched, shown = sys.stderr.isatty(), 0
    try:
        for event in job:
            if is_watched and isinstance(event, Progress):
                share = f" {100 * event.done // event.total} %" if event.total else " ..."
                line = cut(sanitise_name(event.what or name) + share, 79)
                sys.stderr.write("\r" + line + " " * max(0, shown - len(line)))
                sys.stderr.flush()
                shown = len(line)
    except KeyboardInterrupt:
        job.cancel()
        raise
    finally:
        if shown:
            sys.stderr.write("\r" + " " * shown + "\r")
            sys.stderr.flush()
    return job.result()
