"""States as other programs lay them out, and back. Tensors in, tensors out; knows no file.

    package      the `rwkv` package and ChatRWKV v2: a flat list, layer after layer; v4 att_shift, aa, bb, pp,
                 ffn_shift, v5 to v7 att_shift, wkv (H, N, N), ffn_shift
    albatross    a batch of RWKV-7: shifts (L, 2, B, C), wkv (L, B, H, N, N); older: the package's list with
                 B in front of each entry
    tuned        `blocks.{i}.att.time_state` (H, N, N), the shifts zero: state tuning, and merged checkpoints
    web-rwkv     the same with every matrix transposed
    rows         ChatRWKV v1: (5·L, C), a layer's rows ffn_shift, att_shift, aa, bb, pp
    buffer       rwkv.cpp: one row of float32, a layer's ffn_shift, att_shift, then aa, bb, pp or wkv

A wkv here is (value, key) in every generation. The package and rwkv.cpp have (key, value) in v5 and v6;
tuned states are (value, key) everywhere.

Source: fact sheet, section 11; the package and Albatross as of 2026; `wkv` loops of ggml.

L layers   B rows of a batch   C n_embd   H heads   N head size
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import torch

from chatrwkv.engine.spec import Generation
from chatrwkv.engine.state import State
from chatrwkv.errors import StateMismatch

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from torch import Tensor

_VECTORS = ("att_shift", "aa", "bb", "pp", "ffn_shift")
_MATRIX = ("att_shift", "wkv", "ffn_shift")
_KEY_FIRST = frozenset({Generation.V5_0, Generation.V5_1, Generation.V5_2, Generation.V6})
KNOWN = frozenset({*_KEY_FIRST, Generation.V4, Generation.V7, Generation.V7A})
"""Generations whose states other programs know."""
TUNED = re.compile(r"^blocks\.(\d{1,4})\.att\.time_state$")
OTHER_MODEL = "Use the model that the state was made with."


def to_package(state: State, generation: Generation) -> list[Tensor]:
    """The list of the `rwkv` package; for a generation that it has not, all tensors in order of name."""
    names = _names(state)
    if not names:
        return [state.tensors[name].clone() for name in sorted(state.tensors)]
    tensors = _turned(state.tensors, generation)
    return [_copy(tensors[name][i]) for i in range(len(tensors["att_shift"])) for name in names]


def from_package(entries: Sequence[Tensor], blank: State, generation: Generation) -> State:
    """The inverse of `to_package`. Shapes of a generation that the package has not are for `State.fits`.

    Args:
        entries: of any floating type, on any device.
        blank: a state of the model it is for.
        generation: of that model.

    Raises:
        StateMismatch: number or shapes are not those of the model.
    """
    names = _names(blank)
    if not names:
        if len(entries) != len(blank.tensors):
            raise StateMismatch(
                f"The state has {len(entries)} tensors, one of the model has {len(blank.tensors)}.",
                hint=OTHER_MODEL,
            )
        return State({n: t.clone() for n, t in zip(sorted(blank.tensors), entries, strict=True)})
    n_layer = len(blank.tensors["att_shift"])
    if len(entries) != n_layer * len(names):
        raise StateMismatch(
            f"The state has {len(entries)} tensors; the model, an RWKV-{generation} of {n_layer} layers,"
            f" has {n_layer * len(names)}.",
            hint=OTHER_MODEL,
        )
    wanted = _turned(blank.tensors, generation)
    for at, entry in enumerate(entries):
        name = names[at % len(names)]
        _check_shape(f"{name} of layer {at // len(names)}", entry.shape, wanted[name][0].shape)
    place = blank.tensors["att_shift"].device
    kinds = {
        name: torch.stack([entry.to(place, torch.float32) for entry in entries[k :: len(names)]])
        for k, name in enumerate(names)
    }
    return State({name: tensor.contiguous() for name, tensor in _turned(kinds, generation).items()})


def to_albatross(state: State) -> list[Tensor]:
    """Shifts (L, 2, 1, C) and matrices (L, 1, H, N, N): a batch of one."""
    tensors = state.tensors
    shifts = torch.stack([tensors["att_shift"], tensors["ffn_shift"]], 1)
    return [shifts.unsqueeze(2), tensors["wkv"].unsqueeze(1).clone()]


def from_albatross(entries: Sequence[Tensor], blank: State, row: int) -> State:
    """One row of a batch, in either of the two forms.

    Raises:
        StateMismatch: there is no such row, or the shapes are not those of the model.
    """
    axis = 2 if entries[0].ndim == 4 else 0
    n_rows = entries[0].shape[axis]
    if not 0 <= row < n_rows:
        raise StateMismatch(
            f"The batch has {n_rows} rows, and none is number {row}.", hint="Rows begin at 0."
        )
    if axis == 0:
        return from_package([entry[row] for entry in entries], blank, Generation.V7)
    shifts, wkv = (entry.float() for entry in entries[:2])
    want, matrix = blank.tensors["att_shift"].shape, blank.tensors["wkv"].shape
    _check_shape("the shifts", shifts.shape, (want[0], 2, n_rows, want[1]))
    _check_shape("the matrices", wkv.shape, (matrix[0], n_rows, *matrix[1:]))
    return State(
        {
            "att_shift": _copy(shifts[:, 0, row]),
            "wkv": _copy(wkv[:, row]),
            "ffn_shift": _copy(shifts[:, 1, row]),
        }
    )


def is_batch(entries: Sequence[Tensor]) -> bool:
    """Whether a list of tensors is Albatross': with B in it."""
    shapes = [entry.ndim for entry in entries]
    return shapes[:2] == [4, 5] or (len(shapes) % 3 == 0 and shapes[:3] == [2, 4, 2])


