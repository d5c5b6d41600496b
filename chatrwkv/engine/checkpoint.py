"""Open a checkpoint without trusting it: `.pth` (zip format, tensors only) or safetensors, memory mapped.

The first bytes decide what a file is, and every size it claims is held against the size of the file
before anything is allocated. Knows no architecture; `spec` says what the tensors are.

Source: the zip container of `torch.save`; the safetensors format.
"""

from __future__ import annotations

import json
import re
import stat
import struct
import zipfile
from dataclasses import dataclass
from functools import cached_property
from hashlib import sha256
from pickle import UnpicklingError
from typing import TYPE_CHECKING, Any, NoReturn

import torch
from safetensors import SafetensorError, safe_open

from chatrwkv.engine.pickled import NotAModule, cut_tensor, read_module, unwrapped
from chatrwkv.errors import ModelFormatError, ModelNotFound, ModelUnsupported

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from torch import Tensor

_AGAIN = "Download it again, or choose another file."
_RESUME = "Resume the download, or start it again."
# The largest published model has about 2,000 tensors at about 200 bytes of pickle and 150 of directory
# each. The limits leave a factor of ten and keep a hostile file from filling memory with empty lists.
_MAX_ENTRIES = 20_000
_MAX_DIRECTORY_BYTES = 4 << 20
_MAX_PICKLE_BYTES = 2 << 20
_MAX_HEADER_BYTES = 8 << 20  # safetensors
_SAMPLE_BYTES = 4096
_WHOLE_BYTES = 1 << 16  # tensors up to this size enter the fingerprint whole
_FLOATS = {torch.float64: "fp64", torch.float32: "fp32", torch.float16: "fp16", torch.bfloat16: "bf16"}
_STORED = {"F64": torch.float64, "F32": torch.float32, "F16": torch.float16, "BF16": torch.bfloat16}
_NO_WEIGHT = re.compile(r"mask$")  # causal masks that old trainers stored as buffers
_PREFIX = re.compile(r"^(_forward_module|module|model)\.")

# first bytes: what the file is, and the next step
_SIGNATURES: tuple[tuple[bytes, str, str], ...] = (
    (b"GGUF", "a GGUF file", "Use the .pth or .safetensors file of the model."),
    (b"version https://git-lfs", "a Git-LFS pointer, not the model itself", "Run `git lfs pull`."),
    (b"fmgg", "an rwkv.cpp file", "Use the .pth file it was made from."),
    (b"\x80\x02", "a pickle in the format before 2020", "Save it again with a current torch."),
    (b"\x80\x04", "a pickle, which could run code", _AGAIN),
    (b"\x80\x05", "a pickle, which could run code", _AGAIN),
    (b"\x1f\x8b", "a gzip archive", "Unpack it first."),
    (b"7z\xbc\xaf", "a 7z archive", "Unpack it first."),
    (b"Rar!", "a RAR archive", "Unpack it first."),
)


@dataclass(frozen=True)
class Checkpoint:
    """An open file: tensors that read from disk when they are touched."""

    path: Path
    tensors: Mapping[str, Tensor]
    dtype: str
    """Of most parameters: fp32, bf16 …"""

    @cached_property
    def fingerprint(self) -> str:
        """sha256 over the table and a sample of every tensor; the same for .pth and .safetensors of one model.

        Made when it is asked for: on a slow disk the samples of a large file take seconds, and a file that
        cannot be used is refused without them.
        """
        return _fingerprint(self.tensors)

    @property
    def shapes(self) -> dict[str, tuple[int, ...]]:
        """What `spec.detect` asks for."""
        return {name: tuple(tensor.shape) for name, tensor in self.tensors.items()}


