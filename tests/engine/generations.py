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
from tests.reference.rwkv4 import Reference4
from tests.reference.rwkv5 import Reference5, Reference6
from tests.reference.rwkv7 import Reference7

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


CASES = {
    "4": Case(Generation.V4, checkpoints.rwkv4, Reference4),
    "5.0": Case(Generation.V5_0, partial(checkpoints.rwkv5, minor=0), Reference5),
    "5.0 time_first": Case(
        Generation.V5_0, partial(checkpoints.rwkv5, minor=0, has_time_first=True), Reference5
    ),
    "5.1": Case(Generation.V5_1, partial(checkpoints.rwkv5, minor=1), Reference5),
    "5.2": Case(Generation.V5_2, checkpoints.rwkv5, Reference5),
    "6": Case(Generation.V6, checkpoints.rwkv6, Reference6),
    "7": Case(Generation.V7, checkpoints.rwkv7, Reference7),
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
    kinds = [np.stack([state[i] for state in reference.state]) for i in range(len(reference.state[0]))]
    if "aa" in mine:
        pairs = [(mine["att_shift"], kinds[0]), (mine["ffn_shift"], kinds[3])]
        scale = np.exp(mine["pp"])
        pairs += [
            (mine["aa"] * scale / kinds[2], kinds[1] / kinds[2]),
            (mine["bb"] * scale / kinds[2], 1 + 0 * kinds[2]),
        ]
    else:
        is_key_first = isinstance(reference, Reference5)
        matrix = kinds[1].swapaxes(-1, -2) if is_key_first else kinds[1]
        pairs = [(mine["att_shift"], kinds[0]), (mine["wkv"], matrix), (mine["ffn_shift"], kinds[-1])]
    return max(float(np.abs(a - b).max() / max(1.0, np.abs(b).max())) for a, b in pairs)


def canonical(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """A state whose equal values compare equal: v4's sums without their common exponent.

    Numerator over denominator, and the log of the denominator, are what the next token can see.
    """
    if "aa" not in tensors:
        return dict(tensors)
    aa, bb, pp = tensors["aa"], tensors["bb"], tensors["pp"]
    shifts = {name: tensors[name] for name in ("att_shift", "ffn_shift")}
    return shifts | {"mean": aa / bb, "log": bb.log() + pp}
