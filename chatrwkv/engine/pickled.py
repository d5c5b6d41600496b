"""Tensors out of a pickled module, as RWKV-1 was published (`torch.save(model)`), without running its code.

A pickle is a program: it names functions and calls them. Here every name it asks for is an inert stub that
takes any arguments and keeps them, but for four: ordered dict, tensor, parameter and storage, which are made
by the functions below from views of the mapped file, within its bounds. Nothing is imported.

Source: the zip container of `torch.save`; `pickle` protocol 2 to 5.
"""

from __future__ import annotations

import io
import pickle
import struct
import zipfile
from collections import OrderedDict
from dataclasses import dataclass
from typing import IO, TYPE_CHECKING, Any, Self

import torch

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from torch import Tensor

MAX_DEPTH = 16  # a published net has blocks.i.attn.tiny_att.qkv.weight, six deep
_LOCAL_HEADER = 30  # bytes before name and extra field of a zip entry
_BETWEEN = 2048  # bytes in which a zip entry ends and the next begins: descriptor, header, name, padding
_MAX_TABLE_BYTES = 2 << 20
_DTYPES = {
    "FloatStorage": torch.float32,
    "DoubleStorage": torch.float64,
    "HalfStorage": torch.float16,
    "BFloat16Storage": torch.bfloat16,
}


class NotAModule(Exception):
    """The pickle is no module, or asks for something that a module needs and this file does not know."""


def unwrapped(content: object) -> object:
    """The table of tensors inside what a trainer saved around it."""
    for key in ("state_dict", "module", "model"):
        if isinstance(content, dict) and isinstance(content.get(key), dict):
            content = content[key]
    return content


class Stub:
    """Stands for whatever class or function the pickle names; keeps its state, does nothing."""

    def __new__(cls, *_args: object, **_named: object) -> Self:
        """Any arguments: classes are called with them, functions too."""
        return super().__new__(cls)

    def __call__(self, *_args: object, **_named: object) -> Stub:
        """What a stub of a function returned may be called in turn."""
        return Stub()

    def __setstate__(self, state: object) -> None:
        """Keep a dict, as `nn.Module` has it; `(dict, slots)` as others have."""
        kept = state[0] if isinstance(state, tuple) and state else state
        if isinstance(kept, dict):
            self.__dict__.update({str(key): value for key, value in kept.items()})

    def __setitem__(self, key: object, value: object) -> None:
        """A stub of a dict is filled with items that nobody wants."""

    def append(self, item: object) -> None:
        """As `__setitem__`, for a list."""

    def extend(self, items: object) -> None:
        """As `__setitem__`, for a list."""

    def add(self, item: object) -> None:
        """As `__setitem__`, for a set."""


@dataclass(frozen=True, slots=True)
class _Claim:
    """Stands for a tensor of a file whose data may not be there: its storage, and the bytes of that."""

    key: str
    n_bytes: int


class _Storage:
    """Bytes of the file under a dtype."""

    def __init__(self, flat: Tensor) -> None:
        self.flat = flat


