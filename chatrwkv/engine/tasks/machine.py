"""What the machine can do at most: read memory, multiply matrices; and what others take of it meanwhile.

T tokens   C side of a square matrix
"""

from __future__ import annotations

import os
import statistics
import time
from collections import defaultdict
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import torch

from chatrwkv.engine import kernels, quant
from chatrwkv.engine.native import abi

if TYPE_CHECKING:
    from collections.abc import Callable

_READ_BYTES = 512 << 20  # far beyond any cache
_SIDE, _TOKENS = 2048, 256  # a block of a prefill through a matrix of a 1.5B
# A GPU would be done with these before it is asked again: a millisecond at least on the fastest there are.
_GPU_READ_BYTES, _GPU_SIDE, _GPU_TOKENS = 4 << 30, 8192, 4096
_TRIES = 3
_KINDS = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}


class Machine:
    """Rates of one device, measured once in each round.

    Args:
        device: where the model runs.
        n_threads: on the CPU.
        dtype: of the model, whose native product is measured beside those of torch.
    """

    def __init__(self, device: torch.device, n_threads: int, dtype: str) -> None:
        self._device = device
        is_cpu = device.type == "cpu"
        self._read_bytes = _READ_BYTES if is_cpu else _GPU_READ_BYTES
        self._shape = (_TOKENS, _SIDE) if is_cpu else (_GPU_TOKENS, _GPU_SIDE)
        self._reads: list[float] = []
        self._rates: dict[str, list[float]] = defaultdict(list)
        self._products = dict(_torch_products(device, *self._shape))
        library = kernels.library() if device.type == "cpu" else None
        if library is None:
            memory = torch.ones(self._read_bytes // 4, device=device)
            self._read: Callable[[], object] = memory.sum
            return
        engine = kernels.Engine(library, n_threads)
        area = quant.allocate(_READ_BYTES)
        area[:] = 1  # pages that were never written are all the same one
        self._read = lambda: engine.read(area.ctypes.data, area.nbytes)
        if dtype in quant.FORMATS:
            self._products[f"native {dtype}"] = _native_product(engine, quant.FORMATS[dtype])

    def measure(self) -> None:
        """One round."""
        self._reads += (self._read_bytes / self._seconds(self._read) for _ in range(_TRIES))
        n_tokens, side = self._shape
        n_operations = 2 * n_tokens * side * side
        for name, product in self._products.items():
            self._rates[name].append(n_operations / min(self._seconds(product) for _ in range(_TRIES)))

    @property
    def read_bytes_s(self) -> float:
        """Bytes a second: the median."""
        return statistics.median(self._reads)

    @property
    def products(self) -> dict[str, float]:
        """Operations a second of each kind of product, two a multiplication: medians."""
        return {name: statistics.median(rates) for name, rates in self._rates.items()}

    def least_s(self, n_bytes: int, n_multiplications: int = 0) -> float:
        """What so many bytes, or so many multiplications, take at least."""
        return max(n_bytes / self.read_bytes_s, 2 * n_multiplications / max(self.products.values()))

    def _seconds(self, work: Callable[[], object]) -> float:
        start = time.perf_counter()
        work()
        wait_for(self._device)
        return time.perf_counter() - start


class ForeignLoad:
    """Processors that others keep busy, from its making on; Linux tells, others do not."""

    def __init__(self) -> None:
        self._start = time.perf_counter()
        self._busy = _busy_s()

    def cores(self) -> float | None:
        """The mean so far."""
        if self._busy is None or (now := _busy_s()) is None:
            return None
        return max(0.0, now - self._busy) / max(1e-3, time.perf_counter() - self._start)


def wait_for(device: torch.device) -> None:
    """Work on a GPU goes on after the call that began it."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    elif device.type == "mps":
        torch.mps.synchronize()


def _torch_products(device: torch.device, n_tokens: int, side: int) -> dict[str, Callable[[], object]]:
    found: dict[str, Callable[[], object]] = {}
    for kind in ("fp32", "bf16") if device.type == "cpu" else ("fp16", "bf16"):
        x, w = (torch.ones(n, side, dtype=_KINDS[kind], device=device) for n in (n_tokens, side))
        found[f"torch {kind}"] = partial(torch.nn.functional.linear, x, w)
    return found


def _native_product(engine: kernels.Engine, kind: abi.Format) -> Callable[[], object]:
    w, x = torch.ones(_SIDE, _SIDE), torch.ones(_TOKENS, _SIDE)
    room, y = quant.allocate(engine.library.packed_bytes(kind, _SIDE, _SIDE)), torch.empty(_TOKENS, _SIDE)
    engine.pack(kind, w.data_ptr(), abi.Format.FP32, (_SIDE, _SIDE), (_SIDE, 1), room.ctypes.data)

    def product() -> None:
        matrix = abi.Matrix(room.ctypes.data, _SIDE, _SIDE, kind, 0)
        engine.matmul(matrix, x.data_ptr(), _TOKENS, y.data_ptr())

    return product


def _busy_s() -> float | None:
    """Processor seconds of everybody but this process since the system was started."""
    try:
        first = Path("/proc/stat").read_text(encoding="ascii").split("\n", 1)[0]
        user, nice, system, _idle, _waiting, *others = map(int, first.split()[1:9])
    except (OSError, ValueError):
        return None
    # interrupts count as others'; time that a virtual machine did not get counts too
    return (user + nice + system + sum(others)) / os.sysconf("SC_CLK_TCK") - sum(os.times()[:4])
