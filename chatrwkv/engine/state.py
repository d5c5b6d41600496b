"""What a model remembers: `State` at rest, `Scratch` in motion, `Snapshot` with what belongs to it.

A state is a value: nothing writes to it, so a fork is a second reference and an undo is keeping the first.
`thaw` makes the one mutable copy, and `Scratch.freeze` takes a copy back out. Names and shapes are declared
by the generation; every tensor is float32, whatever the weights are, so that a state outlives a change of
precision (the token shifts lose nothing by it, the matrices need it).

A generation that attends over its past (1, 4b, 7b, the 8 hybrid, 2 and 3 with HeadQK) has tensors that grow:
their names begin with `past_`, one entry a token, and `n_past` counts them. A state holds exactly n_past
entries; a scratch holds at least as many as its longest row, and what lies behind a row's own n_past means
nothing. Token ids are int64.

L layers   B rows, one conversation each   C n_embd   H heads   N head size   V vocabulary   n = n_past
"""

from __future__ import annotations

from dataclasses import dataclass
from hashlib import sha256
from types import MappingProxyType
from typing import TYPE_CHECKING, Self

import torch

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from torch import Tensor

PAST = "past_"
"""Tensors of this name grow: (L, n, …) in a state, (L, B, n, …) in a scratch."""
PAST_IDS = PAST + "ids"
N_PAST = "n_past"
"""How many of their entries count: (1,) int64 in a state, (1, B) in a scratch."""


@dataclass(frozen=True, slots=True, eq=False)
class State:
    """One conversation at rest.

    v5-v7: att_shift (L, C), wkv (L, H, N, N), ffn_shift (L, C); v4: aa, bb, pp (L, C) in place of wkv.
    """

    tensors: Mapping[str, Tensor]

    def __post_init__(self) -> None:
        object.__setattr__(self, "tensors", MappingProxyType(dict(self.tensors)))

    def thaw(self, device: torch.device | str | None = None) -> Scratch:
        """A mutable copy with one row."""
        return Scratch.stack([self], device)

    def fits(self, blank: State, n_vocab: int) -> bool:
        """Whether names and shapes are those of `blank`, a state of the same model, but for the past.

        The past may have any length, if all of it has the same; its ids are below `n_vocab`.
        """
        mine = self.tensors
        if mine.keys() != blank.tensors.keys():
            return False
        n_past = int(mine[N_PAST]) if N_PAST in mine and mine[N_PAST].numel() == 1 else 0
        ids = mine.get(PAST_IDS)
        return all(
            list(mine[name].shape) == _grown(name, list(tensor.shape), n_past)
            and mine[name].is_floating_point() == tensor.is_floating_point()
            for name, tensor in blank.tensors.items()
        ) and (ids is None or not n_past or (int(ids.min()) >= 0 and int(ids.max()) < n_vocab))

    @property
    def n_bytes(self) -> int:
        """Memory of all tensors."""
        return sum(tensor.nbytes for tensor in self.tensors.values())

    def digest(self) -> str:
        """sha256 over names, shapes and values: equal digests are equal states."""
        total = sha256()
        for name in sorted(self.tensors):
            tensor = self.tensors[name].detach().cpu().contiguous()
            total.update(f"{name}:{tensor.dtype}:{list(tensor.shape)};".encode())
            total.update(tensor.view(-1).view(torch.uint8).numpy().data)
        return total.hexdigest()

    def __deepcopy__(self, memo: dict[int, object]) -> Self:
        copy = type(self)({name: tensor.clone() for name, tensor in self.tensors.items()})
        memo[id(self)] = copy
        return copy

    def __reduce__(self) -> tuple[type[Self], tuple[dict[str, Tensor]]]:
        return type(self), (dict(self.tensors),)  # a mapping proxy does not pickle


class Scratch:
    """B conversations in motion: the tensors of their states with B behind L. Only the engine thread writes."""

    def __init__(self, tensors: Mapping[str, Tensor]) -> None:
        self.tensors = dict(tensors)

    @classmethod
    def stack(cls, states: Sequence[State], device: torch.device | str | None = None) -> Self:
        """Copies of `states` as rows, on `device` or where the first one is."""
        first = states[0].tensors
        place = device if device is not None else next(iter(first.values())).device
        return cls(
            {
                name: torch.stack(_level(name, [s.tensors[name].to(place) for s in states], 1), 1)
                for name in first
            }
        )

    @property
    def n_rows(self) -> int:
        """B."""
        return int(next(iter(self.tensors.values())).shape[1])

    def freeze(self, row: int) -> State:
        """A copy of one row, which no later step can reach."""
        # `contiguous` alone would return a view where L or B is 1.
        alone = {name: tensor[:, row] for name, tensor in self.tensors.items()}
        if N_PAST in alone:
            n_past = int(alone[N_PAST])
            alone = {n: t.narrow(1, 0, n_past) if n.startswith(PAST) else t for n, t in alone.items()}
        return State({n: t.clone(memory_format=torch.contiguous_format) for n, t in alone.items()})

    def drop(self, rows: Iterable[int]) -> None:
        """Let these rows go; the others close up in order."""
        gone = set(rows)
        self._take([row for row in range(self.n_rows) if row not in gone])

    def append(self, other: Scratch) -> None:
        """Add the rows of `other` behind the own ones."""
        for name, tensor in self.tensors.items():
            parts = _level(name, [tensor, other.tensors[name].to(tensor.device)], 2)
            self.tensors[name] = torch.cat(parts, 1)

    def to(self, device: torch.device) -> None:
        """Move all rows to `device`; nothing happens if they are there."""
        for name, tensor in self.tensors.items():
            if tensor.device != device:
                self.tensors[name] = tensor.to(device)

    def _take(self, rows: list[int]) -> None:
        for name, tensor in self.tensors.items():
            self.tensors[name] = tensor[:, rows]


def _grown(name: str, shape: list[int], n_past: int) -> list[int]:
    """The shape of a blank tensor after `n_past` tokens."""
    return [shape[0], n_past, *shape[2:]] if name.startswith(PAST) else shape


def _level(name: str, tensors: list[Tensor], axis: int) -> list[Tensor]:
    """Tensors that grow, made as long as the longest along `axis`, with zeros; others as they are."""
    if not name.startswith(PAST):
        return tensors
    longest = max(tensor.shape[axis] for tensor in tensors)
    return [lengthened(tensor, longest, axis) for tensor in tensors]


def lengthened(tensor: Tensor, n: int, axis: int) -> Tensor:
    """The tensor with `n` entries along `axis`, zeros behind its own."""
    missing = list(tensor.shape)
    missing[axis] = n - missing[axis]
    return torch.cat([tensor, tensor.new_zeros(missing)], axis) if missing[axis] else tensor


@dataclass(frozen=True, slots=True, eq=False)
class Snapshot:
    """What a message keeps, so that a fork prefills nothing."""

    state: State
    logits: Tensor
    """(V,) float32, after the last token."""
    n_tokens: int
    chain: str
    """`identity.extend` over every token so far."""
    fingerprint: str
    """Of the model whose state it is."""

    @property
    def n_bytes(self) -> int:
        """Memory of state and logits."""
        return self.state.n_bytes + self.logits.nbytes
