"""Which kernel of two that do the same is the faster one: measured once for each kind of shape, and remembered.

RWKV-7 is there token after token and in chunks on tensor cores. Which one wins depends on how many heads
fill the GPU and how long the prompt is, so no table in the source could tell.
"""

from __future__ import annotations

import json
import logging
import os
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING

import torch

from chatrwkv.cuda.abi import max_head_size

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

_log = logging.getLogger(__name__)

SEQUENTIAL, CHUNKED = "wkv7", "wkv7_chunked"
# Two chunks: below that the chunked form computes mostly padding.
_FEWEST_TOKENS = 32
_ROUNDS = 3


def event_seconds(work: Callable[[], object]) -> float:
    """The best of some rounds, by events on the current CUDA stream; one more goes before them."""
    work()
    best = float("inf")
    for _ in range(_ROUNDS):
        start = torch.cuda.Event(enable_timing=True)  # type: ignore[no-untyped-call]  # torch has no types here
        end = torch.cuda.Event(enable_timing=True)  # type: ignore[no-untyped-call]
        start.record()
        work()
        end.record()
        end.synchronize()
        best = min(best, start.elapsed_time(end) / 1e3)
    return best


class Forms:
    """The choices of one device.

    Args:
        has_chunked: whether the chunked kernel passed its test there.
        place: where they are kept; what names the device and the kernels is part of its name.
        seconds: how long some work takes.
    """

    def __init__(
        self,
        *,
        has_chunked: bool,
        place: Path | None = None,
        seconds: Callable[[Callable[[], object]], float] = event_seconds,
    ) -> None:
        self._has_chunked = has_chunked
        self._place = place
        self._seconds = seconds
        self.choices: dict[str, str] = _stored(place)
        """Kind of shape: name of the kernel."""

    def best(self, shape: tuple[int, ...], dtype: torch.dtype, run: Callable[[str], object]) -> str:
        """The kernel for vectors of `shape` (B, T, H, N).

        Args:
            shape: see above.
            dtype: of the vectors.
            run: does the whole work with a kernel, on copies of what it changes.
        """
        n_rows, n_tokens, n_heads, size = shape
        if not self._has_chunked or n_tokens < _FEWEST_TOKENS or size > max_head_size(CHUNKED):
            return SEQUENTIAL
        # Powers of two: a prompt of another length must not be measured again.
        kind = f"{dtype} N{size} T{n_tokens.bit_length()} heads{(n_rows * n_heads).bit_length()}"
        if kind not in self.choices:
            times = {name: self._seconds(partial(run, name)) for name in (SEQUENTIAL, CHUNKED)}
            self.choices[kind] = min(times, key=times.__getitem__)
            _log.info("%s: %s", kind, times)
            self._keep()
        return self.choices[kind]

    def _keep(self) -> None:
        if self._place is None:
            return
        with suppress(OSError):  # else they are measured again next time, in milliseconds
            part = self._place.with_suffix(f".{os.getpid()}.part")
            part.write_text(json.dumps(self.choices, indent=1))
            part.replace(self._place)


def _stored(place: Path | None) -> dict[str, str]:
    if place is None:
        return {}
    with suppress(OSError, ValueError):
        stored = json.loads(place.read_text())
        if isinstance(stored, dict):
            return {str(kind): name for kind, name in stored.items() if name in (SEQUENTIAL, CHUNKED)}
    return {}
