"""The recurrences as torch operators: checks, the kernels on CUDA tensors, `ops` on all others.

    torch.ops.chatrwkv.wkv4(k, v, w, u, sums!, lengths, log_eps) -> y         sums (3, B, C): aa, bb, pp
    torch.ops.chatrwkv.wkv5(r, log_decay, k, v, u, s!, lengths) -> y        log_decay (H, N)
    torch.ops.chatrwkv.wkv6(r, log_decay, k, v, u, s!, lengths) -> y        log_decay (B, T, H, N)
    torch.ops.chatrwkv.wkv7(r, log_decay, k, v, a, b, s!, lengths) -> y

States (marked !) are float32 and overwritten; y has the type of the inputs and is zero behind a row's length.
Not differentiable: `recurrences` takes `ops` where gradients are wanted.
"""

from __future__ import annotations

from contextlib import nullcontext
from typing import TYPE_CHECKING, Protocol

import torch

from chatrwkv.cuda.abi import MAX_HEAD_SIZE, ChannelsCall, HeadsCall, NumberType
from chatrwkv.engine import cuda_kernels, ops
from chatrwkv.errors import DeviceLost

if TYPE_CHECKING:
    from collections.abc import Mapping
    from contextlib import AbstractContextManager

    from chatrwkv.cuda.abi import Call
    from chatrwkv.cuda.decode_abi import DecodeCall

    AnyCall = Call | DecodeCall

TYPES = {
    torch.float32: NumberType.FP32,
    torch.float16: NumberType.FP16,
    torch.bfloat16: NumberType.BF16,
}


class Launch(Protocol):
    """Queues a call of a kernel on a stream; returns the CUDA error code, 0 for none."""

    def __call__(self, kernel: str, call: AnyCall, number_type: NumberType, stream: int) -> int:
        """See the class."""
        ...


def is_servable(x: torch.Tensor) -> bool:
    """Whether a kernel takes vectors like x, (B, T, H, N) or (B, T, C)."""
    return x.dtype in TYPES and (x.ndim == 3 or x.shape[-1] <= MAX_HEAD_SIZE)


def _check(what: str, tensors: Mapping[str, torch.Tensor], shapes: Mapping[str, tuple[int, ...]]) -> None:
    device = next(iter(tensors.values())).device
    for name, tensor in tensors.items():
        if tuple(tensor.shape) != shapes[name]:
            raise ValueError(f"{what}: {name} has the shape {tuple(tensor.shape)} instead of {shapes[name]}.")
        if tensor.device != device:
            raise ValueError(f"{what}: {name} is on {tensor.device} instead of {device}.")


def _check_vectors(what: str, x: torch.Tensor, n_dims: int) -> None:
    if x.ndim != n_dims or x.dtype not in TYPES:
        raise ValueError(f"{what}: the inputs are {x.ndim}-dimensional {x.dtype}.")
    if n_dims == 4 and not 1 <= x.shape[-1] <= MAX_HEAD_SIZE:
        raise ValueError(f"{what}: a head size of {x.shape[-1]} is not between 1 and {MAX_HEAD_SIZE}.")


def _check_state(what: str, name: str, state: torch.Tensor) -> None:
    if state.dtype != torch.float32 or not state.is_contiguous():
        raise ValueError(f"{what}: {name} must be contiguous float32, and is {state.dtype}.")


def _address(tensor: torch.Tensor | None) -> int | None:
    return None if tensor is None else tensor.data_ptr()


def _lengths(lengths: torch.Tensor | None, x: torch.Tensor) -> torch.Tensor | None:
    return None if lengths is None else lengths.clamp(0, x.shape[1]).to(torch.int32).contiguous()


def stream_of(device: torch.device) -> int:
    """The current stream, for a launcher; 0 on the host."""
    return int(torch.cuda.current_stream(device).cuda_stream) if device.type == "cuda" else 0


def queue(launch: Launch, kernel: str, call: AnyCall, number_type: NumberType, device: torch.device) -> None:
    """Queue a call on the current stream of `device`.

    Raises:
        DeviceLost: it could not be started.
    """
    code = launch(kernel, call, number_type, stream_of(device))
    if code:
        raise DeviceLost(
            f"The {kernel} kernel could not be started on {device}: CUDA error {code}.",
            hint="Load the model again, on the CPU if it happens again.",
        )


