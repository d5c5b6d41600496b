"""Snapshots as files: `.rwkvstate` is safetensors with string metadata, readable by any tool for it.

    8 bytes   length of the header, little endian
    header    JSON: {"__metadata__": {…strings…}, tensor name: {"dtype", "shape", "data_offsets"}}
    data      the tensors without gaps: "logits" (V,) and "state.NAME" for each tensor of the state; F32,
              F16 where the file was asked to be half as large, I64 for token ids

The metadata holds a sha256 for each tensor and one over length and header, computed with its own 64
characters as zeros; the header's is checked before anything else in it is believed. So every single bit of
the file is under a checksum. `peek` reads the header only and imports no torch.
"""

from __future__ import annotations

import json
import os
import stat
import struct
import tempfile
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from hashlib import sha256
from math import prod
from pathlib import Path
from typing import TYPE_CHECKING, Any

from chatrwkv.errors import StateCorrupt, StateError, StateMismatch, StateVersion

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from io import BufferedReader

    from torch import Tensor

    from chatrwkv.engine.state import Snapshot

VERSION = 2  # 1 has nothing attached, and is still written where nothing is
SUFFIX = ".rwkvstate"
_OWN = "chatrwkv."  # prefix of the metadata this module keeps for itself
_HASH_KEY = b'"chatrwkv.header_sha256":"'
_ZEROS = b"0" * 64
_DTYPES = {"torch.float32": "F32", "torch.float16": "F16", "torch.int64": "I64"}
_ITEM_BYTES = {"F32": 4, "F16": 2, "I64": 8, "U8": 1}
_ATTACHED = "attached."  # prefix of the names of plain bytes
# Files of version 1 carry the conversation in the metadata: a document of 1 MB is 1.5 MB there.
_MAX_HEADER_BYTES = 4 << 20
_MAX_TENSORS = 64
_HEX = frozenset("0123456789abcdef")
_FOREIGN = "If another program wrote it, `chatrwkv states import` makes one of ours."
_OTHER_FILE = "Choose another state file; the chat itself is not affected."


@dataclass(frozen=True, slots=True)
class StateInfo:
    """What the header of a state file says."""

    path: Path
    fingerprint: str
    n_tokens: int
    chain: str
    n_bytes: int
    """Of the file."""
    model: str
    """The name of the model when it was saved; "" if unknown."""
    created: str
    """ISO 8601; "" if unknown."""
    is_rounded: bool = False
    """Whether some of it is in half precision."""
    metadata: Mapping[str, str] = field(default_factory=dict)
    """Everything the caller of `save_state` gave."""
    attached: frozenset[str] = frozenset()
    """Names of the bytes that `load_attached` gives."""


@dataclass(frozen=True, slots=True)
class _Entry:
    name: str
    dtype: str
    shape: tuple[int, ...]
    start: int
    end: int


def save_state(
    path: Path,
    snapshot: Snapshot,
    metadata: Mapping[str, str],
    *,
    attached: Mapping[str, bytes] | None = None,
    rounded: bool = False,
) -> None:
    """Write a snapshot so that the file is either complete or absent, readable by its owner only.

    Args:
        path: replaced if it exists.
        snapshot: what to write.
        metadata: strings to keep beside it; `model` and `created` have fields of their own in `StateInfo`.
        attached: bytes to keep beside it, of any length; checked like the state itself.
        rounded: store the state in half precision where its numbers are in range (2^-11 of each is lost);
            the logits stay exact.

    Raises:
        StateError: the folder is missing, full or may not be written; an existing file is unharmed.
    """
    tensors = {"logits": _plain(snapshot.logits)} | {
        f"state.{name}": _halved(tensor) if rounded else _plain(tensor)
        for name, tensor in snapshot.state.tensors.items()
    }
    parts: dict[str, bytes | memoryview] = {name: _raw(tensor) for name, tensor in sorted(tensors.items())}
    parts |= {f"{_ATTACHED}{name}": raw for name, raw in sorted((attached or {}).items())}
    own = {
        f"{_OWN}version": str(VERSION if attached else 1),
        f"{_OWN}fingerprint": snapshot.fingerprint,
        f"{_OWN}chain": snapshot.chain,
        f"{_OWN}n_tokens": str(snapshot.n_tokens),
        f"{_OWN}header_sha256": _ZEROS.decode(),
    } | {f"{_OWN}sha256.{name}": sha256(raw).hexdigest() for name, raw in parts.items()}
    given = {str(key): str(value) for key, value in metadata.items() if not key.startswith(_OWN)}
    table: dict[str, object] = {"__metadata__": given | own}
    at = 0
    for name, raw in parts.items():
        dtype = _DTYPES[str(tensors[name].dtype)] if name in tensors else "U8"
        shape = list(tensors[name].shape) if name in tensors else [len(raw)]
        table[name] = {"dtype": dtype, "shape": shape, "data_offsets": [at, at + len(raw)]}
        at += len(raw)
    text = json.dumps(table, separators=(",", ":"), sort_keys=True).encode()
    header = struct.pack("<Q", len(text) + -len(text) % 8) + text + b" " * (-len(text) % 8)
    if len(header) > _MAX_HEADER_BYTES:
        raise StateError(f"The notes beside the state have {len(text):,} bytes.", hint="Shorten them.")
    place = header.index(_HASH_KEY) + len(_HASH_KEY)
    header = header[:place] + sha256(header).hexdigest().encode() + header[place + 64 :]
    write_whole(path, [header, *parts.values()])


