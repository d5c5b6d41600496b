"""Weights of the native path: which matrix in which format, packed once into one buffer in reading order.

Formats and their lines are described in `native/abi.h`. int8 and int4 keep one bf16 scale for 64 weights of
a row, chosen for the least squared error; int4 looks its sixteen values up in a table made for bell-shaped
weights. Vectors, LoRA factors and the embedding are never quantised: together they are 2 to 4 % of what a
token reads.

Relative error of a matrix of Gaussian weights (root mean square): bf16 0.17 %, int8 0.5 %, int4 8 %.
"""

from __future__ import annotations

import hashlib
import json
import mmap
import os
import tempfile
import time
import warnings
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from chatrwkv.engine.native import abi
from chatrwkv.engine.native.abi import Format

if TYPE_CHECKING:
    from collections.abc import Callable

    from torch import Tensor

    from chatrwkv.engine.kernels import Engine
    from chatrwkv.engine.spec import ModelSpec

FORMATS = {"fp32": Format.FP32, "bf16": Format.BF16, "int8": Format.INT8, "int4": Format.INT4}
_SOURCE_FORMATS = {torch.float32: Format.FP32, torch.bfloat16: Format.BF16, torch.float16: Format.FP16}
_ALIGN = 64
_PAGE = 4096
_MAGIC = b"RWKVPACK"
_VERSION = 1  # of the file; ABI_VERSION covers the formats
_CACHE_BYTES = 12 << 30  # four models of 1.5B in bf16; an older one is packed again when it is wanted
_REMAINS_S = 3600.0  # of a write that was killed


@dataclass(frozen=True, slots=True)
class Slot:
    """One tensor in the buffer."""

    name: str
    offset: int
    n_bytes: int
    kind: int | None
    """Format of a packed matrix, or of the plain rows of the embedding; None for float32 vectors."""
    rows: int
    cols: int


class Packed:
    """A buffer of packed weights and what lies where in it."""

    def __init__(self, buffer: np.ndarray[Any, np.dtype[np.uint8]], slots: list[Slot], kind: Format) -> None:
        self.buffer = buffer
        self.slots = {slot.name: slot for slot in slots}
        self.kind = kind
        self._base = int(buffer.ctypes.data)

    @property
    def n_bytes(self) -> int:
        """Of everything, the embedding included."""
        return int(self.buffer.nbytes)

    @property
    def token_bytes(self) -> int:
        """What one token reads: everything but the embedding (and the state)."""
        return self.n_bytes - self.slots["emb"].n_bytes

    def address(self, name: str) -> int:
        """Of the first byte."""
        return self._base + self.slots[name].offset

    def matrix(self, name: str) -> abi.Matrix:
        """As the native code wants it; all zeros for a matrix that is not there (v1, v2 of layer 0)."""
        slot = self.slots.get(name)
        if slot is None:
            return abi.Matrix()
        return abi.Matrix(self.address(name), slot.rows, slot.cols, slot.kind or 0, 0)


@dataclass(frozen=True, slots=True)
class Source:
    """A tensor to be packed: a matrix as [out, in], or a vector (float32), or the embedding (rows)."""

    name: str
    tensor: Tensor
    kind: Format | None


def pack(
    sources: list[Source],
    kind: Format,
    engine: Engine,
    progress: Callable[[int, int], None] | None = None,
) -> Packed:
    """Pack tensors one behind the other; `kind` is what the model is said to be in."""
    slots = _plan(sources, engine)
    total = slots[-1].offset + slots[-1].n_bytes
    buffer = allocate(total)
    packed = Packed(buffer, slots, kind)
    for source, slot in zip(sources, slots, strict=True):
        _write(source, slot, packed, engine)
        if progress is not None:
            progress(slot.offset + slot.n_bytes, total)
    return packed


