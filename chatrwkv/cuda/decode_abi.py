"""The kernels of a step of RWKV-7 as ctypes sees them: the mirror of `decode_calls.h`. Torch-free.

They are compiled together, as `decode7`, in fp16 and bf16; each has a form for up to 8 rows and one for up to 16.
"""

from __future__ import annotations

import ctypes
from ctypes import POINTER, Structure, c_int, c_void_p
from enum import IntEnum
from typing import TYPE_CHECKING

from chatrwkv.cuda.abi import Geometry, NumberType

if TYPE_CHECKING:
    from collections.abc import Callable

UNIT = "decode7"
"""The file that has them all."""
KERNELS = ("mix7", "products7", "token7", "values7")
MOST_ROWS = 16
MOST_PRODUCTS = 7
MAX_HEAD_SIZE = 64
GROUP = 64  # columns of an int8 matrix with one scale
RANGE = 512  # inputs of a block of `values7`, or a multiple
TYPES = (NumberType.FP16, NumberType.BF16)

# As in the .cuh files; tests/cuda compares them with what the launchers do.
_THREADS = {"mix7": 256, "products7": 256, "token7": 512, "values7": 256}
_MIX_SLICE = 1024
_OUTPUTS = 16
_STRIPS = (64, 128)  # outputs of a block of `values7`: of 16-bit weights, of bytes


class Act(IntEnum):
    """rwkv_act: what a product goes through."""

    NONE = 0
    TANH = 1
    SIGMOID = 2
    DECAY = 3
    SQUARED_RELU = 4
    ADD = 5


class MixCall(Structure):
    """rwkv_mix_call."""

    _fields_ = (
        *((name, c_void_p) for name in ("ids", "emb", "x", "weight", "bias", "mix", "shift", "y")),
        *((name, c_int) for name in ("n_rows", "n_channels", "n_views")),
    )


class Product(Structure):
    """rwkv_product."""

    _fields_ = (
        *((name, c_void_p) for name in ("weight", "scale", "x", "bias", "y")),
        *((name, c_int) for name in ("n_out", "n_in", "act", "is_wide")),
    )


class ProductsCall(Structure):
    """rwkv_products_call."""

    _fields_ = (("matrix", Product * MOST_PRODUCTS), ("n_matrices", c_int), ("n_rows", c_int))


class TokenCall(Structure):
    """rwkv_token_call."""

    _fields_ = (
        *((name, c_void_p) for name in ("r", "k", "v", "decay", "a", "g", "v_gate", "v_first")),
        *((name, c_void_p) for name in ("k_k", "k_a", "r_k", "ln_weight", "ln_bias", "state", "y")),
        *((name, c_int) for name in ("n_rows", "n_heads", "head_size")),
    )


class ValuesCall(Structure):
    """rwkv_values_call."""

    _fields_ = (
        *((name, c_void_p) for name in ("weight", "scale", "k", "x", "parts", "counters")),
        *((name, c_int) for name in ("n_rows", "n_wide", "n_channels", "range", "is_skipping")),
    )


DecodeCall = MixCall | ProductsCall | TokenCall | ValuesCall
CALLS: dict[str, type[Structure]] = {
    "mix7": MixCall,
    "products7": ProductsCall,
    "token7": TokenCall,
    "values7": ValuesCall,
}


def geometry(kernel: str, call: DecodeCall, number_type: NumberType) -> Geometry:
    """What the launchers of `decode7.cu` do, for the driver API."""
    name = f"rwkv_{kernel}_{number_type.name.lower()}"
    tiles = f"_{1 if call.n_rows <= MOST_ROWS // 2 else 2}"
    if isinstance(call, MixCall):
        n_blocks = call.n_rows * _parts(call.n_channels, _MIX_SLICE)
    elif isinstance(call, ProductsCall):
        name += tiles
        n_blocks = sum(_parts(call.matrix[i].n_out, _OUTPUTS) for i in range(call.n_matrices))
    elif isinstance(call, TokenCall):
        n_blocks = call.n_rows * call.n_heads
    else:
        is_coarse = call.scale is not None
        kind = "int8_" if is_coarse else ""
        name = f"rwkv_{kernel}_{kind}{number_type.name.lower()}{tiles}"
        n_blocks = _parts(call.n_channels, _STRIPS[is_coarse]) * _parts(call.n_wide, call.range)
    return Geometry(name, n_blocks, _THREADS[kernel])


def kernel_names() -> list[str]:
    """The functions of `decode7`."""
    names = []
    for number_type in TYPES:
        kind = number_type.name.lower()
        names += [f"rwkv_{kernel}_{kind}" for kernel in ("mix7", "token7")]
        for tiles in (1, 2):
            names += [f"rwkv_{kernel}_{kind}_{tiles}" for kernel in ("products7", "values7")]
            names.append(f"rwkv_values7_int8_{kind}_{tiles}")
    return names


def value_range(n_wide: int, n_channels: int) -> int:
    """Inputs of a block of `values7`: so few that the blocks fill a GPU, so many that few parts are to be summed."""
    most_blocks = 1024  # a processor has 2 to 4 of them at a time, the largest GPU 150 processors
    n_strips = _parts(n_channels, _STRIPS[0])
    size = RANGE
    while n_strips * _parts(n_wide, size) > most_blocks:
        size *= 2
    return size


def bind(library: ctypes.CDLL) -> dict[str, Callable[..., int]]:
    """The launchers of an opened library, by kernel, with their signatures set.

    Raises:
        OSError: it lacks one, or has other structures.
    """
    try:
        library.rwkv_cuda_decode_sizes.restype = c_int
        library.rwkv_cuda_decode_sizes.argtypes = (c_int,)
        functions = {kernel: getattr(library, f"rwkv_cuda_{kernel}") for kernel in KERNELS}
    except AttributeError as error:
        raise OSError(f"The library lacks a function: {error}") from error
    for kernel, function in functions.items():
        function.restype = c_int
        function.argtypes = (POINTER(CALLS[kernel]), c_int, c_void_p)
    found = [library.rwkv_cuda_decode_sizes(which) for which in range(len(KERNELS))]
    if found != [ctypes.sizeof(CALLS[kernel]) for kernel in KERNELS]:
        raise OSError(f"The library has structures of {found} bytes, which decode_abi.py does not mirror")
    return functions


def _parts(n: int, each: int) -> int:
    return -(-n // each)