def load_state(path: Path, *, fingerprint: str | None = None) -> tuple[Snapshot, dict[str, str]]:
    """Read a snapshot back, every byte of it checked, and the metadata given to `save_state`.

    Raises:
        StateCorrupt: a checksum, a size or a name is wrong.
        StateMismatch: it belongs to another model than `fingerprint`.
        StateVersion: a newer program wrote it.
    """
    import torch

    from chatrwkv.engine.state import Snapshot, State

    with opened(path) as (file, size):
        info, entries, own = _header(path, file, size)
        if fingerprint is not None and fingerprint != info.fingerprint:
            name = f" ({info.model})" if info.model else ""
            raise StateMismatch(
                f"{path.name} belongs to another model{name} than the one that is loaded.",
                hint="Load that model first.",
            )
        tensors: dict[str, Tensor] = {}
        for entry in entries:
            raw = _checked(path, file, entry, own)
            if entry.name.startswith(_ATTACHED):
                continue
            dtype = {"I64": torch.int64, "F16": torch.float16}.get(entry.dtype, torch.float32)
            flat = torch.frombuffer(raw, dtype=dtype) if raw else torch.empty(0, dtype=dtype)
            whole = flat.float() if dtype is torch.float16 else flat
            tensors[entry.name] = whole.reshape(entry.shape)
    if "logits" not in tensors or tensors["logits"].ndim != 1:
        raise _corrupt(path, "it has no logits")
    logits = tensors.pop("logits")
    state = State({name.removeprefix("state."): tensor for name, tensor in tensors.items()})
    snapshot = Snapshot(state, logits, info.n_tokens, info.chain, info.fingerprint)
    return snapshot, dict(info.metadata)


def load_attached(path: Path, name: str) -> bytes:
    """What was attached to a state under `name`, checked; the state itself is not read.

    Raises:
        StateCorrupt: the file is damaged, or holds nothing of that name.
        StateVersion: a newer program wrote it.
    """
    with opened(path) as (file, size):
        _, entries, own = _header(path, file, size)
        for entry in entries:
            if entry.name == f"{_ATTACHED}{name}":
                file.seek(entry.start, os.SEEK_CUR)
                return bytes(_checked(path, file, entry, own))
    raise _corrupt(path, f"it holds no {name}")


def _checked(path: Path, file: BufferedReader, entry: _Entry, own: Mapping[str, str]) -> bytearray:
    raw = bytearray(entry.end - entry.start)
    if file.readinto(raw) != len(raw):
        raise _corrupt(path, "it ends too early")
    if sha256(raw).hexdigest() != own.get(f"sha256.{entry.name}"):
        raise _corrupt(path, f"the checksum of {entry.name!r} does not match")
    return raw


def peek_state(path: Path) -> StateInfo:
    """What the header says, its own checksum verified; the tensors are not read.

    Raises:
        StateCorrupt: the header or the size of the file is wrong.
        StateVersion: a newer program wrote it.
    """
    with opened(path) as (file, size):
        return _header(path, file, size)[0]


def is_own_state(path: Path) -> bool:
    """Whether it is meant to be a `.rwkvstate`, by its name or its header; a damaged one is.

    Raises:
        StateError: it cannot be read.
    """
    if path.suffix == SUFFIX:
        return True
    with opened(path) as (file, _):
        return _HASH_KEY in file.read(_MAX_HEADER_BYTES)


def _plain(tensor: Tensor) -> Tensor:
    dense = tensor.detach().cpu()
    return (dense.float() if dense.is_floating_point() else dense.long()).contiguous()


def _halved(tensor: Tensor) -> Tensor:
    """In half precision, or whole where a number is out of its range (v4 counts from -1e38)."""
    whole = _plain(tensor)
    half = whole.half() if whole.is_floating_point() else whole
    return half if bool(half.isfinite().all()) else whole


def _raw(dense: Tensor) -> memoryview:
    return dense.reshape(-1).numpy().data.cast("B") if dense.numel() else memoryview(b"")


@contextmanager
def opened(path: Path) -> Iterator[tuple[BufferedReader, int]]:
    """The open file and its size.

    Raises:
        StateError: it is not there, may not be read, or is no regular file.
    """
    try:
        status = path.stat()
        if not stat.S_ISREG(status.st_mode):  # a FIFO would block
            raise StateCorrupt(f"{path} is not a file.", hint=_OTHER_FILE)
        with path.open("rb") as file:
            yield file, status.st_size
    except OSError as error:
        raise StateError(
            f"The state {path} cannot be read: {error.strerror}.", hint="Check the path."
        ) from error


