"""States in the files of other programs, in and out. What a file is, its bytes say, not its name.

    .pth (zip)     a list of tensors: the `rwkv` package's, or Albatross'; a dict with such a list as `state`;
                   a dict with `att.time_state`: a tuned state, or a merged checkpoint; one tensor (5·L, C):
                   ChatRWKV v1's; one row of numbers: rwkv.cpp's
    safetensors    `att.time_state` alone, transposed: web-rwkv's `.st`; with a model beside it: merged
    anything else  float32, as many as the model's state has: rwkv.cpp's buffer, which has no header

Nothing in a file is run: `.pth` files are opened as checkpoints are (`checkpoint.load_zip`). Such a state says
neither which text it has read nor which model it is from, so it is held against the shapes of one.
"""

from __future__ import annotations

import io
from dataclasses import dataclass
from hashlib import sha256
from importlib import import_module
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from safetensors.torch import save as safetensors_of

from chatrwkv.engine import layouts
from chatrwkv.engine.checkpoint import load_zip, open_safetensors
from chatrwkv.engine.reading import is_finite
from chatrwkv.engine.spec import Generation
from chatrwkv.engine.state import Scratch, Snapshot, State
from chatrwkv.engine.statefile import opened, write_whole
from chatrwkv.errors import ModelError, StateCorrupt, StateMismatch

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from torch import Tensor

    from chatrwkv.engine.spec import ModelSpec

_OTHER_FILE = "Choose another file; nothing in this one was run."


def import_state(path: Path, spec: ModelSpec, *, row: int = 0) -> Snapshot:
    """A state from another program's file, for the model of this blueprint.

    Args:
        path: see the module.
        spec: of the model.
        row: which conversation of a batch.

    Returns:
        No tokens read as far as is known, logits of zero, and a chain that is a hash of the state.

    Raises:
        StateMismatch: it is not a state of such a model, or the generation is known to no other program.
        StateCorrupt: the file is damaged, hostile or something else.
        StateError: the file cannot be read.
    """
    blank = _blank(spec)
    with opened(path) as (file, size):
        head = file.read(512)
        try:
            if head.startswith(b"PK\x03\x04"):
                state = _from_content(path, load_zip(path, size), blank, spec.generation, row)
            elif _is_safetensors(head, size):
                found = _with_tuned(path, _tensors(path, dict(open_safetensors(path, size, head))))
                is_alone = all(map(layouts.TUNED.match, found))  # else a merged checkpoint of the usual names
                state = layouts.from_tuned(found, blank, transposed=is_alone)
            else:
                file.seek(0)
                state = _from_numbers(path, file.read(blank.n_bytes + 1), size, blank, spec.generation)
        except ModelError as error:
            raise StateCorrupt(error.message, hint=_OTHER_FILE) from error
    if not all(map(is_finite, state.tensors.values())):
        raise StateCorrupt(f"{path.name} holds values that are no numbers.", hint=_OTHER_FILE)
    chain = sha256(f"state:{state.digest()}".encode()).hexdigest()
    return Snapshot(state, torch.zeros(spec.n_vocab), 0, chain, spec.fingerprint)


def _is_safetensors(head: bytes, size: int) -> bool:
    """Whether a length that can be stands before a brace: a float of a buffer may begin with that byte."""
    return head[8:9] == b"{" and 2 <= int.from_bytes(head[:8], "little") <= size - 8


def _blank(spec: ModelSpec) -> State:
    """The model's state before the first token, without its weights."""
    _refuse_unknown(spec.generation)
    family = import_module(f"chatrwkv.engine.models.rwkv{spec.generation[0]}")
    return Scratch(family.blank(spec, 1)).freeze(0)


def _refuse_unknown(generation: Generation) -> None:
    if generation not in layouts.KNOWN:
        raise StateMismatch(
            f"No other program has states of RWKV-{generation}.", hint="There are those of RWKV-4 to 7."
        )


def _from_content(path: Path, content: Any, blank: State, generation: Generation, row: int) -> State:
    if isinstance(content, dict) and isinstance(content.get("state"), list | tuple):
        content = content["state"]
    if isinstance(content, list | tuple):
        entries = list(_tensors(path, dict(enumerate(content))).values())
        if not layouts.is_batch(entries):
            return layouts.from_package(entries, blank, generation)
        if generation not in _ALBATROSS:
            raise StateMismatch(
                f"{path.name} is a batch of RWKV-7 states.", hint="Use it with an RWKV-7 model."
            )
        return layouts.from_albatross(entries, blank, row)
    if isinstance(content, dict):
        named = {name: value for name, value in content.items() if isinstance(value, torch.Tensor)}
        return layouts.from_tuned(_with_tuned(path, _tensors(path, named)), blank)
    numbers = _tensors(path, {"it": content}).get("it", torch.empty(0, 0, 0))
    is_rows = numbers.ndim == 2 and generation is Generation.V4
    is_rows = is_rows and numbers.shape[1] == blank.tensors["att_shift"].shape[1]
    if numbers.ndim != 1 and not is_rows:
        raise StateMismatch(
            f"{path.name} holds one tensor, and it is no state of an RWKV-{generation}.",
            hint=layouts.OTHER_MODEL,
        )
    return layouts.from_buffer(numbers, blank, generation)


