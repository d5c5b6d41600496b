"""The kernels on the host: how they are compiled there, and one call with guarded memory."""

from __future__ import annotations

import ctypes
from pathlib import Path
from typing import TYPE_CHECKING

import torch

from chatrwkv.cuda import abi, decode_abi, nvrtc
from chatrwkv.cuda.abi import ChannelsCall, HeadsCall, NumberType
from chatrwkv.engine import build

if TYPE_CHECKING:
    from chatrwkv.engine.cuda_ops import AnyCall

HERE = Path(__file__).parent
TYPES = {torch.float32: NumberType.FP32, torch.float16: NumberType.FP16, torch.bfloat16: NumberType.BF16}
_GUARD = 96  # numbers before and behind what a kernel may write
_MARK = 77.0


def recipe() -> build.Recipe:
    units = [build.Unit(path) for path in [*sorted(abi.SOURCES.glob("*.cu")), HERE / "shim_api.cpp"]]
    headers = [*nvrtc.headers(), HERE / "host_shim.h"]
    # -O1 compiles three times as fast as -O3 and runs these small cases in the same time
    flags = ("-std=c++17", "-O1", "-fPIC", "-ffp-contract=off", "-Wall", "-Wextra", "-Werror")
    places = (f"-I{abi.SOURCES}", f"-I{HERE}", "-x", "c++")
    return build.Recipe("rwkv-cuda-shim", tuple(units), tuple(headers), (*flags, *places), ("-ldl",))


class Guarded:
    """A copy of a tensor with marks around it that a kernel must leave alone."""

    def __init__(self, tensor: torch.Tensor) -> None:
        self.room = torch.full((tensor.numel() + 2 * _GUARD,), _MARK, dtype=tensor.dtype)
        self.tensor = self.room[_GUARD : _GUARD + tensor.numel()].view(tensor.shape)
        self.tensor.copy_(tensor)

    def checked(self) -> torch.Tensor:
        assert (self.room[:_GUARD] == _MARK).all(), "written before the start"
        assert (self.room[-_GUARD:] == _MARK).all(), "written behind the end"
        return self.tensor


def address(tensor: torch.Tensor | None) -> int | None:
    return None if tensor is None else tensor.data_ptr()


def run_heads(library: ctypes.CDLL, generation: str, tensors, lengths=None):
    """`tensors`: r, k, v (B, T, H, N), log_decay, state, and a, b or u. Returns y and the state."""
    x = {name: tensor.contiguous() for name, tensor in tensors.items()}
    state, y = Guarded(x["state"]), Guarded(torch.full_like(x["r"], torch.nan))
    rows = None if lengths is None else torch.tensor(lengths, dtype=torch.int32)
    call = HeadsCall(
        *(address(x.get(name)) for name in ("r", "k", "v", "a", "b", "log_decay", "u")),
        *(address(rows), address(state.tensor), address(y.tensor)),
        *x["r"].shape,
    )
    launch(library, generation, call, x["r"].dtype)
    return y.checked(), state.checked()


def run_channels(library: ctypes.CDLL, tensors, lengths=None, log_eps=None):
    """`tensors`: k, v (B, T, C), w, u (C), aa, bb, pp (B, C). Returns y and the three sums."""
    x = {name: tensor.contiguous() for name, tensor in tensors.items()}
    sums = [Guarded(x[name]) for name in ("aa", "bb", "pp")]
    y = Guarded(torch.full_like(x["k"], torch.nan))
    rows = None if lengths is None else torch.tensor(lengths, dtype=torch.int32)
    call = ChannelsCall(
        *(address(x[name]) for name in ("k", "v", "w", "u")),
        address(rows),
        *(address(part.tensor) for part in sums),
        address(y.tensor),
        log_eps or 0.0,
        log_eps is not None,
        *x["k"].shape,
    )
    launch(library, "wkv4", call, x["k"].dtype)
    return y.checked(), [part.checked() for part in sums]


def launch(library: ctypes.CDLL, generation: str, call: abi.Call, dtype: torch.dtype) -> None:
    launch_checked(library, generation, call, TYPES[dtype])


def launch_checked(library: ctypes.CDLL, kernel: str, call: AnyCall, number_type: NumberType) -> None:
    """Launch, and compare what was launched with what the driver API would be told."""
    code = getattr(library, f"rwkv_cuda_{kernel}")(ctypes.byref(call), number_type, None)
    assert code == 0, code
    if isinstance(call, abi.Call):
        geometry = abi.geometry(kernel, call, number_type)
    else:
        geometry = decode_abi.geometry(kernel, call, number_type)
    if geometry.n_blocks:
        last = (library.shim_last_blocks(), library.shim_last_threads())
        assert last == (geometry.n_blocks, geometry.n_threads)
