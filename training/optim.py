"""The optimiser: Muon for the large matrices of the blocks, AdamW for everything else.

Muon (Keller Jordan, 2024) replaces a matrix's momentum by the nearest orthogonal matrix, found with five
Newton-Schulz steps. The factor 0.2 sqrt(max(rows, columns)) gives its updates the size of AdamW's, so one
learning rate serves both.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from training.init import decays

if TYPE_CHECKING:
    from collections.abc import Mapping

BETAS = (0.9, 0.99)
MOMENTUM = 0.95
_NEWTON_SCHULZ = (3.4445, -4.7750, 2.0315)  # the published quintic: fast, singular values end in 0.7..1.2


def orthogonalise(m: Tensor) -> Tensor:
    """The orthogonal matrix nearest to `m`, roughly, in bfloat16."""
    x = m.bfloat16()
    tall = x.shape[0] > x.shape[1]
    x = x.T if tall else x
    x = x / (x.norm() + 1e-7)
    a, b, c = _NEWTON_SCHULZ
    for _ in range(5):
        gram = x @ x.T
        x = a * x + (b * gram + c * (gram @ gram)) @ x
    nearest: Tensor = x.T if tall else x
    return nearest.float()


def is_block_matrix(name: str, tensor: Tensor) -> bool:
    """Whether Muon takes a tensor: the Linear weights of the blocks, not embedding, head or low ranks."""
    return name.startswith("blocks.") and decays(name, tensor)


class Optimiser:
    """Both optimisers over one set of named weights, with a state that can be saved and restored."""

    def __init__(self, weights: Mapping[str, Tensor], *, weight_decay: float, use_muon: bool = True) -> None:
        self._decay = weight_decay
        self._muon = {n: t for n, t in weights.items() if use_muon and is_block_matrix(n, t)}
        self._momentum = {n: torch.zeros_like(t) for n, t in self._muon.items()}
        rest = {n: t for n, t in weights.items() if n not in self._muon}
        groups: list[dict[str, Any]] = [
            {
                "params": [t for n, t in rest.items() if decays(n, t)],
                "weight_decay": weight_decay,
                "scale": 1.0,
            },
            # the author trains the decay's bias at twice the rate
            {
                "params": [t for n, t in rest.items() if n.endswith("att.w0")],
                "weight_decay": 0.0,
                "scale": 2.0,
            },
            {
                "params": [t for n, t in rest.items() if not decays(n, t) and not n.endswith("att.w0")],
                "weight_decay": 0.0,
                "scale": 1.0,
            },
        ]
        self._adam = torch.optim.AdamW(groups, lr=1.0, betas=BETAS, eps=1e-18, fused=True)

    @torch.no_grad()
    def step(self, lr: float) -> None:
        """One update of every weight from its gradient, then forget the gradients."""
        for group in self._adam.param_groups:
            group["lr"] = lr * group["scale"]
        self._adam.step()
        for name, weight in self._muon.items():
            assert weight.grad is not None
            momentum = self._momentum[name]
            momentum.lerp_(weight.grad, 1 - MOMENTUM)
            ahead = weight.grad.lerp(momentum, MOMENTUM)  # Nesterov
            size = 0.2 * math.sqrt(max(weight.shape))
            weight.mul_(1 - lr * self._decay).add_(orthogonalise(ahead), alpha=-lr * size)
            weight.grad = None
        self._adam.zero_grad(set_to_none=True)

    def state_dict(self) -> dict[str, Any]:
        """Everything that the next step depends on."""
        return {"adam": self._adam.state_dict(), "momentum": self._momentum}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restore what `state_dict` returned."""
        self._adam.load_state_dict(state["adam"])
        for name, tensor in self._momentum.items():
            tensor.copy_(state["momentum"][name])
