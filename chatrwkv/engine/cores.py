"""The processor: how many cores this process may use, and what they can do."""

from __future__ import annotations

import os
import platform
from contextlib import suppress
from pathlib import Path


def default_threads() -> int:
    """The physical cores this process may use, within the CPU quota of its container."""
    try:
        allowed = os.sched_getaffinity(0)
    except AttributeError:  # not on macOS
        return max(1, (os.cpu_count() or 2) // (2 if platform.machine() == "x86_64" else 1))
    cores = set()
    for cpu in allowed:
        siblings = Path(f"/sys/devices/system/cpu/cpu{cpu}/topology/thread_siblings_list")
        try:
            cores.add(siblings.read_text(encoding="ascii").strip())
        except OSError:
            cores.add(str(cpu))
    n = len(cores)
    with suppress(OSError, ValueError):
        quota, period = Path("/sys/fs/cgroup/cpu.max").read_text(encoding="ascii").split()
        n = min(n, int(quota) // int(period))  # "max" is no number
    return max(1, n)


def cpu_features() -> str:
    """The flags line of the CPU, which enters the key of a build: another CPU, another self-test."""
    with suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text(encoding="ascii", errors="replace").splitlines():
            if line.lower().startswith(("flags", "features")):
                return line.partition(":")[2].strip()
    return platform.processor()
