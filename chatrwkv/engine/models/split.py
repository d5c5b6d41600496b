"""A model whose layers are on several devices, or are copied to one at each use.

The stream, the state of the layers and what the blocks share are moved at the borders; the state rests on
the device of the first layer. One token is a scan of one: the families' in-place `step` knows one device only.
Layers that are streamed to a CUDA device arrive there while the one before is computed with, see `belt`.
"""

from __future__ import annotations

from copy import copy
from dataclasses import fields, replace
from itertools import groupby
from typing import TYPE_CHECKING, Any

import torch

from chatrwkv.engine.models.base import Recurrent
from chatrwkv.engine.models.belt import Belt, CudaLanes, each_tensor
from chatrwkv.engine.past import Growth

if TYPE_CHECKING:
    from collections.abc import Mapping

    from torch import Tensor

    from chatrwkv.engine.plan import Plan

_NOT_AT_THE_END = {"emb", "raw_emb", "layers"}  # fields of the families' weights that `leave` has no use for


class Split(Recurrent):
    """`model`, whose tensors are where `plan` says, run from there."""

    def __init__(self, model: Recurrent, plan: Plan) -> None:
        super().__init__(model.spec, _device(plan.slots[0].device))
        self.weights = model.weights
        self.plan = plan
        self._model = model
        # (first layer, end, device, streamed): streamed layers alone, so that one at a time is copied
        self._runs: list[tuple[int, int, torch.device, bool]] = []
        layers = enumerate(plan.slots[:-1])
        for key, run in groupby(layers, lambda at: (at[1].device, at[1].streamed, at[0] * at[1].streamed)):
            at = [i for i, _ in run]
            self._runs.append((at[0], at[-1] + 1, _device(key[0]), key[1]))
        self._belt: Belt[torch.cuda.Event] | None = None

    def blank_rows(self, n_rows: int) -> dict[str, Tensor]:
        """The state before the first token, B behind L."""
        rows = self._model.blank_rows(n_rows)
        return {name: tensor.to(self.device) for name, tensor in rows.items()}

    def headless(self) -> Split:
        """See `Recurrent`; the copy heads' part of the state goes, too."""
        other = copy(self)
        other._model = self._model.headless()  # noqa: SLF001 -- of the same class
        other.weights = other._model.weights  # noqa: SLF001 -- as above
        other._belt = None  # noqa: SLF001 -- as above; its last part may be the head
        return other

    def forward(
        self, token_ids: Tensor, state: Mapping[str, Tensor], lengths: Tensor | None, *, all_logits: bool
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """The family's forward, with a move before each run of layers."""
        parts, weights = self._model.PARTS, self.weights
        of_layers = {name: t for name, t in state.items() if name not in parts.of_no_layer}
        others = {name: t for name, t in state.items() if name in parts.of_no_layer}

        def at(device: torch.device) -> tuple[dict[str, Tensor], Tensor | None]:
            return moved(others, device), moved(lengths, device)

        home = weights.emb.device
        x, shared = parts.enter(weights, token_ids.to(home), *at(home))
        new: dict[str, list[Tensor]] = {name: [] for name in of_layers}
        for first, end, device, is_streamed in self._runs:
            layers = weights.layers[first:end]
            if is_streamed:
                layers = (self._arrived(first, layers[0], device),)
            own = {name: tensor[first:end].to(device) for name, tensor in of_layers.items()}
            x, after, shared = parts.blocks(
                layers, x.to(device), own, moved(lengths, device), moved(shared, device)
            )
            for name, tensor in after.items():
                new[name].append(tensor.to(self.device))
        place = _device(self.plan.slots[-1].device)
        if self.plan.slots[-1].streamed:
            weights = replace(weights, **self._arrived(len(weights.layers), self._at_the_end, place))
        logits, rest = parts.leave(
            weights, x.to(place), moved(shared, place), *at(place), all_logits=all_logits
        )
        merged = {name: torch.cat(runs) for name, runs in new.items()} | moved(rest, self.device)
        return logits.to(self.device), {name: merged[name] for name in state}

    @property
    def _at_the_end(self) -> dict[str, Any]:
        """What `leave` needs of the weights, by name."""
        names = (f.name for f in fields(self.weights) if f.name not in _NOT_AT_THE_END)
        return {name: getattr(self.weights, name) for name in names}

    def _arrived(self, slot: int, part: Any, device: torch.device) -> Any:
        """What is streamed into a slot, on its device."""
        if not _copies_aside(device) or torch.is_grad_enabled():  # a gradient would need what is overwritten
            return moved(part, device)
        streamed = [i for i, one in enumerate(self.plan.slots) if one.streamed]
        if self._belt is None:
            parts = [*self.weights.layers, self._at_the_end]
            self._belt = Belt([parts[i] for i in streamed], device, CudaLanes(device))
        return self._belt.take(streamed.index(slot))


def moved(part: Any, device: torch.device) -> Any:
    """Tensors, however they are held, on `device`; copies of pinned memory to a GPU do not wait."""
    is_elsewhere = device.type != "cpu"  # the CPU would read before they arrive
    return each_tensor(part, lambda one: one.to(device, non_blocking=is_elsewhere), (torch.Tensor, Growth))


def _copies_aside(device: torch.device) -> bool:
    """Whether it can copy while it computes."""
    return device.type == "cuda"


def _device(name: str) -> torch.device:
    return torch.device("cuda:0" if name == "cuda" else name)
