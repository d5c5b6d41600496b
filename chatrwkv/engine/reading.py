"""Weights from an open file into memory: fit, numbers and range checked, each tensor where its plan wants it."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import torch

from chatrwkv.engine.coarse import Coarse
from chatrwkv.engine.memory import free_bytes, readable
from chatrwkv.engine.models.belt import each_tensor
from chatrwkv.engine.plan import COARSE
from chatrwkv.engine.weights import is_matrix, prepare
from chatrwkv.errors import ModelError, ModelFormatError, ModelTooLarge

if TYPE_CHECKING:
    from collections.abc import Callable

    from torch import Tensor

    from chatrwkv.engine.checkpoint import Checkpoint
    from chatrwkv.engine.plan import Plan, Slot

DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}
_READABLE = {torch.float64, *DTYPES.values()}
# bytes a weight on the native path
QUANTISED = {"int8": 8.25 / 8, "int4": 4.25 / 8}
_WORK_BYTES = 256 << 20


class LoadCancelled(ModelError):
    """The load was stopped on request."""


def read_tensors(
    checkpoint: Checkpoint,
    plan: Plan,
    progress: Callable[[int, int], None] | None,
    cancelled: Callable[[], bool] | None,
) -> dict[str, Any]:
    """Copies of all tensors as the plan says, each one checked for NaN and Inf; `Coarse` where it quantises.

    Raises:
        ModelFormatError: a value is no number, or not in the range of the precision.
        LoadCancelled: `cancelled` said so.
    """
    total = sum(tensor.nbytes for tensor in checkpoint.tensors.values())
    done = 0
    tensors: dict[str, Any] = {}
    for name, stored in checkpoint.tensors.items():
        if cancelled is not None and cancelled():
            raise LoadCancelled("Loading was stopped.")
        check_numbers(name, stored)
        tensors[name] = _placed(name, stored, plan.slot_of(name))
        done += stored.nbytes
        if progress is not None:
            progress(done, total)
    return tensors


def _placed(name: str, stored: Tensor, slot: Slot) -> Tensor | Coarse:
    """A copy always: a view of the mapped file would die with the file."""
    device = torch.device("cpu" if slot.streamed else slot.device)
    is_pinned = slot.streamed and slot.device.startswith("cuda")
    dtype = DTYPES[slot.dtype]
    if slot.quant and re.search(COARSE, name) and Coarse.suits(stored, slot.quant):
        exact = stored.to(device, torch.float32)
        if not is_finite(exact):
            refuse_values(name, stored, dtype)
        coarse = Coarse.of(exact, slot.quant, dtype)
        return each_tensor(coarse, torch.Tensor.pin_memory) if is_pinned else coarse
    tensor = prepare(name, stored, device, dtype)
    if not is_finite(tensor):
        refuse_values(name, stored, dtype)
    return tensor.pin_memory() if is_pinned else tensor


def check_memory(name: str, checkpoint: Checkpoint, plan: Plan, *, is_native: bool) -> None:
    """Refuse what cannot fit: weights, a second embedding while ln0 is folded, and 256 MiB for the work.

    Raises:
        ModelTooLarge: with the device, the need and what is free there.
    """
    if is_native:
        sizes = [_packed_bytes(n, t, plan.dtype) for n, t in checkpoint.tensors.items()]
        needed = {plan.devices[0]: sum(sizes)}
        largest = max(sizes)
    else:
        needed = plan.memory(checkpoint.shapes)
        largest = max(tensor.numel() for tensor in checkpoint.tensors.values()) * 4
    for device, n_bytes in needed.items():
        extra = largest if device == plan.embedding.device else 0
        free = free_bytes(torch.device(device))
        if n_bytes + extra + _WORK_BYTES > free:
            smaller = "Close other programs or choose a smaller model."
            hint = (
                f"Try the precision bf16, or a smaller model. {smaller}" if plan.dtype == "fp32" else smaller
            )
            raise ModelTooLarge(
                f"{name} needs {readable(n_bytes + extra + _WORK_BYTES)} in {plan.dtype} on {device},"
                f" but {readable(free)} are free.",
                hint=hint,
            )


def _packed_bytes(name: str, tensor: Tensor, kind: str) -> int:
    if not is_matrix(name, tensor):
        return tensor.numel() * 4
    if kind not in QUANTISED:
        return tensor.numel() * DTYPES[kind].itemsize
    return int(tensor.numel() * (2 if name == "emb.weight" else QUANTISED[kind]))


def check_numbers(name: str, stored: Tensor) -> None:
    """Refuse a tensor of integers, or of floats that only some devices know.

    Raises:
        ModelFormatError: it is one.
    """
    if stored.dtype not in _READABLE:
        raise ModelFormatError(
            f"The tensor {name!r} holds {stored.dtype} instead of floating point numbers.",
            hint="Quantised files are not supported; use the published .pth.",
        )


def is_finite(tensor: Tensor) -> bool:
    """Whether every value is a number."""
    if not tensor.numel():  # a past of no tokens
        return True
    # min and max carry NaN and Inf along; isfinite would allocate a byte for every value
    low, high = torch.aminmax(tensor)
    return bool(torch.isfinite(low) & torch.isfinite(high))


def refuse_values(name: str, stored: Tensor, dtype: torch.dtype) -> None:
    """Say which tensor holds what is no number, or is beyond `dtype`.

    Raises:
        ModelFormatError: always.
    """
    if is_finite(stored):
        raise ModelFormatError(
            f"The tensor {name!r} has values beyond the range of {dtype}.", hint="Use bf16 or fp32."
        )
    raise ModelFormatError(
        f"The tensor {name!r} holds NaN or infinite values.",
        hint="The file is damaged or its training failed; download it again.",
    )
