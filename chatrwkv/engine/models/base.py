"""What every generation does alike around its own `forward`: rows in, logits out, the scratch written.

A family gives weights, a blank state and one pure `forward`; `scan` is that forward on a scratch. `step` is
the same with one token a row, unless the family has a form of it with fewer operations.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, ClassVar

import torch

from chatrwkv.engine.ops import pad_rows
from chatrwkv.engine.state import Scratch

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from torch import Tensor

    from chatrwkv.engine.spec import ModelSpec
    from chatrwkv.engine.state import State


class Recurrent(ABC):
    """A model ready to run; `scan` and `step` write to the scratch they are given and to nothing else."""

    TAKES_OPTIONS: ClassVar[bool] = False
    """Whether the constructor's third argument is what `engine.options` found."""

    def __init__(self, spec: ModelSpec, device: torch.device) -> None:
        self.spec = spec
        self.device = device

    @abstractmethod
    def blank_rows(self, n_rows: int) -> dict[str, Tensor]:
        """The state before the first token, B behind L, on the model's device."""

    @abstractmethod
    def forward(
        self, token_ids: Tensor, state: Mapping[str, Tensor], lengths: Tensor | None, *, all_logits: bool
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """The family's pure forward on the weights of this model."""

    def blank(self) -> State:
        """The state before the first token."""
        return Scratch(self.blank_rows(1)).freeze(0)

    @torch.inference_mode()
    def scan(
        self, rows: Sequence[Sequence[int]], scratch: Scratch, *, all_logits: bool = False
    ) -> Tensor | list[Tensor]:
        """Read one or more tokens into each row: logits (B, V), or B of (T_b, V) with `all_logits`."""
        token_ids, lengths = pad_rows(rows, self.device)
        scratch.to(self.device)
        logits, scratch.tensors = self.forward(token_ids, scratch.tensors, lengths, all_logits=all_logits)
        return [row[: len(ids)] for row, ids in zip(logits, rows, strict=True)] if all_logits else logits

    @torch.inference_mode()
    def step(self, token_ids: Sequence[int], scratch: Scratch) -> Tensor:
        """Read one token into each row: logits (B, V)."""
        logits = self.scan([[token_id] for token_id in token_ids], scratch)
        assert isinstance(logits, torch.Tensor)
        return logits