def launch_heads(
    launch: Launch,
    kernel: str,
    tensors: Mapping[str, torch.Tensor],
    s: torch.Tensor,
    lengths: torch.Tensor | None,
) -> torch.Tensor:
    """One call of a kernel with heads; `tensors`: r, k, v, a, b in one type, log_decay and u in float32."""
    r = tensors["r"]
    x = {
        name: tensor.to(torch.float32 if name in ("log_decay", "u") else r.dtype).contiguous()
        for name, tensor in tensors.items()
    }
    y = torch.empty(r.shape, dtype=r.dtype, device=r.device)
    rows = _lengths(lengths, r)
    call = HeadsCall(
        *(_address(x.get(name)) for name in ("r", "k", "v", "a", "b", "log_decay", "u")),
        *(_address(rows), s.data_ptr(), y.data_ptr()),
        *r.shape,
    )
    queue(launch, kernel, call, TYPES[r.dtype], r.device)
    return y


def launch_channels(
    launch: Launch,
    tensors: Mapping[str, torch.Tensor],
    sums: torch.Tensor,
    lengths: torch.Tensor | None,
    log_eps: float | None,
) -> torch.Tensor:
    """One call of the wkv4 kernel; `tensors`: k and v in one type, w and u in float32."""
    k = tensors["k"]
    x = {
        name: tensor.to(torch.float32 if name in ("w", "u") else k.dtype).contiguous()
        for name, tensor in tensors.items()
    }
    y = torch.empty(k.shape, dtype=k.dtype, device=k.device)
    rows = _lengths(lengths, k)
    call = ChannelsCall(
        *(_address(x[name]) for name in ("k", "v", "w", "u")),
        _address(rows),
        *(part.data_ptr() for part in sums.unbind()),
        y.data_ptr(),
        0.0 if log_eps is None else log_eps,
        log_eps is not None,
        *k.shape,
    )
    queue(launch, "wkv4", call, TYPES[k.dtype], k.device)
    return y


def _launcher(generation: str, x: torch.Tensor) -> Launch | None:
    return cuda_kernels.launcher(x.device, generation) if x.is_cuda else None


def current(device: torch.device) -> AbstractContextManager[object]:
    """Makes a CUDA device the current one."""
    return torch.cuda.device(device) if device.type == "cuda" else nullcontext()


def _keep(x: torch.Tensor, lengths: torch.Tensor | None) -> torch.Tensor | None:
    """(B, T), False for padding."""
    if lengths is None:
        return None
    return torch.arange(x.shape[1], device=x.device) < lengths.to(x.device)[:, None]


def _wide(x: torch.Tensor, keep: torch.Tensor | None) -> torch.Tensor:
    return x.float() if keep is None else torch.where(keep[:, :, None, None], x.float(), 0.0)


def _heads_by_ops(
    tensors: Mapping[str, torch.Tensor], s: torch.Tensor, lengths: torch.Tensor | None
) -> torch.Tensor:
    """The same as `launch_heads` in torch."""
    r = tensors["r"]
    if not r.numel():
        return torch.empty_like(r, memory_format=torch.contiguous_format)
    keep = _keep(r, lengths)
    log_decay = _wide(tensors["log_decay"].expand(r.shape), keep)
    k, v = _wide(tensors["k"], keep), _wide(tensors["v"], keep)
    wide_r = _wide(r, keep)
    if "u" in tensors:
        y, end = ops.wkv6_scan(wide_r, log_decay, k, v, tensors["u"].float(), s)
    else:
        a, b = _wide(tensors["a"], keep), _wide(tensors["b"], keep)
        y, end = ops.wkv7_scan(wide_r, log_decay, k, v, a, b, s)
    s.copy_(end)
    return _wide(y, keep).to(r.dtype).contiguous()


