"""The generations under test: a maker of tiny checkpoints and a float64 reference for each."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from chatrwkv.engine.model import _family
from chatrwkv.engine.spec import Generation, ModelSpec, detect
from tests import checkpoints
from tests.checkpoints import Size
from tests.reference.rwkv1 import Reference1
from tests.reference.rwkv4 import Reference4
from tests.reference.rwkv4ab import Reference4a, Reference4b
from tests.reference.rwkv5 import Reference5, Reference6
from tests.reference.rwkv7 import Reference7
from tests.reference.rwkv8 import Reference8
from tests.reference.rwkv23 import Reference23

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from torch import Tensor

N_VOCAB = 50
DEFAULT_SIZE = Size(2, 64, 32, N_VOCAB)


@dataclass(frozen=True)
class Case:
    """One variant."""

    generation: Generation
    make: Callable[..., dict[str, Tensor]]
    reference: Any
    borrows: bool = False
    """Its recurrence is that of another case, where all sizes and cuts are tried."""


_v2 = partial(checkpoints.rwkv23, is_v2=True)
CASES = {
    "1": Case(Generation.V1, checkpoints.rwkv1, Reference1),
    "1 tiny_att": Case(Generation.V1, partial(checkpoints.rwkv1, tiny_heads=2, has_copy=False), Reference1),
    "2": Case(Generation.V2, partial(_v2, one_mix=True), Reference23, borrows=True),
    "2 HeadQK": Case(Generation.V2, partial(_v2, one_mix=True, copy_width=24), Reference23, borrows=True),
    "2 new": Case(Generation.V2, partial(_v2, ffn_pre=True, copy_width=24), Reference23, borrows=True),
    "3": Case(Generation.V3, checkpoints.rwkv23, Reference23, borrows=True),
    "3 ffnPre": Case(Generation.V3, partial(checkpoints.rwkv23, ffn_pre=True), Reference23, borrows=True),
    "4": Case(Generation.V4, checkpoints.rwkv4, Reference4),
    "4a": Case(Generation.V4A, checkpoints.rwkv4a, Reference4a, borrows=True),
    "4b": Case(Generation.V4B, checkpoints.rwkv4b, Reference4b, borrows=True),
    "5.0": Case(Generation.V5_0, partial(checkpoints.rwkv5, minor=0), Reference5),
    "5.0 time_first": Case(
        Generation.V5_0, partial(checkpoints.rwkv5, minor=0, has_time_first=True), Reference5
    ),
    "5.1": Case(Generation.V5_1, partial(checkpoints.rwkv5, minor=1), Reference5),
    "5.2": Case(Generation.V5_2, checkpoints.rwkv5, Reference5),
    "6": Case(Generation.V6, checkpoints.rwkv6, Reference6),
    "7": Case(Generation.V7, checkpoints.rwkv7, Reference7),
    "7a": Case(Generation.V7A, checkpoints.rwkv7a, Reference8, borrows=True),
    "7b": Case(Generation.V7B, checkpoints.rwkv7b, Reference8, borrows=True),
    "8-rc00": Case(Generation.V8RC, checkpoints.rwkv8, Reference8, borrows=True),
    "8-rc00-hybrid": Case(
        Generation.V8RC_HYBRID, partial(checkpoints.rwkv8, is_hybrid=True), Reference8, borrows=True
    ),
}


def spec_of(tensors: Mapping[str, Tensor]) -> ModelSpec:
    return detect({name: tuple(tensor.shape) for name, tensor in tensors.items()})


def model_from(tensors: Mapping[str, Tensor]) -> Any:
    """As `load_model` builds it, from tensors as they are."""
    spec = spec_of(tensors)
    return _family(spec.generation)(spec, dict(tensors))


def model_of(name: str, size: Size = DEFAULT_SIZE, seed: int = 0) -> Any:
    return model_from(CASES[name].make(size, seed))


def module_of(name: str) -> Any:
    """The family's file: `forward`, `blank` and the weights class."""
    import sys

    return sys.modules[type(model_of(name)).__module__]


