"""What a model remembers: `State` at rest, `Scratch` in motion, `Snapshot` with what belongs to it.

A state is a value: nothing writes to it, so a fork is a second reference and an undo is keeping the first.
`thaw` makes the one mutable copy, and `Scratch.freeze` takes a copy back out. Names and shapes are declared
by the generation; every tensor is float32, whatever the weights are, so that a state outlives a change of
precision (the token shifts lose nothing by it, the matrices need it).

L layers   B rows, one conversation each   C n_embd   H heads   N head size   V vocabulary
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
        return cls({name: torch.stack([s.tensors[name].to(place) for s in states], 1) for name in first})

    @property
    def n_rows(self) -> int:
        """B."""
        return int(next(iter(self.tensors.values())).shape[1])

    def freeze(self, row: int) -> State:
        """A copy of one row, which no later step can reach."""
        # `contiguous` alone would return a view where L or B is 1.
        return State(
            {
                name: tensor[:, row].clone(memory_format=torch.contiguous_format)
                for name, tensor in self.tensors.items()
            }
        )

    def drop(self, rows: Iterable[int]) -> None:
        """Let these rows go; the others close up in order."""
        gone = set(rows)
        self._take([row for row in range(self.n_rows) if row not in gone])

    def append(self, other: Scratch) -> None:
        """Add the rows of `other` behind the own ones."""
        for name, tensor in self.tensors.items():
            self.tensors[name] = torch.cat([tensor, other.tensors[name].to(tensor.device)], 1)

    def to(self, device: torch.device) -> None:
        """Move all rows to `device`; nothing happens if they are there."""
        for name, tensor in self.tensors.items():
            if tensor.device != device:
                self.tensors[name] = tensor.to(device)

    def _take(self, rows: list[int]) -> None:
        for name, tensor in self.tensors.items():
            self.tensors[name] = tensor[:, rows]


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
