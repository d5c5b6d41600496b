"""Every generation for training: the author's initialisation, and the engine's own pure `forward`.

RWKV-7 has a faster form in `fast7`; this one serves all seven alike, and is what the engine runs.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from torch.nn import functional as F

from chatrwkv.engine import detect
from chatrwkv.engine.models import rwkv1, rwkv4, rwkv5, rwkv6, rwkv7, rwkv23
from training.init import Shape, initial_weights
from training.init_first import initial_v1
from training.init_matrices import initial_v5, initial_v6
from training.init_vectors import initial_v2, initial_v3, initial_v4

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from torch import Tensor

    from chatrwkv.engine import ModelSpec


@dataclass(frozen=True, slots=True)
class Recipe:
    """How a generation starts and what runs it."""

    initial: Callable[[Shape, int], dict[str, Tensor]]
    weights: Any
    """The family's dataclass, built without a copy from named tensors."""
    module: Any
    """The family's file: `forward` and `blank`."""


RECIPES: dict[str, Recipe] = {
    "1": Recipe(initial_v1, rwkv1.Weights1, rwkv1),
    "2": Recipe(initial_v2, rwkv23.Weights23, rwkv23),
    "3": Recipe(initial_v3, rwkv23.Weights23, rwkv23),
    "4": Recipe(initial_v4, rwkv4.Weights4, rwkv4),
    "5.2": Recipe(initial_v5, rwkv5.Weights5, rwkv5),
    "6": Recipe(initial_v6, rwkv6.Weights6, rwkv6),
    "7": Recipe(initial_weights, rwkv7.Weights7, rwkv7),
}


def forward(generation: str, weights: Mapping[str, Tensor], token_ids: Tensor) -> Tensor:
    """Logits (B, T, V) of rows that start from a blank state; differentiable in the weights.

    Args:
        generation: a key of `RECIPES`.
        weights: checkpoint names to float32 tensors; not folded, not copied.
        token_ids: (B, T) int64.
    """
    recipe = RECIPES[generation]
    spec = detect({name: tuple(t.shape) for name, t in weights.items()})
    built = recipe.weights.build(weights, spec)
    logits: Tensor = recipe.module.forward(built, token_ids, _blank(recipe, built, spec, token_ids))[0]
    return logits


def _blank(recipe: Recipe, built: Any, spec: ModelSpec, token_ids: Tensor) -> dict[str, Tensor]:
    if recipe.module is rwkv1:  # its tables are in the weights
        return rwkv1.blank(built, spec, len(token_ids), token_ids.device)
    blank: dict[str, Tensor] = recipe.module.blank(spec, len(token_ids), token_ids.device)
    return blank


def losses(generation: str, weights: Mapping[str, Tensor], token_ids: Tensor, targets: Tensor) -> Tensor:
    """Cross-entropy of every position in nats, (B, T).

    A row starts from a blank state and keeps it to its end, so rows are to be chained
    (`training.data --chain`).
    """
    logits = forward(generation, weights, token_ids)
    return F.cross_entropy(logits.flatten(0, 1), targets.flatten(), reduction="none").view(targets.shape)
