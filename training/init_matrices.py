"""The author's published initialisation of RWKV 5.2 and 6 (RWKV-v5 folder), whose state is matrices.

Letters as in `init.py`. From this folder on orthogonal weights have no out/in factor.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import torch

from training.init import EMBEDDING_RANGE, Shape, orthogonal
from training.init_vectors import time_mixes, zigzag

if TYPE_CHECKING:
    from torch import Tensor

_ATT_GAINS = {"receptance": 1.0, "key": 0.1, "value": 1.0, "gate": 0.1, "output": 0.0}
_LORA_RANGE = 0.01
MIX_RANK, DECAY_RANK = 32, 64
"""Ranks D and E of v6, as in the World 1B6 and 3B."""


def ffn_width(shape: Shape) -> int:
    """3.5 C, down to a multiple of 32."""
    return shape.n_embd * 7 // 2 // 32 * 32


def initial_v5(shape: Shape, seed: int) -> dict[str, Tensor]:
    """A fresh RWKV 5.2."""
    weights, generator = _start(shape, seed)
    H, N = shape.n_head, shape.head_size
    for layer in range(shape.n_layer):
        att, ffn = f"blocks.{layer}.att.", f"blocks.{layer}.ffn."
        mixes = time_mixes(shape, layer)
        for name, mix in (mixes | {"g": mixes["r"]}).items():
            weights[f"{att}time_mix_{name}"] = mix
        weights[f"{att}time_decay"] = _decay(shape, layer).view(H, N)
        weights[f"{att}time_faaaa"] = _bonus(shape, layer).view(H, N)
        for name in ("k", "r"):
            weights[f"{ffn}time_mix_{name}"] = mixes["k"].clone()
        weights |= _matrices(shape, layer, generator)
    return weights


def initial_v6(shape: Shape, seed: int) -> dict[str, Tensor]:
    """A fresh RWKV 6."""
    weights, generator = _start(shape, seed)
    C, H, N = shape.n_embd, shape.n_head, shape.head_size
    for layer in range(shape.n_layer):
        att, ffn = f"blocks.{layer}.att.", f"blocks.{layer}.ffn."
        mixes = time_mixes(shape, layer)
        sources = {"x": "k", "w": "k", "k": "k", "v": "v", "r": "r", "g": "r"}
        for name, source in sources.items():
            weights[f"{att}time_maa_{name}"] = 1 - mixes[source]
        weights[f"{att}time_maa_w1"] = torch.zeros(C, 5 * MIX_RANK)
        weights[f"{att}time_maa_w2"] = _uniform((5, MIX_RANK, C), _LORA_RANGE, generator)
        weights[f"{att}time_decay"] = _decay(shape, layer).view(1, 1, C)
        weights[f"{att}time_decay_w1"] = torch.zeros(C, DECAY_RANK)
        weights[f"{att}time_decay_w2"] = _uniform((DECAY_RANK, C), _LORA_RANGE, generator)
        weights[f"{att}time_faaaa"] = _bonus(shape, layer).view(H, N)
        q1 = 1.0 - layer / shape.n_layer
        d = (torch.arange(C, dtype=torch.float32) / C).view(1, 1, C)
        for name in ("k", "r"):
            weights[f"{ffn}time_maa_{name}"] = 1 - d ** (q1**3)
        weights |= _matrices(shape, layer, generator)
    return weights


def _uniform(size: tuple[int, ...], half_width: float, generator: torch.Generator) -> Tensor:
    return (torch.rand(size, generator=generator) * 2 - 1) * half_width


def _decay(shape: Shape, layer: int) -> Tensor:
    q0 = layer / (shape.n_layer - 1)
    n = torch.arange(shape.n_embd, dtype=torch.float32)
    return -6 + 5 * (n / (shape.n_embd - 1)) ** (0.7 + 1.3 * q0)


def _bonus(shape: Shape, layer: int) -> Tensor:
    q0 = layer / (shape.n_layer - 1)
    n = torch.arange(shape.n_embd, dtype=torch.float32)
    return q0 * (1 - n / (shape.n_embd - 1)) + 0.1 * zigzag(n)


def _start(shape: Shape, seed: int) -> tuple[dict[str, Tensor], torch.Generator]:
    """Embedding, norms and head."""
    if shape.n_layer < 2:
        raise ValueError(
            f"{shape.n_layer} layer: the formulas divide by layers - 1, so at least 2 are needed"
        )
    generator = torch.Generator().manual_seed(seed)
    C, V = shape.n_embd, shape.n_vocab
    weights = {"emb.weight": _uniform((V, C), EMBEDDING_RANGE, generator)}
    norms = [f"blocks.{layer}.{name}" for layer in range(shape.n_layer) for name in ("ln1", "ln2")]
    for name in ("blocks.0.ln0", *norms, "ln_out"):
        weights[f"{name}.weight"], weights[f"{name}.bias"] = torch.ones(C), torch.zeros(C)
    weights["head.weight"] = orthogonal(V, C, 0.5 * math.sqrt(V / C) if V > C else 0.5, generator)
    return weights, generator


def _matrices(shape: Shape, layer: int, generator: torch.Generator) -> dict[str, Tensor]:
    """The Linear weights and the group norm of a block."""
    C, F = shape.n_embd, ffn_width(shape)
    weights: dict[str, Tensor] = {}
    for name, gain in _ATT_GAINS.items():
        weights[f"blocks.{layer}.att.{name}.weight"] = orthogonal(C, C, gain, generator)
    weights[f"blocks.{layer}.att.ln_x.weight"] = torch.full((C,), ((1 + layer) / shape.n_layer) ** 0.7)
    weights[f"blocks.{layer}.att.ln_x.bias"] = torch.zeros(C)
    weights[f"blocks.{layer}.ffn.key.weight"] = orthogonal(F, C, 1.0, generator)
    weights[f"blocks.{layer}.ffn.receptance.weight"] = torch.zeros(C, C)
    weights[f"blocks.{layer}.ffn.value.weight"] = torch.zeros(C, F)
    return weights
