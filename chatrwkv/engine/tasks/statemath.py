"""Two states side by side: how far apart, layer by layer and head by head; and one made of both.

L layers   H heads   N head size   C n_embd   V vocabulary
"""

from __future__ import annotations

from dataclasses import dataclass
from hashlib import sha256
from typing import TYPE_CHECKING

import torch

from chatrwkv.engine.generate import device_of
from chatrwkv.engine.state import N_PAST, Snapshot, State
from chatrwkv.errors import BadValue, StateMismatch

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Mapping, Sequence

    from torch import Tensor

    from chatrwkv.engine.model import LoadedModel

# The matrix of each head, or what stands for it in older generations.
_MEMORY = ("wkv", "aa")
# v4 keeps sums divided by e^pp; adding two needs one common pp.
_SCALED, _SCALE = ("aa", "bb"), "pp"


@dataclass(frozen=True, slots=True)
class Distance:
    """How far two snapshots are apart; zeros for the same."""

    max_difference: float
    """Of any number in the states."""
    kl: float
    """Of the next-token distributions, KL(first || second) in nats."""


@dataclass(frozen=True, slots=True)
class HeadDifference:
    """One head of one layer in two states."""

    cosine: float
    norm_a: float
    norm_b: float
    norm_difference: float


@dataclass(frozen=True, slots=True)
class StateDifference:
    """Two states compared."""

    distance: Distance
    heads: tuple[tuple[HeadDifference, ...], ...]
    """By layer; a generation without heads has one a layer."""

    @property
    def cosine(self) -> float:
        """Of all heads together, each weighted alike."""
        values = [head.cosine for layer in self.heads for head in layer]
        return sum(values) / len(values) if values else 1.0


def distance(a: Snapshot, b: Snapshot) -> Distance:
    """How far two snapshots of one model are apart.

    Raises:
        StateMismatch: they have not the same shape.
    """
    _refuse_other_shapes(a, b)
    pairs = [(t.double(), b.state.tensors[name].double()) for name, t in a.state.tensors.items()]
    largest = max((float((x - y).abs().max()) for x, y in pairs if x.numel()), default=0.0)
    p, q = torch.log_softmax(a.logits.double(), -1), torch.log_softmax(b.logits.double(), -1)
    return Distance(largest, max(0.0, float((p.exp() * (p - q)).sum())))


def difference(a: Snapshot, b: Snapshot) -> StateDifference:
    """Two snapshots of one model, head by head.

    Raises:
        StateMismatch: they have not the same shape.
    """
    apart = distance(a, b)
    name = next((name for name in _MEMORY if name in a.state.tensors), next(iter(a.state.tensors)))
    heads_a, heads_b = _by_head(a.state.tensors[name]), _by_head(b.state.tensors[name])
    return StateDifference(
        apart,
        tuple(
            tuple(_head(x, y) for x, y in zip(layer_a, layer_b, strict=True))
            for layer_a, layer_b in zip(heads_a, heads_b, strict=True)
        ),
    )


def _by_head(tensor: Tensor) -> Tensor:
    """(L, H, N, N) as (L, H, N * N); (L, C) as (L, 1, C)."""
    n_heads = tensor.shape[1] if tensor.ndim == 4 else 1
    return tensor.double().reshape(tensor.shape[0], n_heads, -1)


def _head(x: Tensor, y: Tensor) -> HeadDifference:
    norm_x, norm_y = float(x.norm()), float(y.norm())
    if torch.equal(x, y):
        return HeadDifference(1.0, norm_x, norm_y, 0.0)
    cosine = float(x @ y) / (norm_x * norm_y) if norm_x and norm_y else 0.0
    return HeadDifference(cosine, norm_x, norm_y, float((x - y).norm()))


def moved_by(
    loaded: LoadedModel,
    start: Snapshot | None,
    token_ids: Sequence[int],
    cancelled: Callable[[], bool],
    progress: Callable[[int, int, str], None],
) -> Generator[None, None, list[float] | None]:
    """How far each token moves the state: the norm of the change, as a share of the norm after it.

    Args:
        loaded: the model; on the engine thread.
        start: None is the blank state.
        token_ids: read one by one.
        cancelled: asked before each.
        progress: told after each.

    Returns:
        One number a token; None when it was cancelled.
    """
    model = loaded.model
    before = start.state if start else model.blank()
    scratch = before.thaw(device_of(model))
    moved = []
    for place, token_id in enumerate(token_ids, 1):
        if cancelled():
            return None
        model.step([token_id], scratch) if token_id else model.scan([[token_id]], scratch)
        after = scratch.freeze(0)
        moved.append(_share_moved(before.tensors, after.tensors))
        before = after
        progress(place, len(token_ids), "reading")
        yield
    return moved


def _share_moved(before: Mapping[str, Tensor], after: Mapping[str, Tensor]) -> float:
    name = next((name for name in _MEMORY if name in after), next(iter(after)))
    norm = float(after[name].norm())
    return float((after[name] - before[name]).norm()) / norm if norm else 0.0


def mixed(a: Snapshot, b: Snapshot, weight: float) -> Snapshot:
    """`weight` of `b` and the rest of `a`: experimental, since no text leads to such a state.

    At the weights 0 and 1 it is one of the two, bit for bit. Its chain is a hash of the recipe.

    Raises:
        StateMismatch: they have not the same shape, or the generation keeps its past token by token.
        BadValue: the weight is not between 0 and 1.
    """
    if not 0 <= weight <= 1:
        raise BadValue(f"The weight is {weight}; it must be from 0 to 1.", hint="0.5 takes half of each.")
    _refuse_other_shapes(a, b)
    if N_PAST in a.state.tensors:
        raise StateMismatch(
            "States of this generation hold their past token by token, and cannot be mixed.",
            hint="Mix states of RWKV-4 to 7.",
        )
    if weight in (0, 1):
        return b if weight else a
    chain = sha256(f"mix:{a.chain}:{b.chain}:{weight!r}".encode()).hexdigest()
    state = State(_blended(a.state.tensors, b.state.tensors, weight))
    logits = torch.lerp(a.logits, b.logits, weight)
    return Snapshot(state, logits, max(a.n_tokens, b.n_tokens), chain, a.fingerprint)


def _blended(a: Mapping[str, Tensor], b: Mapping[str, Tensor], weight: float) -> dict[str, Tensor]:
    if _SCALE not in a:
        return {name: torch.lerp(tensor, b[name], weight) for name, tensor in a.items()}
    scale = torch.maximum(a[_SCALE], b[_SCALE])
    factor_a, factor_b = (a[_SCALE] - scale).exp(), (b[_SCALE] - scale).exp()
    made = {
        name: torch.lerp(tensor * factor_a, b[name] * factor_b, weight)
        if name in _SCALED
        else torch.lerp(tensor, b[name], weight)
        for name, tensor in a.items()
    }
    return {**made, _SCALE: scale}


def _refuse_other_shapes(a: Snapshot, b: Snapshot) -> None:
    if a.fingerprint != b.fingerprint:
        raise StateMismatch("The two states belong to different models.", hint="Choose two of one model.")
    shapes = [{name: t.shape for name, t in snapshot.state.tensors.items()} for snapshot in (a, b)]
    if shapes[0] != shapes[1]:
        raise StateMismatch(
            "The two states have not the same shape.",
            hint="States that keep their past token by token can only be compared at the same length.",
        )
