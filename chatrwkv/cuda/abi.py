"""The kernels as ctypes sees them: the mirror of `calls.h`, and what a launch looks like without the launchers.

Sizes are compared when a library is opened: a wrong mirror is refused. Torch-free.
"""

from __future__ import annotations

import ctypes
from ctypes import POINTER, Structure, c_double, c_float, c_int, c_void_p
from dataclasses import dataclass
from enum import IntEnum
from pathlib import Path

SOURCES = Path(__file__).parent
MAX_HEAD_SIZE = 128
GENERATIONS = ("wkv4", "wkv5", "wkv6", "wkv7")
HEAD_KERNELS = ("wkv5", "wkv6", "wkv7", "wkv7_chunked")
"""The last one gives what `wkv7` gives, on tensor cores."""
RECURRENCES = ("wkv4", *HEAD_KERNELS)
KERNELS = (*RECURRENCES, "draw")
N_TOP = 8
"""Candidates reported with a draw."""

# As in heads.cuh, wkv7_chunked.cuh, wkv4.cuh and draw.cuh; tests/cuda compares them with what the launchers do.
_PADDED = (16, 32, 64, 128)
_ROWS = 16
_CHANNELS = 32
_DRAW_THREADS = 1024
_FIRST_TENSOR_ARCH = 80


class NumberType(IntEnum):
    """How r, k, v, a, b and y are stored; states, decays and bonuses are float32."""

    FP32 = 0
    FP16 = 1
    BF16 = 2


class HeadsCall(Structure):
    """rwkv_heads_call."""

    _fields_ = (
        *((name, c_void_p) for name in ("r", "k", "v", "a", "b", "log_decay", "u", "lengths", "state", "y")),
        *((name, c_int) for name in ("n_rows", "n_tokens", "n_heads", "head_size")),
    )


class ChannelsCall(Structure):
    """rwkv_channels_call."""

    _fields_ = (
        *((name, c_void_p) for name in ("k", "v", "w", "u", "lengths", "aa", "bb", "pp", "y")),
        ("log_eps", c_float),
        *((name, c_int) for name in ("has_eps", "n_rows", "n_tokens", "n_channels")),
    )


class DrawRow(Structure):
    """rwkv_draw_row."""

    _fields_ = (
        *((name, c_void_p) for name in ("logits", "beside")),
        *(
            (name, c_double)
            for name in ("chance", "top_p", "top_p_x", "top_a", "top_a_power", "min_p", "floor")
        ),
        *((name, c_float) for name in ("cfg", "beside_cfg", "divisor", "power", "newline_bias")),
        *((name, c_int) for name in ("newline", "first_penalty", "n_penalties", "first_ban", "n_bans")),
        *((name, c_int) for name in ("top_k", "is_greedy", "forced")),
    )


class Drawn(Structure):
    """rwkv_drawn."""

    _fields_ = (
        *(("is_drawn", c_int), ("id", c_int), ("logprob", c_float), ("kept", c_float), ("n_top", c_int)),
        *(("top_ids", c_int * N_TOP), ("top_logprobs", c_float * N_TOP)),
    )


class DrawCall(Structure):
    """rwkv_draw_call."""

    _fields_ = (
        *((name, c_void_p) for name in ("rows", "ids", "penalties", "scratch", "drawn")),
        *(("n_rows", c_int), ("n_vocab", c_int)),
    )


Call = HeadsCall | ChannelsCall | DrawCall
_CALLS: dict[str, type[Call]] = {
    "wkv4": ChannelsCall,
    "draw": DrawCall,
    **dict.fromkeys(HEAD_KERNELS, HeadsCall),
}


@dataclass(frozen=True, slots=True)
class Geometry:
    """Which kernel does a call, and in how many blocks of how many threads."""

    kernel: str
    n_blocks: int
    n_threads: int


def geometry(kernel: str, call: Call, number_type: NumberType) -> Geometry:
    """What the launchers of the `.cu` files do, for the driver API."""
    if isinstance(call, DrawCall):
        return Geometry("rwkv_draw", call.n_rows, _DRAW_THREADS)
    name = f"rwkv_{kernel}_{number_type.name.lower()}"
    if isinstance(call, ChannelsCall):
        n_blocks = -(-call.n_rows * call.n_channels // _CHANNELS)
        return Geometry(name, n_blocks if call.n_tokens else 0, _CHANNELS)
    padded = next(size for size in _PADDED if call.head_size <= size)
    n_blocks, n_threads = call.n_rows * call.n_heads, 2 * padded
    if kernel != "wkv7_chunked":
        n_blocks *= -(-call.head_size // _ROWS)
        n_threads = 64 if padded == _PADDED[0] else 128
    return Geometry(f"{name}_{padded}", n_blocks if call.n_tokens else 0, n_threads)


def max_head_size(kernel: str) -> int:
    """The largest head that a kernel takes."""
    return 64 if kernel == "wkv7_chunked" else MAX_HEAD_SIZE


def kernels_for(arch: str) -> tuple[str, ...]:
    """The kernels that an architecture, such as sm_90, can run: before sm_80 there are no tf32 products."""
    number = int(arch.removeprefix("sm_"))
    return tuple(name for name in KERNELS if number >= _FIRST_TENSOR_ARCH or name != "wkv7_chunked")


def kernel_names(kernel: str) -> list[str]:
    """The functions of a kernel: one for each number type and padded head size; the draw is one alone."""
    if kernel == "draw":
        return ["rwkv_draw"]
    names = [f"rwkv_{kernel}_{number_type.name.lower()}" for number_type in NumberType]
    if kernel == "wkv4":
        return names
    return [f"{name}_{size}" for name in names for size in _PADDED if size <= max_head_size(kernel)]


def open_library(path: str) -> ctypes.CDLL:
    """The compiled launchers with their signatures set. CDLL lets other Python threads run meanwhile.

    Raises:
        OSError: it cannot be opened, lacks a function, or has other structures.
    """
    library = ctypes.CDLL(path)
    try:
        library.rwkv_cuda_sizes.restype = c_int
        library.rwkv_cuda_sizes.argtypes = (c_int,)
        for kernel in KERNELS:
            function = getattr(library, f"rwkv_cuda_{kernel}")
            function.restype = c_int
            function.argtypes = (POINTER(_CALLS[kernel]), c_int, c_void_p)
    except AttributeError as error:
        raise OSError(f"{path} lacks a function: {error}") from error
    mirrors = (HeadsCall, ChannelsCall, DrawCall, DrawRow, Drawn)
    found = [library.rwkv_cuda_sizes(which) for which in range(len(mirrors))]
    if found != [ctypes.sizeof(mirror) for mirror in mirrors]:
        raise OSError(f"{path} has structures of {found} bytes, which abi.py does not mirror")
    return library