def _from_numbers(path: Path, raw: bytes, size: int, blank: State, generation: Generation) -> State:
    n_bytes = sum(4 * tensor.numel() for tensor in blank.tensors.values())
    if size != n_bytes:
        raise StateMismatch(
            f"{path.name} is no state: neither .pth nor safetensors, and its {size:,} bytes are not the"
            f" {n_bytes:,} of a buffer of this model.",
            hint=layouts.OTHER_MODEL,
        )
    numbers = torch.from_numpy(np.frombuffer(raw, dtype="<f4").astype(np.float32))
    return layouts.from_buffer(numbers, blank, generation)


def _tensors(path: Path, content: dict[Any, Any]) -> dict[str, Tensor]:
    """The floating point tensors, if all is tensors and each has a place in the file."""
    found = {}
    for name, value in content.items():
        if not isinstance(value, torch.Tensor):
            raise StateCorrupt(
                f"{path.name} holds a {type(value).__name__} where a tensor should be.", hint=_OTHER_FILE
            )
        is_plain = value.layout is torch.strided and value.device.type == "cpu" and not value.is_quantized
        if not is_plain or value.nbytes > value.untyped_storage().nbytes():
            raise StateCorrupt(
                f"The tensor {str(name)[:80]!r} of {path.name} is larger than its data.", hint=_OTHER_FILE
            )
        if value.is_floating_point():
            found[str(name)] = value.detach()
    return found


def _with_tuned(path: Path, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    if not any(map(layouts.TUNED.match, tensors)):
        raise StateCorrupt(
            f"{path.name} holds no state: it has {len(tensors)} tensors, and none is an att.time_state.",
            hint=_OTHER_FILE,
        )
    return tensors


# -- out ----------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Form:
    """A file that another program reads."""

    about: str
    generations: frozenset[Generation]
    encode: Callable[[State, Generation], bytes]
    keeps_shifts: bool = True


def _zip_of(content: object) -> bytes:
    file = io.BytesIO()
    torch.save(content, file)
    return file.getvalue()


_ALBATROSS = frozenset({Generation.V7, Generation.V7A})
_WITH_MATRIX = layouts.KNOWN - {Generation.V4}
FORMS = {
    "package": Form(
        "list of the rwkv package", layouts.KNOWN, lambda s, g: _zip_of(layouts.to_package(s, g))
    ),
    "pth": Form(
        "tuned state, without the token shifts",
        _WITH_MATRIX,
        lambda s, _: _zip_of(layouts.to_tuned(s)),
        keeps_shifts=False,
    ),
    "web-rwkv": Form(
        "the same for web-rwkv and ai00 (.st)",
        _WITH_MATRIX,
        lambda s, _: safetensors_of(layouts.to_tuned(s, transposed=True)),
        keeps_shifts=False,
    ),
    "rwkv.cpp": Form(
        "buffer of rwkv.cpp",
        layouts.KNOWN,
        lambda s, g: layouts.to_buffer(s, g).numpy().astype("<f4").tobytes(),
    ),
    "albatross": Form("batch of one", _ALBATROSS, lambda s, _: _zip_of(layouts.to_albatross(s))),
    "chatrwkv-v1": Form(
        "one tensor of ChatRWKV v1",
        frozenset({Generation.V4}),
        lambda s, g: _zip_of(layouts.to_buffer(s, g).reshape(-1, s.tensors["aa"].shape[1])),
    ),
}
"""Name to form."""


def export_state(path: Path, state: State, generation: Generation, form: str) -> bool:
    """Write a state for another program; the file is complete or absent.

    Returns:
        Whether all of the state is in it: forms without token shifts lose theirs.

    Raises:
        StateMismatch: the form has no place for states of this generation.
        StateError: the file cannot be written.
    """
    _refuse_unknown(generation)
    how = FORMS[form]
    if generation not in how.generations:
        names = ", ".join(sorted(name for name, other in FORMS.items() if generation in other.generations))
        raise StateMismatch(
            f"The form {form} has no place for a state of RWKV-{generation}.", hint=f"Use {names}."
        )
    write_whole(path, [how.encode(state, generation)])
    shifts = (tensor for name, tensor in state.tensors.items() if name.endswith("_shift"))
    return how.keeps_shifts or not any(bool(tensor.any()) for tensor in shifts)
