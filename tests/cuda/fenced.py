"""Run as a program with the path of the shim: every kernel on memory that ends, or starts, at a forbidden page.

A read beyond an input that changes no result would pass every comparison and stop a GPU. Here it ends the process.
"""

from __future__ import annotations

import ctypes
import mmap
import sys
from dataclasses import fields, is_dataclass, replace
from functools import partial
from typing import Any
from unittest.mock import patch

import torch

from chatrwkv.cuda import abi, decode_abi
from chatrwkv.engine.cuda_decode import Decoder
from chatrwkv.engine.cuda_ops import launch_channels, launch_heads
from chatrwkv.engine.cuda_selftest import step_models
from chatrwkv.engine.models.rwkv7 import blank
from chatrwkv.engine.spec import detect
from tests.checkpoints import Size, rwkv7
from tests.cuda.test_ops import launch_of
from tests.cuda.test_shim import channels, heads

_PAGE = mmap.PAGESIZE
_PROT_NONE = 0
_rooms: list[mmap.mmap] = []


def fenced(tensor: torch.Tensor, *, at_end: bool) -> torch.Tensor:
    """A copy whose last byte is the last before a forbidden page, or its first the first behind one."""
    n_pages = -(-tensor.nbytes // _PAGE)
    room = mmap.mmap(-1, (n_pages + 2) * _PAGE)
    _rooms.append(room)  # unmapped memory would be forbidden as well
    start = ctypes.addressof(ctypes.c_char.from_buffer(room))
    libc = ctypes.CDLL(None, use_errno=True)
    for page in (0, n_pages + 1):
        forbidden = libc.mprotect(ctypes.c_void_p(start + page * _PAGE), ctypes.c_size_t(_PAGE), _PROT_NONE)
        assert forbidden == 0
    offset = (n_pages + 1) * _PAGE - tensor.nbytes if at_end else _PAGE
    copy = torch.frombuffer(room, dtype=tensor.dtype, count=tensor.numel(), offset=offset)
    return copy.view(tensor.shape).copy_(tensor)


def run(shim: ctypes.CDLL) -> None:
    launch = launch_of(shim)
    for at_end in (False, True):
        for dtype in (torch.float32, torch.float16):
            for size, n_tokens in ((64, 16), (40, 5), (8, 17), (128, 9)):
                for generation in abi.HEAD_KERNELS:
                    if size > abi.max_head_size(generation):
                        continue
                    x = {
                        n: fenced(t, at_end=at_end)
                        for n, t in heads(generation, 1, n_tokens, 2, size, dtype).items()
                    }
                    launch_heads(launch, generation, x, x.pop("state"), None)
                x = {n: fenced(t, at_end=at_end) for n, t in channels(1, n_tokens, size + 1, dtype).items()}
                sums = fenced(torch.stack([x.pop(name) for name in ("aa", "bb", "pp")]), at_end=at_end)
                launch_channels(launch, x, sums, None, None)


def run_step(shim: ctypes.CDLL) -> None:
    """Every array of a step of a small model, each in a place of its own, on either side of a page."""
    for at_end in (False, True):
        for kind in ("", "int8"):
            tensors = rwkv7(Size(1, 80, 40, 17, 592))
            spec = detect({name: tuple(tensor.shape) for name, tensor in tensors.items()})
            model, _ = step_models(spec, tensors, torch.float16, kind, torch.device("cpu"))
            decoder = Decoder(model, launch_of(shim))
            decoder.layers = [moved(layer, at_end=at_end) for layer in decoder.layers]
            decoder.weights = moved(decoder.weights, at_end=at_end)
            decoder.head = moved(decoder.head, at_end=at_end)
            state = [fenced(tensor, at_end=at_end) for tensor in blank(spec, 3).values()]
            with patch("torch.empty", partial(fenced_room, at_end)):
                decoder.step(fenced(torch.tensor([1, 2, 16]), at_end=at_end), state, is_skipping=False)


def fenced_room(at_end: bool, *args: Any, **keywords: Any) -> torch.Tensor:
    return fenced(torch.zeros(*args, **keywords), at_end=at_end)


def moved(part: Any, *, at_end: bool) -> Any:
    """Its tensors between forbidden pages; those that lie the other way keep their place."""
    if isinstance(part, torch.Tensor):
        return fenced(part, at_end=at_end) if part.is_contiguous() else part
    if isinstance(part, tuple):
        return tuple(moved(one, at_end=at_end) for one in part)
    if is_dataclass(part) and not isinstance(part, type):
        return replace(part, **{f.name: moved(getattr(part, f.name), at_end=at_end) for f in fields(part)})
    return part


if __name__ == "__main__":
    if sys.argv[2:] == ["too far"]:
        three = fenced(torch.zeros(3), at_end=True)
        ctypes.memmove(ctypes.create_string_buffer(16), three.data_ptr(), 16)
    library = abi.open_library(sys.argv[1])
    decode_abi.bind(library)
    run(library)
    run_step(library)
    sys.stdout.write("fenced")