def _heads(
    generation: str, tensors: Mapping[str, torch.Tensor], s: torch.Tensor, lengths: torch.Tensor | None
) -> torch.Tensor:
    r = tensors["r"]
    _check_vectors(generation, r, 4)
    n_rows, _, n_heads, size = r.shape
    fixed: dict[str, tuple[int, ...]] = {
        "u": (n_heads, size),
        "s": (n_rows, n_heads, size, size),
        "lengths": (n_rows,),
    }
    if generation == "wkv5":
        fixed["log_decay"] = (n_heads, size)
    all_tensors = {**tensors, "s": s} | ({} if lengths is None else {"lengths": lengths})
    _check(generation, all_tensors, {name: fixed.get(name, tuple(r.shape)) for name in all_tensors})
    _check_state(generation, "s", s)
    launch = _launcher(generation, r)
    if launch is None:
        return _heads_by_ops(tensors, s, lengths)
    with current(r.device):
        kernel = generation
        if generation == "wkv7" and (forms := cuda_kernels.forms(r.device)) is not None:
            kernel = forms.best(
                tuple(r.shape), r.dtype, lambda name: launch_heads(launch, name, tensors, s.clone(), lengths)
            )
        return launch_heads(launch, kernel, tensors, s, lengths)


@torch.library.custom_op("chatrwkv::wkv7", mutates_args=("s",))
def wkv7(
    r: torch.Tensor,
    log_decay: torch.Tensor,
    k: torch.Tensor,
    v: torch.Tensor,
    a: torch.Tensor,
    b: torch.Tensor,
    s: torch.Tensor,
    lengths: torch.Tensor | None = None,
) -> torch.Tensor:
    """See the module."""
    tensors = {"r": r, "log_decay": log_decay, "k": k, "v": v, "a": a, "b": b}
    return _heads("wkv7", tensors, s, lengths)


@torch.library.custom_op("chatrwkv::wkv6", mutates_args=("s",))
def wkv6(
    r: torch.Tensor,
    log_decay: torch.Tensor,
    k: torch.Tensor,
    v: torch.Tensor,
    u: torch.Tensor,
    s: torch.Tensor,
    lengths: torch.Tensor | None = None,
) -> torch.Tensor:
    """See the module."""
    return _heads("wkv6", {"r": r, "log_decay": log_decay, "k": k, "v": v, "u": u}, s, lengths)


@torch.library.custom_op("chatrwkv::wkv5", mutates_args=("s",))
def wkv5(
    r: torch.Tensor,
    log_decay: torch.Tensor,
    k: torch.Tensor,
    v: torch.Tensor,
    u: torch.Tensor,
    s: torch.Tensor,
    lengths: torch.Tensor | None = None,
) -> torch.Tensor:
    """See the module."""
    return _heads("wkv5", {"r": r, "log_decay": log_decay, "k": k, "v": v, "u": u}, s, lengths)


@torch.library.custom_op("chatrwkv::wkv4", mutates_args=("sums",))
def wkv4(
    k: torch.Tensor,
    v: torch.Tensor,
    w: torch.Tensor,
    u: torch.Tensor,
    sums: torch.Tensor,
    lengths: torch.Tensor | None = None,
    log_eps: float | None = None,
) -> torch.Tensor:
    """See the module."""
    _check_vectors("wkv4", k, 3)
    n_rows, _, n_channels = k.shape
    vectors = {"k": k, "v": v, "w": w, "u": u}
    fixed: dict[str, tuple[int, ...]] = {
        "w": (n_channels,),
        "u": (n_channels,),
        "sums": (3, n_rows, n_channels),
        "lengths": (n_rows,),
    }
    tensors = {**vectors, "sums": sums} | ({} if lengths is None else {"lengths": lengths})
    _check("wkv4", tensors, {name: fixed.get(name, tuple(k.shape)) for name in tensors})
    _check_state("wkv4", "sums", sums)
    launch = _launcher("wkv4", k)
    if launch is not None:
        with current(k.device):
            return launch_channels(launch, vectors, sums, lengths, log_eps)
    if not k.numel():
        return torch.empty_like(k, memory_format=torch.contiguous_format)
    keep = _keep(k, lengths)
    aa, bb, pp = sums.unbind()
    y, ends = ops.wkv4_scan(k.float(), v.float(), w.float(), u.float(), (aa, bb, pp), keep, log_eps)
    sums.copy_(torch.stack(ends))
    return (y if keep is None else torch.where(keep[..., None], y, 0.0)).to(k.dtype).contiguous()


def _fake(x: torch.Tensor, *_: object, **__: object) -> torch.Tensor:
    return torch.empty(x.shape, dtype=x.dtype, device=x.device)


for _operator in (wkv4, wkv5, wkv6, wkv7):
    _operator.register_fake(_fake)