def allocate(n_bytes: int) -> np.ndarray[Any, np.dtype[np.uint8]]:
    """Memory in huge pages where the system has them.

    A token walks through all of it, and pages of 4 KiB cost address lookups that stop the prefetcher.
    """
    if not hasattr(mmap, "MAP_PRIVATE"):
        return np.empty(n_bytes, np.uint8)
    area = mmap.mmap(-1, n_bytes + (2 << 20), flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    if hasattr(mmap, "MADV_HUGEPAGE"):
        with suppress(OSError):
            area.madvise(mmap.MADV_HUGEPAGE)
    buffer = np.frombuffer(area, np.uint8)
    start = -int(buffer.ctypes.data) % (2 << 20)
    return buffer[start : start + n_bytes]


def _plan(sources: list[Source], engine: Engine) -> list[Slot]:
    slots = []
    offset = 0
    for source in sources:
        tensor = source.tensor
        rows, cols = (tensor.shape[0], tensor.shape[1]) if tensor.ndim == 2 else (1, tensor.numel())
        if source.kind is None or source.name == "emb":
            n_bytes = tensor.numel() * (2 if source.kind is Format.BF16 else 4)
        else:
            n_bytes = engine.library.packed_bytes(source.kind, rows, cols)
        slots.append(Slot(source.name, offset, n_bytes, source.kind, rows, cols))
        offset = -(-(offset + n_bytes) // _ALIGN) * _ALIGN
    return slots


def _write(source: Source, slot: Slot, packed: Packed, engine: Engine) -> None:
    tensor = source.tensor
    if source.kind is None or source.name == "emb":
        _plain(packed, slot).copy_(tensor.reshape(-1))
        return
    if tensor.dtype not in _SOURCE_FORMATS:
        tensor = tensor.float()
    engine.pack(
        source.kind,
        tensor.data_ptr(),
        _SOURCE_FORMATS[tensor.dtype],
        (slot.rows, slot.cols),
        (tensor.stride(0), tensor.stride(1)),
        packed.address(slot.name),
    )


def _plain(packed: Packed, slot: Slot) -> Tensor:
    """The memory of the embedding or of a vector, flat."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "The given NumPy array is not writable")  # a mapped file
        memory = torch.from_numpy(packed.buffer[slot.offset : slot.offset + slot.n_bytes])
    return memory.view(torch.bfloat16 if slot.kind == Format.BF16 else torch.float32)


def unpacked(packed: Packed, name: str, engine: Engine) -> Tensor:
    """What a slot means, float32: a packed matrix as [out, in], a vector, or the rows of the embedding."""
    slot = packed.slots[name]
    if slot.kind is None or name == "emb":
        plain = _plain(packed, slot).clone().float()
        return plain.view(slot.rows, slot.cols) if slot.rows > 1 else plain
    out = torch.empty(slot.rows, slot.cols)
    engine.unpack(packed.matrix(name), out.data_ptr())
    return out


# ---- the cache on disk: a header and the buffer as it is in memory -------------------------------------------


def cache_path(folder: Path, spec: ModelSpec, kind: Format) -> Path:
    """Where the packed weights of a model are kept."""
    return folder / f"{spec.fingerprint[:32]}-{kind.name.lower()}.pack"


def prune(folder: Path, keep: Path, budget_bytes: int = _CACHE_BYTES) -> None:
    """Delete what was not used for longest, until the cache and a new file fit the budget; and remains."""
    with suppress(OSError):
        for remains in folder.glob(".*.pack-*"):
            if time.time() - remains.stat().st_mtime > _REMAINS_S:
                remains.unlink()
        found = sorted(
            (path for path in folder.glob("*.pack") if path != keep), key=lambda p: p.stat().st_mtime
        )
        total = sum(path.stat().st_size for path in found)
        for path in found:
            if total <= budget_bytes:
                break
            total -= path.stat().st_size
            path.unlink()


def save(packed: Packed, path: Path, spec: ModelSpec) -> bool:
    """Write atomically; False when the disk or the folder does not want it, which costs time only."""
    header = _header(packed, spec)
    try:
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        descriptor, name = tempfile.mkstemp(prefix=f".{path.name}-", dir=path.parent)
    except OSError:
        return False
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(header)
            file.write(b"\0" * (-len(header) % _PAGE))
            file.write(packed.buffer.data)
            file.flush()
            os.fsync(file.fileno())
        Path(name).replace(path)
    except OSError:
        with suppress(OSError):
            Path(name).unlink()
        return False
    return True


def store(packed: Packed, path: Path, spec: ModelSpec) -> None:
    """`save`, and keep the cache within its budget."""
    if save(packed, path, spec):
        prune(path.parent, path)


def _header(packed: Packed, spec: ModelSpec) -> bytes:
    slots = [asdict(slot) for slot in packed.slots.values()]
    content = {
        "version": _VERSION,
        "abi": abi.ABI_VERSION,
        "fingerprint": spec.fingerprint,
        "kind": int(packed.kind),
        "n_bytes": packed.n_bytes,
        "slots": slots,
    }
    body = json.dumps(content).encode()
    return _MAGIC + len(body).to_bytes(8, "little") + hashlib.sha256(body).digest() + body


def load(path: Path, spec: ModelSpec, kind: Format) -> Packed | None:
    """The packed weights, mapped; None when they are absent, of another version, cut off or damaged."""
    try:
        with path.open("rb") as file:
            head = file.read(48)
            length = int.from_bytes(head[8:16], "little")
            if head[:8] != _MAGIC or length > (16 << 20):
                return None
            body = file.read(length)
            if hashlib.sha256(body).digest() != head[16:48]:
                return None
            content = json.loads(body)
            start = -(-(48 + length) // _PAGE) * _PAGE
            found = (content["version"], content["abi"], content["fingerprint"], content["kind"])
            if found != (_VERSION, abi.ABI_VERSION, spec.fingerprint, int(kind)):
                return None
            if os.fstat(file.fileno()).st_size != start + content["n_bytes"]:
                return None
            area = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
        with suppress(OSError):
            os.utime(path)  # for `prune`
    except (OSError, ValueError, KeyError, TypeError):
        return None
    buffer = np.frombuffer(area, np.uint8, content["n_bytes"], start)
    return Packed(buffer, [Slot(**slot) for slot in content["slots"]], kind)