def to_tuned(state: State, *, transposed: bool = False) -> dict[str, Tensor]:
    """The matrices alone, as `blocks.{i}.att.time_state`; the shifts are left out."""
    wkv = state.tensors["wkv"].mT if transposed else state.tensors["wkv"]
    return {f"blocks.{i}.att.time_state": _copy(matrix) for i, matrix in enumerate(wkv)}


def from_tuned(tensors: Mapping[str, Tensor], blank: State, *, transposed: bool = False) -> State:
    """The blank state with tuned matrices; other tensors, those of a merged checkpoint, are not looked at.

    Raises:
        StateMismatch: layers or shapes are not those of the model.
    """
    own = blank.tensors
    if "wkv" not in own:
        raise StateMismatch("A tuned state is a matrix a head, which RWKV-4 has not.", hint=OTHER_MODEL)
    found = {int(match[1]): tensors[name] for name in tensors if (match := TUNED.match(name))}
    n_layer = len(own["wkv"])
    if sorted(found) != list(range(n_layer)):
        raise StateMismatch(
            f"The tuned state has {len(found)} layers, the model {n_layer}.", hint=OTHER_MODEL
        )
    for i, matrix in found.items():
        _check_shape(f"time_state of layer {i}", matrix.shape, own["wkv"][i].shape)
    stacked = torch.stack([found[i].to(own["wkv"].device, torch.float32) for i in range(n_layer)])
    return State({**own, "wkv": _copy(stacked.mT) if transposed else stacked})


def to_buffer(state: State, generation: Generation) -> Tensor:
    """All numbers in one row, as rwkv.cpp has them."""
    tensors = _turned(state.tensors, generation)
    names = _buffer_names(state)
    parts = [tensors[name][i].reshape(-1) for i in range(len(tensors["att_shift"])) for name in names]
    return torch.cat(parts).float()


def from_buffer(numbers: Tensor, blank: State, generation: Generation) -> State:
    """The inverse of `to_buffer`; the rows of ChatRWKV v1 are the same numbers in the same order.

    Raises:
        StateMismatch: so many numbers are no state of the model.
    """
    wanted = _turned(blank.tensors, generation)
    n_numbers = sum(tensor.numel() for tensor in wanted.values())
    if numbers.numel() != n_numbers:
        raise StateMismatch(
            f"The state has {numbers.numel():,} numbers, one of the model has {n_numbers:,}.",
            hint=OTHER_MODEL,
        )
    names, n_layer = _buffer_names(blank), len(wanted["att_shift"])
    sizes = [wanted[name][0].numel() for name in names]
    columns = torch.split(numbers.reshape(n_layer, -1).float(), sizes, 1)
    tensors = {
        name: _copy(column).reshape(wanted[name].shape) for name, column in zip(names, columns, strict=True)
    }
    return State({name: tensor.contiguous() for name, tensor in _turned(tensors, generation).items()})


def _buffer_names(state: State) -> tuple[str, ...]:
    return ("ffn_shift", "att_shift", *[name for name in _names(state) if not name.endswith("shift")])


def _names(state: State) -> tuple[str, ...]:
    """The entries of one layer in the package's order; () for a state that it has not."""
    keys = set(state.tensors)
    return next((names for names in (_VECTORS, _MATRIX) if keys == set(names)), ())


def _turned(tensors: Mapping[str, Tensor], generation: Generation) -> dict[str, Tensor]:
    """With wkv in the orientation of the package, or back from it."""
    return {n: t.mT if n == "wkv" and generation in _KEY_FIRST else t for n, t in tensors.items()}


def _copy(tensor: Tensor) -> Tensor:
    return tensor.clone(memory_format=torch.contiguous_format)


def _check_shape(what: str, found: Sequence[int], wanted: Sequence[int]) -> None:
    if list(found) != list(wanted):
        raise StateMismatch(
            f"The state has {what} of the shape {list(found)}, the model {list(wanted)}.", hint=OTHER_MODEL
        )
