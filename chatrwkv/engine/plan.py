"""Which layer runs where and in which precision: one typed plan, from a strategy string or from plain flags.

A strategy is what the `rwkv` package calls so: parts joined by `->`, each `DEVICE DTYPE[QUANT] [*N[+]]`.

    cuda fp16 *10 -> cpu fp32       ten layers on the GPU, the rest on the CPU
    cuda fp16 *6+                   six layers stay on the GPU, the others are copied there at each use
    cpu fp32 *2 -> cpu bf16         two layers in float32

There are L + 1 slots: the blocks, then ln_out with the head. A part without `*` takes an equal share of
what the others leave, rounded down; what is left over goes to the last part. Slots above L + 1 are cut from
the part that exceeds them. With `*N+`, all slots that no part claims are streamed through that part's device;
if several parts have a `+`, the last one counts. `i8` is int8; `i4` and `i3` are accepted and mean nothing,
as in the package.

Knows no torch, and not whether a device exists.

Source:
    fact sheet 15c, compared with `rwkv` 0.8.32.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass, replace
from itertools import groupby
from typing import TYPE_CHECKING

from chatrwkv.errors import BadValue

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

# int8: and a bf16 for 64 columns, see `weight_bytes`; int4: half a byte, and two float32 for 64 columns
BYTES = {"fp32": 4.0, "bf16": 2.0, "fp16": 2.0, "int8": 1.0, "int4": 0.625}
QUANTS = ("int8", "int4")
_PART = re.compile(r"(cuda(?::\d+)?|cpu|mps|dml) (fp16|fp32|bf16)(i8|i4|i3)?(?: \*(\d{1,6})(\+?))?")
_BLOCK = re.compile(r"blocks\.(\d+)\.(?!ln0\.)")
_PER_HEAD = re.compile(r"(time_decay|time_first|time_faaaa|r_k|time_w|time_alpha|time_beta)$")  # as `weights`
COARSE = r"(head|receptance|key|value|gate|output|mlp\.weight)\.weight$"
"""Names of the matrices that int8 and int4 apply to."""
EMBEDDING = ("emb.", "tok_emb.", "blocks.0.ln0.")
"""What the names of its tensors start with."""
_HINT = 'Write parts like "cuda fp16 *10 -> cpu fp32"; devices are cpu, cuda, cuda:N, mps.'


@dataclass(frozen=True, slots=True)
class Slot:
    """Where one block, or the head, lives and how."""

    device: str
    dtype: str
    """Of the arithmetic: fp32, bf16 or fp16."""
    quant: str = ""
    """int8 or int4: the large matrices are stored so."""
    streamed: bool = False
    """Stored on the CPU and copied to `device` at each use."""

    @property
    def kind(self) -> str:
        """The precision in one word."""
        return self.quant or self.dtype


@dataclass(frozen=True, slots=True)
class Plan:
    """One slot a block, then one for ln_out and the head."""

    slots: tuple[Slot, ...]
    text: str
    """The strategy it came from."""

    @property
    def devices(self) -> tuple[str, ...]:
        """Each one once, in order of use."""
        return tuple(dict.fromkeys(slot.device for slot in self.slots))

    @property
    def is_split(self) -> bool:
        """Whether layers are on several devices, or copied to one."""
        return len(self.devices) > 1 or any(slot.streamed for slot in self.slots)

    @property
    def is_uniform(self) -> bool:
        """Whether all slots are alike, so that nothing has to be planned."""
        return len(set(self.slots)) == 1 and not self.is_split

    @property
    def embedding(self) -> Slot:
        """Where the embedding lives: on the CPU if layers are on several devices, as in the package."""
        return replace(self.slots[0], device="cpu" if self.is_split else self.slots[0].device, quant="")

    @property
    def place(self) -> str:
        """The device, or the strategy when there is more to say; `load_model` takes either."""
        return self.slots[0].device if self.is_uniform else self.text

    @property
    def dtype(self) -> str:
        """The precision in one word; "mixed" if there are several."""
        kinds = {slot.kind for slot in self.slots}
        return kinds.pop() if len(kinds) == 1 else "mixed"

    def slot_of(self, name: str) -> Slot:
        """The slot of a tensor, by its name; ln0 belongs to the embedding."""
        found = _BLOCK.match(name)
        if found is not None:
            return self.slots[min(int(found[1]), len(self.slots) - 2)]
        is_embedding = name.startswith(EMBEDDING)
        return self.embedding if is_embedding else self.slots[-1]

    def with_dtype(self, dtype: str) -> Plan:
        """The same places in one precision."""
        coarse = dtype if dtype in QUANTS else ""
        slots = [replace(s, dtype=s.dtype if coarse else dtype, quant=coarse) for s in self.slots]
        return Plan(tuple(slots), self.text)

    def memory(self, shapes: Mapping[str, tuple[int, ...]]) -> dict[str, int]:
        """Bytes of weights on each device; a streamed block counts on the CPU, and the two that are on their way."""
        total = dict.fromkeys((*self.devices, *(("cpu",) if self.is_split else ())), 0)
        streamed: dict[tuple[str, str], int] = {}
        for name, shape in shapes.items():
            slot = self.slot_of(name)
            n_bytes = weight_bytes(name, shape, slot)
            if slot.streamed and not name.startswith(EMBEDDING):
                total["cpu"] += n_bytes
                found = _BLOCK.match(name)
                key = (slot.device, found[1] if found else "head")
                streamed[key] = streamed.get(key, 0) + n_bytes
            else:
                total[slot.device] += n_bytes
        for device in {device for device, _ in streamed}:
            if device != "cpu":
                sizes = [n for (other, _), n in streamed.items() if other == device]
                total[device] += 2 * max(sizes)
        return total

    def lines(self) -> list[str]:
        """One line for each run of equal slots: what is where."""
        lines, start = [], 0
        for slot, run in groupby(self.slots):
            n = len(list(run))
            end = start + n
            blocks = min(end, len(self.slots) - 1) - start
            names = (
                []
                if not blocks
                else [f"block {start}" if blocks == 1 else f"blocks {start}-{start + blocks - 1}"]
            )
            if end == len(self.slots):
                names.append("head")
            how = f"{slot.dtype}, weights {slot.quant}" if slot.quant else slot.dtype
            lines.append(f"{' and '.join(names)}: {slot.device} {how}{', streamed' if slot.streamed else ''}")
            start = end
        return lines


def is_strategy(text: str) -> bool:
    """Whether it is more than the name of a device."""
    return " " in text.strip()


def parse_strategy(text: str, n_layer: int) -> Plan:
    """The plan of a strategy string for a model of `n_layer` blocks.

    Raises:
        BadValue: it is none, or asks for what there is not.
    """
    parts = []
    for part in text.split("->"):
        found = _PART.fullmatch(" ".join(part.split(" ")).strip())
        if found is None:
            raise BadValue(f"{part.strip()!r} is no part of a strategy.", hint=_HINT)
        device, dtype, quant, _, _ = found.groups()
        if device == "dml":
            raise BadValue("DirectML (dml) is not supported.", hint="Use cuda, mps or cpu.")
        parts.append((Slot(device, dtype, "int8" if quant == "i8" else ""), found[4], found[5] == "+"))
    counts, stream, n_streamed = _counts(parts, n_layer + 1)
    slots: list[Slot] = []
    for i, (slot, _, _) in enumerate(parts):
        resident = counts[i] - (n_streamed if i == stream else 0)
        slots += [slot] * resident
        if i == stream:
            slots += [replace(slot, streamed=True)] * n_streamed
    return Plan(tuple(slots), " -> ".join(" ".join(part.split()) for part in text.split("->")))


def plain_plan(device: str, dtype: str, n_layer: int, gpu_layers: int | None = None) -> Plan:
    """The plan of `--device`, `--dtype` and `--gpu-layers`.

    Raises:
        BadValue: as `parse_strategy`.
    """
    if gpu_layers is None:
        coarse = dtype if dtype in QUANTS else ""
        slot = Slot(device, "bf16" if coarse else dtype, coarse)
        return Plan((slot,) * (n_layer + 1), f"{device} {dtype}")
    return parse_strategy(strategy_of(device, dtype, gpu_layers), n_layer)


def strategy_of(device: str, dtype: str, gpu_layers: int) -> str:
    """The strategy that `--device`, `--dtype` and `--gpu-layers` stand for; `auto` is cuda, fp16 there.

    Raises:
        BadValue: the numbers or names do not fit together.
    """
    if gpu_layers < 0 or device == "cpu":
        raise BadValue(
            f"{gpu_layers} layers on {device} is no division of layers.", hint="Give --device cuda or mps."
        )
    if dtype == "int4":
        raise BadValue("int4 cannot be divided over devices.", hint="Use int8.")
    suffix = {"auto": "fp16", "int8": "fp16i8"}.get(dtype, dtype)
    rest = {"auto": "fp32", "int8": "fp32i8", "fp16": "fp32"}.get(dtype, dtype)  # fp16 is slow on a CPU
    place = "cuda" if device == "auto" else device
    return f"{place} {suffix} *{gpu_layers} -> cpu {rest}" if gpu_layers else f"cpu {rest}"


def _counts(parts: Sequence[tuple[Slot, str | None, bool]], n_slots: int) -> tuple[list[int], int, int]:
    """Slots of each part, streamed ones included, the index of the part that streams, and how many it does."""
    counts = [0] * len(parts)
    free, stream, claimed = [], -1, 0
    for i, (_, number, has_plus) in enumerate(parts):
        if number is None:
            free.append(i)
            continue
        counts[i] = int(number)
        stream = i if has_plus else stream
        claimed += counts[i]
        if claimed >= n_slots:
            counts[i] += n_slots - claimed
            return counts, stream, 0
    left = n_slots - claimed
    if stream >= 0:
        counts[stream] += left
        return counts, stream, left
    for n, i in enumerate(free):
        counts[i] = left // (len(free) - n)
        left -= counts[i]
    counts[-1] += left
    return counts, -1, 0


def is_matrix(name: str, shape: Sequence[int]) -> bool:
    """Whether it is kept in the model's precision; vectors ([C], [1, 1, C], [H, N]) are float32 always."""
    return sum(n != 1 for n in shape) >= 2 and not _PER_HEAD.search(name)


def weight_bytes(name: str, shape: Sequence[int], slot: Slot) -> int:
    """Memory of one tensor as it is kept in `slot`."""
    n = math.prod(shape)
    if not is_matrix(name, shape):
        return 4 * n
    if slot.quant and re.search(COARSE, name) and len(shape) == 2:
        return int(BYTES[slot.quant] * n) + (2 * shape[0] * -(-shape[1] // 64) if slot.quant == "int8" else 0)
    return int(BYTES[slot.dtype] * n)