def open_checkpoint(path: Path) -> Checkpoint:
    """Open and check the container.

    Raises:
        ModelNotFound: there is no such file, or it may not be read.
        ModelFormatError: not a checkpoint, or a damaged one.
        ModelUnsupported: a known format that this program does not read.
    """
    size = _regular_size(path)
    try:
        with path.open("rb") as file:
            head = file.read(512)
    except OSError as error:
        raise ModelNotFound(f"{path} cannot be read: {error.strerror}.", hint="Check its owner.") from error
    if head.startswith(b"PK\x03\x04"):
        tensors = _open_zip(path, size)
    elif len(head) > 8 and head[8:9] == b"{":
        tensors = open_safetensors(path, size, head)
    else:
        _refuse_signature(path, head)
    tensors = _cleaned(path, tensors, size)
    return Checkpoint(path, tensors, _main_dtype(tensors))


def _regular_size(path: Path) -> int:
    try:
        status = path.stat()
    except OSError as error:
        raise ModelNotFound(
            f"There is no model at {path} ({error.strerror}).", hint="Check the path."
        ) from error
    if not stat.S_ISREG(status.st_mode):  # a FIFO would block, a device might never end
        raise ModelFormatError(f"{path} is not a file.", hint="Choose a .pth or .safetensors file.")
    if status.st_size == 0:
        raise ModelFormatError(f"{path.name} is empty.", hint=_AGAIN)
    return status.st_size


def _refuse_signature(path: Path, head: bytes) -> NoReturn:
    for magic, what, hint in _SIGNATURES:
        if head.startswith(magic):
            raise ModelUnsupported(f"{path.name} is {what}.", hint=hint)
    text = head.lstrip().lower()
    if text.startswith((b"<!doctype", b"<html", b"<?xml", b"<head")):
        raise ModelFormatError(
            f"{path.name} is a web page, not a model: the download went wrong.", hint=_AGAIN
        )
    raise ModelFormatError(f"{path.name} is neither a .pth nor a .safetensors file.", hint=_AGAIN)


def _open_zip(path: Path, size: int) -> Mapping[str, Tensor]:
    try:
        content = load_zip(path, size)
    except ModelFormatError as error:
        if not isinstance(error.__cause__, UnpicklingError):
            raise
        wanted = re.search(r"GLOBAL (\S+)", str(error.__cause__))
        module = _open_module(path, wanted[1] if wanted else "")
        if module is None:
            raise
        return module
    content = unwrapped(content)
    if not isinstance(content, dict):
        raise ModelFormatError(
            f"{path.name} holds a {type(content).__name__}, not a table of tensors.", hint=_AGAIN
        )
    return content


def load_zip(path: Path, size: int) -> Any:
    """What `torch.save` put into a file of `size` bytes: tensors, and lists and dicts of them; runs nothing.

    Raises:
        ModelFormatError: it claims what cannot be, is damaged, or asks for more than tensors.
    """
    _check_zip(path, size)
    try:
        return torch.load(path, map_location="cpu", mmap=True, weights_only=True)
    except UnpicklingError as error:
        wanted = re.search(r"GLOBAL (\S+)", str(error))
        what = f"it asks for {wanted[1]!r}" if wanted else "its table cannot be read"
        raise ModelFormatError(
            f"{path.name} is not a plain table of tensors: {what}, and such a file could run code.",
            hint="Nothing in it was run. Use the published .pth of the model.",
        ) from error
    except (
        RuntimeError,
        ValueError,
        TypeError,
        KeyError,
        IndexError,
        AttributeError,
        EOFError,
        OSError,
    ) as error:
        # what torch raises for a damaged archive is not documented, and differs by place of the damage
        raise ModelFormatError(f"{path.name} is damaged and cannot be opened.", hint=_AGAIN) from error


def _open_module(path: Path, class_name: str) -> Mapping[str, Tensor] | None:
    """The tensors of a pickled RWKV-1 or its attention baseline; None if it is anything else.

    Raises:
        ModelUnsupported: a pickled module of another kind.
    """
    try:
        tensors = read_module(path)
    except NotAModule:
        return None
    if any(name.endswith(("attn.receptance.weight", "attn.query.weight")) for name in tensors):
        return tensors  # `spec` refuses the second by name
    raise ModelUnsupported(
        f"{path.name} is a pickled module ({class_name}), and not an RWKV-1: "
        f"it has {len(tensors)} tensors, such as {next(iter(tensors))!r}.",
        hint="Nothing in it was run. Use a .pth that holds only tensors.",
    )