def _corrupt(path: Path, why: str, hint: str = _OTHER_FILE) -> StateCorrupt:
    return StateCorrupt(f"{path.name} is no intact state file: {why}.", hint=hint)


def _header(path: Path, file: BufferedReader, size: int) -> tuple[StateInfo, list[_Entry], dict[str, str]]:
    """Everything the header says, checked: the caller's metadata in the info, our own apart."""
    start = file.read(8)
    length = int.from_bytes(start, "little")
    if len(start) < 8 or length > min(size - 8, _MAX_HEADER_BYTES):
        raise _corrupt(path, "the length of its header is impossible", _FOREIGN)
    text = file.read(length)
    place = text.find(_HASH_KEY) + len(_HASH_KEY)
    if text.count(_HASH_KEY) != 1 or len(text) < place + 64:
        raise _corrupt(path, "it has no checksum of the header", _FOREIGN)
    zeroed = text[:place] + _ZEROS + text[place + 64 :]
    if sha256(start + zeroed).hexdigest().encode() != text[place : place + 64]:
        raise _corrupt(path, "the checksum of the header does not match")
    try:
        table = json.loads(text, object_pairs_hook=_without_duplicates)
        metadata: dict[str, str] = table.pop("__metadata__")
        own = {key.removeprefix(_OWN): value for key, value in metadata.items() if key.startswith(_OWN)}
        version, n_tokens = int(own["version"]), int(own["n_tokens"])
        chain, fingerprint = own["chain"], own["fingerprint"]
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
        raise _corrupt(path, "its header cannot be understood") from error
    if not all(isinstance(value, str) for value in metadata.values()):
        raise _corrupt(path, "its metadata are not strings")
    if version > VERSION:
        raise StateVersion(
            f"{path.name} was written by a newer version of chatrwkv (format {version}).",
            hint="Update chatrwkv.",
        )
    if n_tokens < 0 or len(chain) != 64 or not _HEX.issuperset(chain):
        raise _corrupt(path, "its token count or chain is impossible")
    entries = _entries(path, table)
    if 8 + length + (entries[-1].end if entries else 0) != size:
        raise _corrupt(path, f"it has {size:,} bytes, but its header describes another size")
    given = {key: value for key, value in metadata.items() if not key.startswith(_OWN)}
    model, created = given.get("model", ""), given.get("created", "")
    is_rounded = any(entry.dtype == "F16" for entry in entries)
    attached = frozenset(e.name.removeprefix(_ATTACHED) for e in entries if e.name.startswith(_ATTACHED))
    info = StateInfo(path, fingerprint, n_tokens, chain, size, model, created, is_rounded, given, attached)
    return info, entries, own


def _without_duplicates(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    table = dict(pairs)
    if len(table) != len(pairs):
        raise ValueError("a name occurs twice")
    return table


def _entries(path: Path, table: Mapping[str, Any]) -> list[_Entry]:
    """The tensors in the order of their data, which they share without gap or overlap."""
    if len(table) > _MAX_TENSORS:
        raise _corrupt(path, f"it claims {len(table):,} tensors")
    entries = []
    for name, row in table.items():
        try:
            (start, end), dtype = row["data_offsets"], row["dtype"]
            shape = tuple(row["shape"])
            sizes_fit = all(type(n) is int and n >= 0 for n in (*shape, start, end))
            sizes_fit = sizes_fit and len(shape) <= 8 and prod(shape) * _ITEM_BYTES[dtype] == end - start
        except (KeyError, TypeError, ValueError) as error:
            raise _corrupt(path, f"the entry of {name!r} cannot be understood") from error
        if not sizes_fit:
            raise _corrupt(path, f"the sizes of {name!r} do not fit each other")
        entries.append(_Entry(name, dtype, shape, start, end))
    entries.sort(key=lambda entry: (entry.start, entry.end))
    ends = [0, *(entry.end for entry in entries)]
    if any(entry.start != end for entry, end in zip(entries, ends, strict=False)):
        raise _corrupt(path, "its tensors overlap or leave gaps")
    return entries


def write_whole(path: Path, parts: Sequence[bytes | memoryview]) -> None:
    """All parts or nothing: a temporary file in the same folder, synced, then renamed over `path`.

    Raises:
        StateError: the folder is missing, full or may not be written.
    """
    temporary = ""
    try:
        handle, temporary = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)  # 0600
        with os.fdopen(handle, "wb") as file:
            file.writelines(parts)
            file.flush()
            os.fsync(file.fileno())
        Path(temporary).replace(path)
        temporary = ""
        folder = os.open(path.parent, os.O_RDONLY)
        try:
            os.fsync(folder)  # or a crash may bring the old name back
        finally:
            os.close(folder)
    except OSError as error:
        raise StateError(
            f"The state cannot be saved to {path}: {error.strerror}.",
            hint="Check that the folder exists, may be written and has space.",
        ) from error
    finally:
        if temporary:
            with suppress(OSError):
                Path(temporary).unlink()
