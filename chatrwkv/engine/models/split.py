"""A model whose layers are on several devices, or are copied to one at each use.

Every family that gives its `blocks` can be split. The stream, the state of the layers and what one block
carries to the next are moved at the borders; states rest on the device of the first layer. One token is a
scan of one: the families' in-place `step` knows one device only.
"""

from __future__ import annotations

from dataclasses import fields, is_dataclass, replace
from itertools import groupby
from typing import TYPE_CHECKING, Any

import torch
from torch.nn import functional as F

from chatrwkv.engine.models.base import Recurrent
from chatrwkv.engine.ops import last_valid, project

if TYPE_CHECKING:
    from collections.abc import Mapping

    from torch import Tensor

    from chatrwkv.engine.models.base import Blocks
    from chatrwkv.engine.plan import Plan


class Split(Recurrent):
    """`model`, whose tensors are where `plan` says, run from there."""

    def __init__(self, model: Recurrent, blocks: Blocks, plan: Plan) -> None:
        super().__init__(model.spec, _device(plan.slots[0].device))
        self.weights = model.weights
        self.plan = plan
        self._model = model
        self._blocks = blocks
        # (first layer, end, device, streamed): streamed layers alone, so that one at a time is copied
        self._runs: list[tuple[int, int, torch.device, bool]] = []
        layers = enumerate(plan.slots[:-1])
        for key, run in groupby(layers, lambda at: (at[1].device, at[1].streamed, at[0] * at[1].streamed)):
            at = [i for i, _ in run]
            self._runs.append((at[0], at[-1] + 1, _device(key[0]), key[1]))

    def blank_rows(self, n_rows: int) -> dict[str, Tensor]:
        """The state before the first token, B behind L."""
        rows = self._model.blank_rows(n_rows)
        return {name: tensor.to(self.device) for name, tensor in rows.items()}

    def forward(
        self, token_ids: Tensor, state: Mapping[str, Tensor], lengths: Tensor | None, *, all_logits: bool
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """The family's forward, with a move before each run of layers."""
        weights = self.weights
        x = F.embedding(token_ids.to(weights.emb.device), weights.emb).float()
        new: dict[str, list[Tensor]] = {name: [] for name in state}
        carry: Tensor | None = None
        for first, end, device, is_streamed in self._runs:
            layers = weights.layers[first:end]
            if is_streamed:
                layers = tuple(moved(layer, device) for layer in layers)
            own = {name: tensor[first:end].to(device) for name, tensor in state.items()}
            carry = None if carry is None else carry.to(device)
            here = None if lengths is None else lengths.to(device)
            x, after, carry = self._blocks(layers, x.to(device), own, here, carry)
            for name, tensor in after.items():
                new[name].append(tensor.to(self.device))
        if not all_logits:
            x = last_valid(x, x[:, 0], None if lengths is None else lengths.to(x.device))
        ln_out, head, place = weights.ln_out, weights.head, _device(self.plan.slots[-1].device)
        if self.plan.slots[-1].streamed:
            ln_out, head = moved(ln_out, place), moved(head, place)
        logits = project(ln_out(x.to(place)), head).to(self.device)
        return logits, {name: torch.cat(parts) for name, parts in new.items()}


def moved(part: Any, device: torch.device) -> Any:
    """A tensor, or a dataclass of tensors, on `device`; copies of pinned memory do not wait."""
    if isinstance(part, torch.Tensor):
        return part.to(device, non_blocking=True)
    if is_dataclass(part) and not isinstance(part, type):
        return replace(part, **{f.name: moved(getattr(part, f.name), device) for f in fields(part)})
    return part


def _device(name: str) -> torch.device:
    return torch.device("cuda:0" if name == "cuda" else name)