def _check_zip(path: Path, size: int) -> None:
    """Hold what the directory claims against the size of the file, before torch believes it."""
    if _directory_bytes(path, size) > _MAX_DIRECTORY_BYTES:
        raise ModelFormatError(f"{path.name} has a table of contents larger than any model's.", hint=_AGAIN)
    try:
        with zipfile.ZipFile(path) as archive:
            entries = archive.infolist()
    except (zipfile.BadZipFile, OSError, ValueError, NotImplementedError, struct.error) as error:
        raise ModelFormatError(f"{path.name} is a damaged archive ({error}).", hint=_AGAIN) from error
    stored = all(entry.compress_type == zipfile.ZIP_STORED for entry in entries)
    claimed = sum(entry.file_size for entry in entries)
    if not stored or claimed > size or any(entry.flag_bits & 1 for entry in entries):
        raise ModelFormatError(
            f"{path.name} claims {claimed:,} bytes inside {size:,}: it was not written by torch.save.",
            hint="Use the published .pth of the model.",
        )
    pickles = [entry for entry in entries if entry.filename.endswith("/data.pkl")]
    if len(pickles) != 1:
        raise ModelFormatError(f"{path.name} is a zip file, but not one of torch.save.", hint=_AGAIN)
    if len(entries) > _MAX_ENTRIES or pickles[0].file_size > _MAX_PICKLE_BYTES:
        raise ModelFormatError(f"{path.name} has more entries than any model.", hint=_AGAIN)


def _directory_bytes(path: Path, size: int) -> int:
    """The size of the zip directory as its end record gives it."""
    with path.open("rb") as file:
        file.seek(max(0, size - 65_557 - 76))  # longest comment, end record, and the zip64 records before it
        tail = file.read()
    at = tail.rfind(b"PK\x05\x06")
    if at < 0 or len(tail) < at + 22:
        name = cut_tensor(path)
        where = "too early" if name is None else f"inside the tensor {name!r}"
        raise ModelFormatError(f"{path.name} ends {where}: it is not complete.", hint=_RESUME)
    n_bytes: int = struct.unpack_from("<I", tail, at + 12)[0]
    wide = tail.rfind(b"PK\x06\x06", 0, at)
    if n_bytes == 0xFFFFFFFF and wide >= 0 and len(tail) >= wide + 48:
        n_bytes = struct.unpack_from("<Q", tail, wide + 40)[0]
    return n_bytes


def open_safetensors(path: Path, size: int, head: bytes) -> Mapping[str, Tensor]:
    """The tensors of a safetensors file of `size` bytes that begins with `head`.

    Raises:
        ModelFormatError: it is damaged.
    """
    (length,) = struct.unpack_from("<Q", head)
    if length > min(size - 8, _MAX_HEADER_BYTES):
        raise ModelFormatError(
            f"{path.name} announces a header of {length:,} bytes in a file of {size:,}.", hint=_AGAIN
        )
    try:
        with path.open("rb") as file:
            file.seek(8)
            table = json.loads(file.read(length))
        if len(table) > _MAX_ENTRIES:
            raise ModelFormatError(f"{path.name} has more entries than any model.", hint=_AGAIN)
        _check_ends(path, table, size - 8 - length)
        # opening checks names, shapes and sizes against each other; `get_tensor` would take 20 ms a tensor
        with safe_open(path, framework="pt", device="cpu") as opened:
            raw = torch.from_file(str(path), shared=False, size=size, dtype=torch.uint8)
            views = {name: _view(raw, 8 + length, table[name]) for name in opened.keys()}  # noqa: SIM118 - not a dict
            return {name: opened.get_tensor(name) if t is None else t for name, t in views.items()}
    except (SafetensorError, ValueError, TypeError, LookupError, RuntimeError, OSError) as error:
        raise ModelFormatError(
            f"{path.name} is damaged or incomplete ({_first_line(error)}).", hint=_AGAIN
        ) from error


