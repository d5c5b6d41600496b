"""What a piece of work costs, measured so that it does not matter what else the machine does."""

from __future__ import annotations

import time
import tracemalloc
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

# Hundreds of times what refusing a file takes; waiting for what a file claims would take longer still.
CPU_S = 1.0
MEMORY_BYTES = 100e6


@contextmanager
def little_effort() -> Iterator[None]:
    """What happens inside takes next to nothing of the processor's time in this thread, and of Python's memory."""
    tracemalloc.start()
    began = time.thread_time()
    try:
        yield
        assert time.thread_time() - began < CPU_S
        assert tracemalloc.get_traced_memory()[1] < MEMORY_BYTES
    finally:
        tracemalloc.stop()
