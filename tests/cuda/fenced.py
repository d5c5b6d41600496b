"""Run as a program with the path of the shim: every kernel on memory that ends, or starts, at a forbidden page.

A read beyond an input that changes no result would pass every comparison and stop a GPU. Here it ends the process.
"""

from __future__ import annotations

import ctypes
import mmap
import sys

import torch

from chatrwkv.cuda import abi
from chatrwkv.engine.cuda_ops import launch_channels, launch_heads
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


if __name__ == "__main__":
    if sys.argv[2:] == ["too far"]:
        three = fenced(torch.zeros(3), at_end=True)
        ctypes.memmove(ctypes.create_string_buffer(16), three.data_ptr(), 16)
    run(abi.open_library(sys.argv[1]))
    sys.stdout.write("fenced")