def read_module(path: Path) -> dict[str, Tensor]:
    """Names and tensors of the module in a checked zip file; views of the mapped file.

    A `tiny_att` module's `n_head`, which its shapes do not say, comes as a tensor of that name.

    Raises:
        NotAModule: there is none.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            table = next(name for name in archive.namelist() if name.endswith("/data.pkl"))
            with archive.open(table) as file:
                root = _Reader(file, _File(path, archive, table.removesuffix("data.pkl"))).load()
        found = dict(_walk(root, "", 0))
    except NotAModule:
        raise
    # what a damaged pickle raises inside `load` is not documented, and differs by place of the damage
    except Exception as error:
        raise NotAModule(f"its table cannot be read ({type(error).__name__})") from error
    if not found:
        raise NotAModule("it holds no module with tensors")
    return found


def cut_tensor(path: Path) -> str | None:
    """The tensor inside or before which a `.pth` was cut off; None where what is left does not tell.

    The directory of a zip file is at its end, but `torch.save` begins with the table of tensors.
    """
    try:
        size = path.stat().st_size
        with path.open("rb") as file:
            entry = _next_entry(file, 0)
            table = io.BytesIO(file.read(_MAX_TABLE_BYTES))
            claims = _claims(_TableReader(table).load())
            at = entry[1] + table.tell() if entry else size
            while claims and (entry := _next_entry(file, at)) is not None:
                key, at = entry
                if key in claims:
                    name, n_bytes = claims.pop(key)
                    at += n_bytes
                    if at > size:
                        return name
            return next((name for name, _ in claims.values()), None)
    except Exception:  # noqa: BLE001 - a damaged pickle may raise anything; the file is refused in any case
        return None


def _claims(root: object) -> dict[str, tuple[str, int]]:
    """`{storage: (tensor, bytes)}` in the order of the table."""
    table = unwrapped(root)
    named = table.items() if isinstance(table, dict) else _walk(table, "", 0)
    return {claim.key: (str(name), claim.n_bytes) for name, claim in named if isinstance(claim, _Claim)}


def _next_entry(file: IO[bytes], at: int) -> tuple[str, int] | None:
    """The storage (or what else it is) of the zip entry that comes next, and where its bytes begin.

    `file` is left there. None if there is none.
    """
    file.seek(at)
    window = file.read(_BETWEEN)
    header = window.find(b"PK\x03\x04")
    if header < 0 or len(window) < header + _LOCAL_HEADER:
        return None
    n_name, n_extra = struct.unpack_from("<HH", window, header + 26)
    name = window[header + _LOCAL_HEADER :][:n_name].decode()
    begin = at + header + _LOCAL_HEADER + n_name + n_extra
    file.seek(begin)
    return name.partition("/data/")[2], begin


class _File:
    """The mapped file and where its storages lie."""

    def __init__(self, path: Path, archive: zipfile.ZipFile, root: str) -> None:
        self._path = path
        self._entries = {
            entry.filename.removeprefix(root + "data/"): entry
            for entry in archive.infolist()
            if entry.filename.startswith(root + "data/")
        }
        order = next((name for name in archive.namelist() if name == root + "byteorder"), None)
        if order is not None and archive.read(order) != b"little":
            raise NotAModule("its numbers are big-endian")
        size = path.stat().st_size
        self._bytes = torch.from_file(str(path), shared=False, size=size, dtype=torch.uint8)

    def storage(self, key: str, dtype: torch.dtype) -> _Storage:
        """The storage `key`."""
        entry = self._entries[key]
        with self._path.open("rb") as file:
            file.seek(entry.header_offset)
            header = file.read(_LOCAL_HEADER)
        start = entry.header_offset + _LOCAL_HEADER + sum(struct.unpack_from("<HH", header, 26))
        n_bytes = entry.file_size - entry.file_size % dtype.itemsize
        raw = self._bytes[start : start + n_bytes]
        if raw.numel() != n_bytes:
            raise NotAModule(f"its storage {key!r} ends too early")
        return _Storage((raw if start % dtype.itemsize == 0 else raw.clone()).view(dtype))


class _Inert(pickle.Unpickler):
    """`find_class` gives stubs, so that no name is ever looked up."""

    def find_class(self, module: str, name: str) -> Any:
        """One of the four, a dtype's storage, or a stub: never what the name stands for."""
        if (module, name) == ("collections", "OrderedDict"):
            return OrderedDict
        if module == "torch._utils" and name in {"_rebuild_tensor", "_rebuild_tensor_v2"}:
            return _tensor
        if module == "torch._utils" and name.startswith("_rebuild_parameter"):
            return _parameter
        if module == "torch" and name in _DTYPES:
            return _DTYPES[name]
        return type(name, (Stub,), {"__module__": module})


class _Reader(_Inert):
    """Makes tensors of the mapped file."""

    def __init__(self, file: IO[bytes], mapped: _File) -> None:
        super().__init__(file)
        self._mapped = mapped

    def persistent_load(self, pid: Any) -> _Storage:
        """A storage: ("storage", dtype, key, device, size)."""
        kind, dtype, key = pid[:3]
        if kind != "storage" or not isinstance(dtype, torch.dtype):
            raise NotAModule("it has a storage of an unknown type")
        return self._mapped.storage(str(key), dtype)


class _TableReader(_Inert):
    """Reads what tensors there should be, of a file that has not all of them."""

    def find_class(self, module: str, name: str) -> Any:
        """As the reader of whole files; a tensor is its storage's claim."""
        found = super().find_class(module, name)
        return _claimed if found is _tensor else found

    def persistent_load(self, pid: Any) -> Any:
        """A storage: ("storage", dtype, key, device, size)."""
        return _Claim(str(pid[2]), int(pid[4]) * pid[1].itemsize)


def _claimed(claim: _Claim, *_: object) -> _Claim:
    return claim


def _tensor(
    storage: _Storage, offset: int, size: tuple[int, ...], stride: tuple[int, ...], *_: object
) -> Tensor:
    flat = storage.flat
    sizes, strides, start = [int(n) for n in size], [int(n) for n in stride], int(offset)
    last = start + sum((n - 1) * step for n, step in zip(sizes, strides, strict=True))
    if min([start, *sizes, *strides], default=0) < 0 or (0 not in sizes and last >= flat.numel()):
        raise NotAModule("a tensor reaches beyond its storage")
    return torch.as_strided(flat, sizes, strides, flat.storage_offset() + start)


def _parameter(tensor: Tensor, *_: object) -> Tensor:
    return tensor


def _walk(module: object, prefix: str, depth: int) -> Iterator[tuple[str, Any]]:
    """All parameters and buffers under a module's stub, by the names `state_dict` would give them."""
    if depth > MAX_DEPTH or not isinstance(module, Stub):
        return
    own = vars(module)
    for kind in ("_parameters", "_buffers"):
        table = own.get(kind)
        for name, tensor in table.items() if isinstance(table, dict) else ():
            if isinstance(tensor, (torch.Tensor, _Claim)):
                yield f"{prefix}{name}", tensor
    n_head = own.get("n_head")
    if prefix.endswith("tiny_att.") and type(n_head) is int:
        yield f"{prefix}n_head", torch.tensor([float(n_head)])
    children = own.get("_modules")
    for name, child in children.items() if isinstance(children, dict) else ():
        yield from _walk(child, f"{prefix}{name}.", depth + 1)
