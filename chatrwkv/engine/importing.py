"""Importing without passes of the garbage collector over what is being made.

At the start of the app they took 0.2 of torch's 1.3 s and 0.05 of the interface's 0.25 s. Linking torch's
libraries on a thread meanwhile was tried: the first screen came 0.25 s later and the model no sooner.
"""

from __future__ import annotations

import gc
import sys
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator


@contextmanager
def without_collector() -> Iterator[None]:
    """Hold the collector; what is there afterwards stays out of all its later passes.

    A full one over torch's 171,000 objects takes 0.1 s, in which no key is answered.
    """
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_enabled:
            gc.freeze()
            gc.enable()


def import_torch() -> None:
    """Import torch, unless it is there."""
    if "torch" not in sys.modules:
        with without_collector():
            import torch  # noqa: F401
