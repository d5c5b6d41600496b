"""Builds and calls `wkv7.cpp`; without a compiler the trainer uses the chunked form instead.

The library goes into a cache folder under a name made of the source and the flags, so that an edit is
built once and never mixed up with an older build.
"""

from __future__ import annotations

import ctypes
import hashlib
import os
import shutil
import subprocess
import tempfile
from functools import cache
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

HEAD_SIZE = 64
EVERY = 16
"""Tokens between two saved states, as in the source."""
_SOURCE = Path(__file__).with_name("wkv7.cpp")
# The freedoms of -ffast-math one by one: that flag itself links start-up code which makes the whole process
# flush subnormal numbers to zero.
_FREE_MATH = (
    "-fno-math-errno",
    "-fno-trapping-math",
    "-fno-signed-zeros",
    "-fassociative-math",
    "-ffinite-math-only",
)
_FLAGS = ("-O3", "-march=native", *_FREE_MATH, "-std=c++17", "-shared", "-fPIC")


@cache
def library() -> ctypes.CDLL | None:
    """The compiled kernel, or None where no C++ compiler is found."""
    compiler = os.environ.get("CXX") or shutil.which("g++") or shutil.which("clang++")
    if compiler is None:
        return None
    key = hashlib.sha256(_SOURCE.read_bytes() + " ".join((compiler, *_FLAGS)).encode()).hexdigest()[:16]
    folder = Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")) / "chatrwkv-training"
    target = folder / f"wkv7-{key}.so"
    if not target.exists():
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=folder) as work:
            built = Path(work) / "wkv7.so"
            command = [compiler, *_FLAGS, str(_SOURCE), "-o", str(built)]
            if subprocess.run(command, check=False, capture_output=True).returncode:  # noqa: S603 - our own source
                return None
            built.replace(target)
    return ctypes.CDLL(str(target))


def _arguments(parts: Tensor, *others: Tensor) -> list[ctypes.c_int64 | ctypes.c_void_p]:
    """Sizes B, T, H, then a pointer to each of the six inputs and to each further tensor."""
    sizes = [ctypes.c_int64(n) for n in parts.shape[1:4]]
    return sizes + [ctypes.c_void_p(t.data_ptr()) for t in (*parts.unbind(), *others)]


@torch.library.custom_op("chatrwkv_training::wkv7", mutates_args=())
def wkv7(parts: Tensor, starts: Tensor) -> tuple[Tensor, Tensor]:
    """The recurrence over packed rows.

    Args:
        parts: (6, B, T, H, 64) float32: r, decay, k, v, a, b.
        starts: (B, T) int64, 1 where a document starts.

    Returns:
        y (B, T, H, 64), and the saved states for the gradient.
    """
    parts, starts = parts.contiguous(), starts.contiguous()
    y, saved = _outputs(parts)
    kernel = library()
    assert kernel is not None
    kernel.wkv7_forward(*_arguments(parts, starts, y, saved))
    return y, saved


def _outputs(parts: Tensor) -> tuple[Tensor, Tensor]:
    _, B, T, H, N = parts.shape
    return parts.new_empty(B, T, H, N), parts.new_empty(B, H, -(-T // EVERY), N, N)


@wkv7.register_fake
def _(parts: Tensor, starts: Tensor) -> tuple[Tensor, Tensor]:
    del starts
    return _outputs(parts)


@torch.library.custom_op("chatrwkv_training::wkv7_backward", mutates_args=())
def wkv7_backward(parts: Tensor, starts: Tensor, saved: Tensor, dy: Tensor) -> Tensor:
    """The gradient of `parts`."""
    parts, starts, saved, dy = (x.contiguous() for x in (parts, starts, saved, dy))
    grad = torch.empty_like(parts)
    kernel = library()
    assert kernel is not None
    kernel.wkv7_backward(*_arguments(parts, starts, saved, dy, *grad.unbind()))
    return grad


@wkv7_backward.register_fake
def _(parts: Tensor, starts: Tensor, saved: Tensor, dy: Tensor) -> Tensor:
    del starts, saved, dy
    return torch.empty_like(parts)


def _setup(ctx: Any, inputs: tuple[Tensor, Tensor], output: tuple[Tensor, Tensor]) -> None:
    ctx.save_for_backward(*inputs, output[1])


def _backward(ctx: Any, dy: Tensor, _: Tensor) -> tuple[Tensor, None]:
    return wkv7_backward(*ctx.saved_tensors, dy), None


wkv7.register_autograd(_backward, setup_context=_setup)

AVAILABLE = library() is not None
"""Whether the kernel could be built here; fixed at import, since compiled blocks cannot ask."""
