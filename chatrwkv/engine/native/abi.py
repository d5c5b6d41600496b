"""The C ABI of `abi.h` as ctypes sees it. Sizes are compared at run time: a wrong mirror is refused."""

from __future__ import annotations

import ctypes
from ctypes import POINTER, Structure, c_char_p, c_double, c_float, c_int32, c_int64, c_void_p
from enum import IntEnum

ABI_VERSION = 2
MAX_TOKENS = 256
TILE_ROWS = 16
GROUP = 64
HEAD_ERROR = 5e-6

FloatPointer = POINTER(c_float)


class Format(IntEnum):
    """How numbers are stored; FP16 only in files."""

    FP32 = 0
    BF16 = 1
    INT8 = 2
    INT4 = 3
    FP16 = 4


class Matrix(Structure):
    """rwkv_matrix."""

    _fields_ = (
        ("data", c_void_p),
        ("rows", c_int32),
        ("cols", c_int32),
        ("format", c_int32),
        ("reserved", c_int32),
    )


LAYER_VECTORS = (
    *("ln1_weight", "ln1_bias", "ln2_weight", "ln2_bias", "mixes", "ffn_mixes", "ln_x_weight", "ln_x_bias"),
    *("decay", "bonus", "k_clamp", "w0", "a0", "v0", "k_k", "k_a", "r_k"),
)
LAYER_MATRICES = (
    *("receptance", "key", "value", "output", "gate", "w1", "w2", "a1", "a2", "v1", "v2", "g1", "g2"),
    *("xr1", "xk1", "xv1", "xg1", "xw1", "xr2", "xk2", "xv2", "xg2", "xw2"),
    *("ffn_key", "ffn_value", "ffn_receptance"),
)


class Layer(Structure):
    """rwkv_layer."""

    _fields_ = (
        *((name, c_void_p) for name in LAYER_VECTORS),
        *((name, Matrix) for name in LAYER_MATRICES),
    )


class Model(Structure):
    """rwkv_model."""

    _fields_ = (
        *(
            (name, c_int32)
            for name in (
                *("struct_bytes", "layer_bytes", "generation", "n_layer", "n_embd", "n_head", "head_size"),
                *("n_ffn", "n_vocab", "emb_format"),
            )
        ),
        ("emb", c_void_p),
        ("ln0_weight", c_void_p),
        ("ln0_bias", c_void_p),
        ("ln_out_weight", c_void_p),
        ("ln_out_bias", c_void_p),
        ("head", Matrix),
        ("layers", POINTER(Layer)),
    )


STATE_TENSORS = ("att_shift", "ffn_shift", "aa", "bb", "pp", "wkv")


class State(Structure):
    """rwkv_state."""

    _fields_ = (
        *((name, c_void_p) for name in STATE_TENSORS),
        ("vector_layer_stride", c_int64),
        ("vector_row_stride", c_int64),
        ("wkv_layer_stride", c_int64),
        ("wkv_row_stride", c_int64),
    )


class PoolStats(Structure):
    """rwkv_pool_stats."""

    _fields_ = (
        ("passes", c_int64),
        ("alone", c_int64),
        ("probes", c_int64),
        ("prefetch", c_int64),
        ("is_skipping", c_int64),
    )


class HeadSums(Structure):
    """rwkv_head_sums."""

    _fields_ = (("best", c_double), ("total", c_double))


_SIGNATURES = {
    "rwkv_abi": (c_int32, ()),
    "rwkv_isa": (c_char_p, (c_int32,)),
    "rwkv_best_isa": (c_int32, ()),
    "rwkv_engine_new": (c_void_p, (c_int32, c_int32)),
    "rwkv_engine_free": (None, (c_void_p,)),
    "rwkv_engine_threads": (None, (c_void_p, c_int32)),
    "rwkv_engine_skip": (None, (c_void_p, c_int32)),
    "rwkv_engine_stats": (None, (c_void_p, POINTER(PoolStats))),
    "rwkv_packed_bytes": (c_int64, (c_int32, c_int32, c_int32)),
    "rwkv_pack": (
        c_int32,
        (c_void_p, c_int32, c_void_p, c_int32, c_int32, c_int32, c_int64, c_int64, c_void_p),
    ),
    "rwkv_head": (
        c_int32,
        (c_int32, c_void_p, c_int32, c_int32, c_int32, c_void_p, POINTER(HeadSums)),
    ),
    "rwkv_watch": (None, (c_void_p, c_void_p, c_int32, c_void_p)),
    "rwkv_unpack": (c_int32, (POINTER(Matrix), c_void_p)),
    "rwkv_forward": (
        c_int32,
        (c_void_p, POINTER(Model), POINTER(State), c_int32, c_void_p, c_void_p, c_void_p, c_void_p),
    ),
    "rwkv_read": (c_int32, (c_void_p, c_void_p, c_int64)),
    "rwkv_matmul": (c_int32, (c_void_p, POINTER(Matrix), c_void_p, c_int32, c_void_p)),
}


def open_library(path: str) -> ctypes.CDLL:
    """The library with its signatures set. CDLL, unlike PyDLL, lets other Python threads run meanwhile.

    Raises:
        OSError: it cannot be opened, or lacks a function.
    """
    library = ctypes.CDLL(path)
    for name, (result, arguments) in _SIGNATURES.items():
        try:
            function = getattr(library, name)
        except AttributeError as error:
            raise OSError(f"{path} lacks {name}") from error
        function.restype = result
        function.argtypes = arguments
    if library.rwkv_abi() != ABI_VERSION:
        raise OSError(f"{path} speaks version {library.rwkv_abi()} of the ABI instead of {ABI_VERSION}")
    return library
