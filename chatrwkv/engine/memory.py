"""How much memory is free, asked of the system each time. Imports torch only for a CUDA device."""

from __future__ import annotations

import contextlib
import ctypes
import os
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch

_CGROUP = Path("/sys/fs/cgroup")


def free_bytes(device: torch.device) -> int:
    """What a process may still allocate on the device, as far as it can be known."""
    if device.type == "cuda":
        import torch

        return int(torch.cuda.mem_get_info(device)[0])
    return min(_free_of_machine(), _free_of_container())


def _free_of_machine() -> int:
    try:
        for line in Path("/proc/meminfo").read_text(encoding="ascii").splitlines():
            if line.startswith("MemAvailable:"):
                return int(line.split()[1]) * 1024
    except (OSError, ValueError, IndexError):
        pass
    try:  # macOS gives no cheap figure of what is free: three quarters of all memory
        return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") * 3 // 4
    except (OSError, ValueError):
        return 1 << 62


def _free_of_container() -> int:
    try:
        limit = int((_CGROUP / "memory.max").read_text(encoding="ascii"))
        used = int((_CGROUP / "memory.current").read_text(encoding="ascii"))
        cache = 0
        for line in (_CGROUP / "memory.stat").read_text(encoding="ascii").splitlines():
            if line.startswith("inactive_file "):
                cache = int(line.split()[1])
    except (OSError, ValueError):  # no cgroup, or "max"
        return 1 << 62
    return max(0, limit - used + cache)


def give_back() -> None:
    """Hand freed memory to the system, where the C library would keep it.

    glibc keeps freed blocks of up to 32 MB in its heaps: a thousand states of 13 MB, of which 76 are held at a time,
    made a process of 4 GB (measured). 1 to 20 ms, so not on the thread of the interface.
    """
    with contextlib.suppress(AttributeError, OSError):  # another C library
        ctypes.CDLL(None).malloc_trim(0)


def readable(n_bytes: int) -> str:
    """`3.2 GB`, `450 MB`."""
    return f"{n_bytes / 1e9:.1f} GB" if n_bytes >= 1e9 else f"{n_bytes / 1e6:.0f} MB"
