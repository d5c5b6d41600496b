"""Which device and precision a model gets: what was asked for, checked against what there is."""

from __future__ import annotations

import os
import re
from typing import TYPE_CHECKING

import torch

from chatrwkv.engine.plan import Plan, is_strategy, parse_strategy, plain_plan
from chatrwkv.engine.reading import DTYPES, QUANTISED
from chatrwkv.engine.spec import Generation
from chatrwkv.errors import BadValue, DeviceLost, ModelUnsupported

if TYPE_CHECKING:
    from chatrwkv.engine.spec import ModelSpec

# Up to this size float32 is kept on the CPU: exact, and 1.2 GB at most. With bf16 instructions in the CPU,
# bf16 decodes 1.3 times and prefills 3 times as fast (L12 C768), but not every CPU has them.
_SMALL_PARAMS = 300_000_000
_RESCALE_EVERY = 6  # layers, as the package has it; 999 in RWKV_RESCALE_LAYER is none
_lost: set[str] = set()  # kinds of devices that stopped answering: CUDA's errors last as long as the process
_NEEDS_FLOAT64 = (Generation.V5_0, Generation.V5_1, Generation.V5_2, Generation.V6)


def make_plan(device: str, dtype: str, spec: ModelSpec, *, is_exact_in_bf16: bool = False) -> Plan:
    """The plan of a device and a precision, or of a strategy string in place of the device.

    Args:
        device: auto, cpu, cuda, cuda:N, mps, or a strategy.
        dtype: auto, a precision, or "mixed", which a strategy brings along.
        spec: of the model.
        is_exact_in_bf16: see `choose_dtype`.

    Raises:
        BadValue: no such device, precision or strategy here.
        ModelUnsupported: the generation cannot be run so.
    """
    if not is_strategy(device):
        device = str(choose_device(device))
    plan = sketch_plan(device, dtype, spec, is_exact_in_bf16=is_exact_in_bf16)
    for name in plan.devices:
        choose_device(name)
    if "mps" in plan.devices and spec.generation in _NEEDS_FLOAT64:
        raise ModelUnsupported(
            f"RWKV-{spec.generation} needs float64, which mps has not.", hint="Use the CPU."
        )
    return plan


def sketch_plan(device: str, dtype: str, spec: ModelSpec, *, is_exact_in_bf16: bool = False) -> Plan:
    """The same without a look at whether the devices are here and the model can be run so.

    Raises:
        BadValue: no device, precision or strategy.
    """
    if is_strategy(device):
        plan = parse_strategy(device, spec.n_layer)
        return plan if dtype in ("auto", "mixed") else plan.with_dtype(dtype)
    place = choose_device(device) if device == "auto" else torch.device(_device_name(device))
    kind = choose_dtype(dtype, place, spec.n_params, is_exact_in_bf16=is_exact_in_bf16)
    return plain_plan(str(place), kind, spec.n_layer)


def _device_name(device: str) -> str:
    if not re.fullmatch(r"auto|cpu|mps|cuda(:\d+)?", device):
        raise BadValue(f"There is no device {device!r}.", hint="Use auto, cpu, cuda, cuda:0 or mps.")
    return device


def choose_device(device: str) -> torch.device:
    """The torch device of `auto`, `cpu`, `cuda`, `cuda:N` or `mps`.

    Raises:
        BadValue: no such device here.
        DeviceLost: it stopped answering before.
    """
    if device.partition(":")[0] in _lost:
        raise DeviceLost(
            f"{device} stopped answering before.", hint="Use the CPU, or start the program again."
        )
    if _device_name(device) == "mps" and not torch.backends.mps.is_available():
        raise BadValue("mps was asked for, but torch does not see it.", hint="Use cpu.")
    if device in ("cpu", "mps"):
        return torch.device(device)
    n_cuda = torch.cuda.device_count()
    if device == "auto":
        return torch.device("cuda:0" if n_cuda and "cuda" not in _lost else "cpu")
    index = int(device.partition(":")[2] or 0)
    if index >= n_cuda:
        raise BadValue(f"{device} was asked for, but torch sees {n_cuda} CUDA devices.", hint="Use cpu.")
    return torch.device("cuda", index)


def give_up(plan: str) -> None:
    """A device of a plan stopped answering: from now on `auto` leaves its kind out, and asking for it is refused."""
    _lost.update(kind for kind in ("cuda", "mps") if kind in plan)


def choose_dtype(dtype: str, device: torch.device, n_params: int, *, is_exact_in_bf16: bool = False) -> str:
    """One of `DTYPES` or `QUANTISED`: by measure for `auto`.

    `is_exact_in_bf16`: the file holds bf16 and what will run it computes in float32, so that more bits would
    only cost time.

    Raises:
        BadValue: unknown.
    """
    if dtype == "auto":
        if device.type == "cuda":
            return "fp16"
        return "fp32" if n_params <= _SMALL_PARAMS and not is_exact_in_bf16 else "bf16"
    if dtype not in DTYPES and dtype not in QUANTISED:
        raise BadValue(
            f"There is no precision {dtype!r}.", hint=f"Use auto, {', '.join([*DTYPES, *QUANTISED])}."
        )
    return dtype


def rescale_every() -> int:
    """After how many layers fp16 outputs are stored half as large again: 6, or `RWKV_RESCALE_LAYER`.

    Raises:
        BadValue: the variable is no number above 0.
    """
    text = os.environ.get("RWKV_RESCALE_LAYER", str(_RESCALE_EVERY))
    if not text.isdecimal() or int(text) < 1:
        raise BadValue(f"RWKV_RESCALE_LAYER is {text!r}.", hint="Give a number of layers; 999 is never.")
    return int(text)
