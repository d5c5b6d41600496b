"""Draws where the logits are: of 65,536 numbers a row only the drawn id and eight candidates leave the device.

    queue(wishes)   right after a step, before its logits are there: one small copy in, one kernel, one small copy out
    collect()       waits for them

What the kernel cannot tell, of many equal logits or far down a flat distribution, is not among the answers; its
logits are then fetched and drawn from as on a CPU. Locally typical sampling, which needs the whole vocabulary, is
never asked for. Chance is drawn on the host, so a seed gives the same reply wherever it is drawn.
"""

from __future__ import annotations

import ctypes
from itertools import accumulate
from typing import TYPE_CHECKING, Generic, Self, TypeVar

import numpy as np
import torch

from chatrwkv.cuda.abi import DrawCall, Drawn, DrawRow, NumberType
from chatrwkv.engine import cuda_kernels
from chatrwkv.engine.cuda_ops import current, queue
from chatrwkv.engine.sampling import COLDEST, Granted

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from torch import Tensor

    from chatrwkv.engine.cuda_ops import Launch
    from chatrwkv.engine.sampling import Wish

K = TypeVar("K")

KERNEL = "draw"
_FEWEST_BYTES = 1024
_ALIGNMENT = 16
_LARGEST_POWER = 1e30  # a temperature of 0 all but in name; beyond float32, 0 * inf would be no number


class DeviceDraws(Generic[K]):
    """The draws of one device; no more than one lot is under way.

    Args:
        launch: of a device whose `draw` kernel passed its test.
        device: where the logits are.
        n_vocab: V.
    """

    def __init__(self, launch: Launch, device: torch.device, n_vocab: int) -> None:
        self._launch = launch
        self._device = device
        self._n_vocab = n_vocab
        self._queued: tuple[K, ...] = ()
        self._asked = _Mirrored(device)
        self._drawn = _Mirrored(device)
        self._scratch = torch.empty(0, device=device)
        self._event = torch.cuda.Event() if device.type == "cuda" else None  # type: ignore[no-untyped-call]  # torch

    @classmethod
    def ready(cls, device: torch.device, n_vocab: int) -> Self | None:
        """Those of a CUDA device, once its kernel is built and tested."""
        launch = cuda_kernels.launcher(device, KERNEL)
        return None if launch is None else cls(launch, device, n_vocab)

    def queue(self, wishes: Mapping[K, tuple[Wish, Tensor, Tensor | None]]) -> None:
        """Let the device draw once what is queued before is done.

        Args:
            wishes: each with its logits (V,), and those beside if it is guided; float32 and contiguous, there.
        """
        self._queued = tuple(wishes)
        n = len(wishes)
        if not n:
            return
        if self._scratch.numel() < n * self._n_vocab:
            self._scratch = torch.empty(n * self._n_vocab, device=self._device)
        with current(self._device):
            places = self._asked.send(_packed(list(wishes.values())))
            drawn = self._drawn.room(n * ctypes.sizeof(Drawn))
            call = DrawCall(*places, self._scratch.data_ptr(), drawn, n, self._n_vocab)
            queue(self._launch, KERNEL, call, NumberType.FP32, self._device)
            self._drawn.fetch()
            if self._event is not None:
                self._event.record()

    def collect(self) -> dict[K, Granted]:
        """The answers to what was queued, each once."""
        queued, self._queued = self._queued, ()
        if self._event is not None and queued:
            self._event.synchronize()
        found = (Drawn * len(queued)).from_buffer_copy(
            self._drawn.fetched(len(queued) * ctypes.sizeof(Drawn))
        )
        return {key: _answer(one) for key, one in zip(queued, found, strict=True) if one.is_drawn}


class _Mirrored:
    """Bytes on a device and in pinned memory, copied from one to the other without waiting."""

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self._make(_FEWEST_BYTES)

    def room(self, n_bytes: int) -> int:
        """The address of so much on the device."""
        if n_bytes > len(self._here):
            self._make(2 * n_bytes)
        self._size = n_bytes
        return self._there.data_ptr()

    def send(self, parts: Sequence[bytes]) -> list[int]:
        """Copy to the device; the address of each part."""
        starts = list(accumulate((-(-len(part) // _ALIGNMENT) * _ALIGNMENT for part in parts), initial=0))
        start = self.room(starts[-1])
        for part, at in zip(parts, starts, strict=False):
            ctypes.memmove(self._here.data_ptr() + at, part, len(part))
        self._there[: self._size].copy_(self._here[: self._size], non_blocking=True)
        return [start + at for at in starts[:-1]]

    def fetch(self) -> None:
        """Copy from the device."""
        self._here[: self._size].copy_(self._there[: self._size], non_blocking=True)

    def fetched(self, n_bytes: int) -> bytes:
        """What was copied, once it is there."""
        return ctypes.string_at(self._here.data_ptr(), n_bytes)

    def _make(self, n_bytes: int) -> None:
        self._there = torch.empty(n_bytes, dtype=torch.uint8, device=self._device)
        self._here = torch.empty(n_bytes, dtype=torch.uint8, pin_memory=self._device.type == "cuda")
        self._size = 0


def _packed(wishes: Sequence[tuple[Wish, Tensor, Tensor | None]]) -> list[bytes]:
    """Rows, the ids of all their penalties and bans, and the penalties of these ids."""
    ids = [part for wish, *_ in wishes for part in (wish.rules.penalised, wish.rules.banned)]
    first = list(accumulate((len(part) for part in ids), initial=0))
    rows = (DrawRow * len(wishes))(*(_row(*wish, first[2 * i :]) for i, wish in enumerate(wishes)))
    penalties = np.zeros(first[-1], np.float32)
    for i, (wish, *_) in enumerate(wishes):
        penalties[first[2 * i] : first[2 * i + 1]] = wish.rules.penalties
    return [bytes(rows), np.concatenate(ids).astype(np.int32).tobytes(), penalties.tobytes()]


def _row(wish: Wish, logits: Tensor, beside: Tensor | None, first: Sequence[int]) -> DrawRow:
    params, rules = wish.params, wish.rules
    is_greedy = params.temperature == 0
    is_flat = is_greedy or params.temp_first or params.has_mirostat
    first_penalty, first_ban, end = first[:3]
    return DrawRow(
        logits=logits.data_ptr(),
        beside=None if beside is None else beside.data_ptr(),
        chance=wish.chance,
        top_p=params.top_p,
        top_p_x=params.top_p_x,
        top_a=params.top_a,
        top_a_power=params.top_a_power,
        min_p=params.min_p,
        floor=wish.floor,
        cfg=params.cfg,
        beside_cfg=1 - params.cfg,
        divisor=max(params.temperature, COLDEST) if params.temp_first and not is_greedy else 1.0,
        power=1.0 if is_flat else min(1 / params.temperature, _LARGEST_POWER),
        newline_bias=rules.newline_bias,
        newline=wish.newline if rules.newline_bias and wish.newline is not None else -1,
        first_penalty=first_penalty,
        n_penalties=first_ban - first_penalty,
        first_ban=first_ban,
        n_bans=end - first_ban,
        top_k=params.top_k,
        is_greedy=is_greedy,
        forced=-1 if wish.forced is None else wish.forced,
    )


def _answer(drawn: Drawn) -> Granted:
    n = drawn.n_top
    top = tuple(zip(drawn.top_ids[:n], drawn.top_logprobs[:n], strict=True))
    return Granted(drawn.id, drawn.logprob, drawn.kept, top)
