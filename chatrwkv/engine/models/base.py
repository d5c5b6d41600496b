"""What every generation does alike around its own `forward`: rows in, logits out, the scratch written.

A family gives weights, a blank state and one pure `forward`; `scan` is that forward on a scratch. `step` is
the same with one token a row, unless the family has a form of it with fewer operations.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from copy import copy
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, ClassVar

import torch
from torch.nn import functional as F

from chatrwkv.engine.models.window import scan_within
from chatrwkv.engine.ops import last_valid, pad_rows, project
from chatrwkv.engine.state import Scratch

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from torch import Tensor

    from chatrwkv.engine.spec import ModelSpec
    from chatrwkv.engine.state import State


@dataclass(frozen=True, slots=True)
class Parts:
    """A family's forward in three pieces, so that its layers can live in several places.

    What the blocks of one call share, or hand to the next, is the family's own affair: tensors, or a
    dataclass of them, that is moved along with the stream.
    """

    blocks: Callable[..., tuple[Tensor, dict[str, Tensor], Any]]
    """Layers, stream (B, T, C), state of these layers, lengths, what is shared -> stream, state, shared."""
    enter: Callable[..., tuple[Tensor, Any]]
    """Weights, ids (B, T), state of no layer, lengths -> stream, what is shared."""
    leave: Callable[..., tuple[Tensor, dict[str, Tensor]]]
    """Weights, stream, what is shared, state of no layer, lengths, all_logits -> logits, state of no layer."""
    of_no_layer: frozenset[str] = frozenset()
    """Names of the state that are not one entry a layer."""

    def forward(
        self,
        weights: Any,
        token_ids: Tensor,
        state: Mapping[str, Tensor],
        lengths: Tensor | None,
        *,
        all_logits: bool,
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """One after the other, everything in one place."""
        x, shared = self.enter(weights, token_ids, state, lengths)
        x, new, shared = self.blocks(weights.layers, x, state, lengths, shared)
        logits, rest = self.leave(weights, x, shared, state, lengths, all_logits=all_logits)
        new |= rest
        return logits, {name: new[name] for name in state}


def embed(
    weights: Any, token_ids: Tensor, _state: Mapping[str, Tensor], _lengths: Tensor | None
) -> tuple[Tensor, None]:
    """`enter` of most families: the embedding, through ln0 unless that is folded."""
    x = F.embedding(token_ids, weights.emb).to(weights.ln_out.weight.dtype)
    return (x if weights.ln0 is None else weights.ln0(x)), None


def read_out(
    weights: Any,
    x: Tensor,
    _shared: object,
    _state: Mapping[str, Tensor],
    lengths: Tensor | None,
    *,
    all_logits: bool,
) -> tuple[Tensor, dict[str, Tensor]]:
    """`leave` of most families: logits (B, T, V) or (B, V), and nothing of the state."""
    if not all_logits:
        x = last_valid(x, x[:, 0], lengths)
    return project(weights.ln_out(x), weights.head), {}


class Recurrent(ABC):
    """A model ready to run; `scan` and `step` write to the scratch they are given and to nothing else."""

    TAKES_OPTIONS: ClassVar[bool] = False
    """Whether the constructor's third argument is what `engine.options` found."""

    PARTS: ClassVar[Parts]
    """Its forward in pieces."""

    RESCALES: ClassVar[bool] = False
    """Whether the layers have a `scale`, so that `rescale` may store their outputs smaller."""

    weights: Any
    """The family's dataclass; `layers` are dataclasses, too."""

    def __init__(self, spec: ModelSpec, device: torch.device) -> None:
        self.spec = spec
        self.device = device

    @abstractmethod
    def blank_rows(self, n_rows: int) -> dict[str, Tensor]:
        """The state before the first token, B behind L, on the model's device."""

    def forward(
        self, token_ids: Tensor, state: Mapping[str, Tensor], lengths: Tensor | None, *, all_logits: bool
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """The family's pure forward on the weights of this model."""
        return self.PARTS.forward(self.weights, token_ids, state, lengths, all_logits=all_logits)

    def rescale(self, every: int) -> None:
        """Keep the outputs of fp16 layers in range: those of layer i are stored 2^(i // every) times smaller.

        The residual stream is float32 and gets them at their true size, so that, unlike in the `rwkv`
        package, which halves the stream itself, no later norm and no state sees the difference.
        """
        layers = list(self.weights.layers)
        for i, layer in enumerate(layers):
            factor = 2.0 ** (i // every)
            if factor > 1 and layer.att.output.dtype == torch.float16:
                layer.att.output.div_(factor)
                layer.ffn.value.div_(factor)
                layers[i] = replace(layer, scale=factor)
        self.weights = replace(self.weights, layers=tuple(layers))

    def headless(self) -> Recurrent:
        """The same weights with the identity as head: what it returns as logits is what the head would read.

        That is the stream after the last norm, C wide. Copy heads of the oldest generations go, too.
        """
        other = copy(self)
        other.weights = _without_head(self.weights, self.spec.n_embd)
        return other

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
        if self.spec.n_context:
            return scan_within(self, rows, scratch, all_logits=all_logits)
        logits, scratch.tensors = self.forward(token_ids, scratch.tensors, lengths, all_logits=all_logits)
        return [row[: len(ids)] for row, ids in zip(logits, rows, strict=True)] if all_logits else logits

    @torch.inference_mode()
    def step(self, token_ids: Sequence[int], scratch: Scratch) -> Tensor:
        """Read one token into each row: logits (B, V)."""
        logits = self.scan([[token_id] for token_id in token_ids], scratch)
        assert isinstance(logits, torch.Tensor)
        return logits


def _without_head(weights: Any, n_embd: int) -> Any:
    copying = {name: None for name in ("head_q", "head_k", "copy_head") if hasattr(weights, name)}
    return replace(weights, head=torch.eye(n_embd, device=weights.ln_out.weight.device), **copying)