def weights_type(name: str) -> Any:
    return type(model_of(name).weights)


def ids_of(n: int, seed: int = 1, n_vocab: int = N_VOCAB) -> list[int]:
    ids = torch.randint(0, n_vocab, (n,), generator=torch.Generator().manual_seed(seed))
    return [int(token_id) for token_id in ids]


def step_all(model: Any, ids: list[int], scratch: Any = None) -> tuple[Tensor, Any]:
    """Logits (T, V) token by token, and the scratch after."""
    scratch = scratch or model.blank().thaw()
    return torch.stack([model.step([token_id], scratch)[0] for token_id in ids]), scratch


def worst(a: Any, b: Any) -> float:
    return float((torch.as_tensor(a) - torch.as_tensor(b)).abs().max())


def state_error(scratch: Any, reference: Any) -> float:
    """The worst difference of row 0 from the reference's state, relative to the largest value of its kind."""
    mine = {name: tensor[:, 0].double().numpy() for name, tensor in scratch.tensors.items()}
    rows = getattr(reference, "state", [[]])
    kinds = [np.stack([state[i] for state in rows]) for i in range(len(rows[0]))]
    pairs = []
    if "aa" in mine:
        pairs = [(mine["att_shift"], kinds[0]), (mine["ffn_shift"], kinds[3])]
        scale = np.exp(mine["pp"])
        total = np.where(kinds[2] > 0, kinds[2], 1)  # block 0 sums nothing under ffnPre
        pairs += [
            (mine["aa"] * scale / total, kinds[1] / total),
            (mine["bb"] * scale / total, kinds[2] / total),
        ]
    elif "wkv" in mine:
        is_key_first = isinstance(reference, Reference5)
        matrix = kinds[1].swapaxes(-1, -2) if is_key_first else kinds[1]
        pairs = [(mine["att_shift"], kinds[0]), (mine["wkv"], matrix), (mine["ffn_shift"], kinds[-1])]
    pairs += [(mine[name], value) for name, value in getattr(reference, "past", {}).items()]
    assert all(a.shape == b.shape for a, b in pairs), [(a.shape, b.shape) for a, b in pairs]
    return max(float(np.abs(a - b).max() / max(1.0, np.abs(b).max())) for a, b in pairs)


def noisy_state(model: Any, n_rows: int = 1, *, seed: int = 2) -> dict[str, Tensor]:
    """Positive values, so that v4's denominator is one, and a past of 5 tokens where there is a past."""
    state = model.blank_rows(n_rows)
    if "n_past" in state:
        ids = torch.tensor([ids_of(5, row + 7, model.spec.n_vocab) for row in range(n_rows)])
        state = model.forward(ids, state, torch.tensor([5, 3][:n_rows]), all_logits=False)[1]
    noise = torch.Generator().manual_seed(seed)
    return {
        name: tensor.detach().clone().uniform_(0.1, 1.0, generator=noise)
        if tensor.is_floating_point()
        else tensor
        for name, tensor in state.items()
    }


def canonical(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """A state whose equal values compare equal: v4's sums without their common exponent, v1's by ratio.

    Numerator over denominator, and the log of the denominator, are what the next token can see.
    """
    if "sum_k" in tensors:
        return {n: t.asinh() if n in {"sum_k", "past_m"} else t for n, t in tensors.items()}
    if "aa" not in tensors:
        return dict(tensors)
    aa, bb, pp = tensors["aa"], tensors["bb"], tensors["pp"]
    bb = torch.where(bb > 0, bb, 1.0)  # block 0 sums nothing under ffnPre
    others = {name: tensor for name, tensor in tensors.items() if name not in {"aa", "bb", "pp"}}
    return others | {"mean": aa / bb, "log": bb.log() + pp}