def _view(raw: Tensor, start: int, row: Mapping[str, Any]) -> Tensor | None:
    """A tensor as a view of the mapped file `raw`; None if torch cannot look at it so."""
    dtype = _STORED.get(row["dtype"])
    begin, end = (start + at for at in row["data_offsets"])
    if dtype is None or begin % dtype.itemsize:
        return None
    return raw[begin:end].view(dtype).view(row["shape"])


def _check_ends(path: Path, table: Mapping[str, Any], n_bytes: int) -> None:
    """Name the first tensor that the data, of `n_bytes`, does not hold whole."""
    ends = sorted((row["data_offsets"][1], name) for name, row in table.items() if name != "__metadata__")
    beyond = next((name for end, name in ends if end > n_bytes), None)
    if beyond is not None:
        raise ModelFormatError(
            f"{path.name} ends inside the tensor {beyond!r}: it is not complete.", hint=_RESUME
        )


def _cleaned(path: Path, content: Mapping[Any, Any], size: int) -> dict[str, Tensor]:
    """Plain tensors under plain names: prefixes of trainers cut off, masks left out, sizes believable."""
    tensors: dict[str, Tensor] = {}
    for raw_name, value in content.items():
        name = str(raw_name)
        while _PREFIX.match(name) and not name.startswith(("model.layers", "model.embeddings")):
            name = _PREFIX.sub("", name)
        if _NO_WEIGHT.search(name):
            continue
        if not isinstance(value, torch.Tensor):
            if name in {"_strategy", "_version", "_rescale_layer"}:
                tensors[name] = torch.empty(0)  # `spec` refuses it by this name
            continue
        plain = value.layout is torch.strided and value.device.type == "cpu" and not value.is_quantized
        if not plain or value.nbytes > size:
            raise ModelFormatError(
                f"The tensor {name!r} of {path.name} claims the shape {list(value.shape)}, "
                f"which the file of {size:,} bytes cannot hold.",
                hint=_AGAIN,
            )
        tensors[name] = value.detach()
    if not tensors:
        raise ModelFormatError(f"{path.name} holds no tensors.", hint=_AGAIN)
    return tensors


def _fingerprint(tensors: Mapping[str, Tensor]) -> str:
    total = sha256()
    for name in sorted(tensors):
        tensor = tensors[name]
        total.update(f"{name}:{_FLOATS.get(tensor.dtype, tensor.dtype)}:{list(tensor.shape)};".encode())
        total.update(_sample(tensor).numpy().data)
    return total.hexdigest()


def _sample(tensor: Tensor) -> Tensor:
    """The bytes of a small tensor, and 4 KiB from the middle of a large one, row by row."""
    if tensor.nbytes <= _WHOLE_BYTES:
        return tensor.reshape(-1).view(torch.uint8)
    middle, size = tensor.nbytes // 2, tensor.element_size()
    if tensor.is_contiguous():
        return tensor.reshape(-1).view(torch.uint8)[middle : middle + _SAMPLE_BYTES]
    # a matrix that was saved turned over; `reshape` would copy all of it
    places = torch.arange(middle // size, (middle + _SAMPLE_BYTES) // size + 1)
    values = tensor[torch.unravel_index(places.clamp(max=tensor.numel() - 1), tensor.shape)]
    return values.view(torch.uint8)[middle % size :][:_SAMPLE_BYTES]


def _main_dtype(tensors: Mapping[str, Tensor]) -> str:
    sizes: dict[torch.dtype, int] = {}
    for tensor in tensors.values():
        sizes[tensor.dtype] = sizes.get(tensor.dtype, 0) + tensor.numel()
    dtype = max(sizes, key=lambda key: sizes[key])
    return _FLOATS.get(dtype, str(dtype).removeprefix("torch."))


def _first_line(error: Exception) -> str:
    lines = str(error).splitlines()
    return lines[0][:200] if lines else type(error).__name__
