"""What every generation does alike around its own `forward`: rows in, logits out, the scratch written.

A family gives weights, a blank state and one pure `forward`; `scan` is that forward on a scratch. `step` is
the same with one token a row, unless the family has a form of it with fewer operations.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import replace
from typing import TYPE_CHECKING, Any, ClassVar, Protocol

import torch

from chatrwkv.engine.ops import pad_rows
from chatrwkv.engine.state import Scratch

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from torch import Tensor

    from chatrwkv.engine.spec import ModelSpec
    from chatrwkv.engine.state import State


class Blocks(Protocol):
    """`blocks` of a family."""

    def __call__(
        self,
        layers: Sequence[Any],
        x: Tensor,
        state: Mapping[str, Tensor],
        lengths: Tensor | None,
        _carry: Tensor | None = None,
        /,
    ) -> tuple[Tensor, dict[str, Tensor], Tensor | None]:
        """Layers, stream (B, T, C), the layers' state, lengths, what the block before carried -> the same."""
        ...


class Recurrent(ABC):
    """A model ready to run; `scan` and `step` write to the scratch they are given and to nothing else."""

    TAKES_OPTIONS: ClassVar[bool] = False
    """Whether the constructor's third argument is what `engine.options` found."""

    BLOCKS: ClassVar[Blocks | None] = None
    """Some layers one after the other, for layers that live in several places; None: they cannot."""

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

    @abstractmethod
    def forward(
        self, token_ids: Tensor, state: Mapping[str, Tensor], lengths: Tensor | None, *, all_logits: bool
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """The family's pure forward on the weights of this model."""

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
