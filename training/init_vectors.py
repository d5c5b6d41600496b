"""The author's published initialisation of RWKV v2, v3 and v4: the generations whose state is vectors.

Letters as in `init.py`; A is the width of attention, here C. Linear weights follow the rule of that time:
orthogonal with gain sqrt(out/in) where out > in, times a scale; a scale of 0 is zeros.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import torch

from training.init import EMBEDDING_RANGE, Shape, orthogonal

if TYPE_CHECKING:
    from torch import Tensor

_ZERO_ATT = ("key", "receptance", "output")
_ZERO_FFN = ("receptance", "value")
_HEAD_SCALE = 0.5


def scaled(rows: int, columns: int, scale: float, generator: torch.Generator) -> Tensor:
    """A Linear weight [out, in] by the rule of v1 to v4."""
    if scale == 0:
        return torch.zeros(rows, columns)
    gain = math.sqrt(rows / columns) if rows > columns else 1.0
    return orthogonal(rows, columns, gain * scale, generator)


def initial_v2(shape: Shape, seed: int) -> dict[str, Tensor]:
    """A fresh RWKV v2, at least three layers; no HeadQK, no ffnPre."""
    if shape.n_layer < 3:
        raise ValueError(
            f"{shape.n_layer} layers: the v2 formulas divide by layers - 2, so at least 3 are needed"
        )
    generator = torch.Generator().manual_seed(seed)
    C = shape.n_embd
    n = torch.arange(C, dtype=torch.float32)
    half = (n >= C // 2).float().view(1, 1, C)
    weights = _frame(shape, generator)
    for layer in range(shape.n_layer):
        att, ffn = f"blocks.{layer}.att.", f"blocks.{layer}.ffn."
        at = (layer - 1) / (shape.n_layer - 2)  # 0 at layer 1; layer 0 extrapolates
        f1, f2 = 3.0 + (1.2 - 3.0) * at, 0.65 + (0.4 - 0.65) * at
        if layer == 1:
            f1 += 0.5
        if layer == shape.n_layer - 2:
            f2 = 0.4
        elif layer == shape.n_layer - 1:
            f2 = 0.37
        weights[f"{att}time_decay"] = torch.log(f2 ** (7 * n / (C - 1)) * f1).view(C, 1)
        weights[f"{att}time_first"] = torch.full((C, 1), math.log(0.3))
        weights[f"{att}time_mix"] = half.clone()
        weights[f"{ffn}time_mix"] = half.clone()
        weights |= _matrices(shape, layer, generator)
    return weights


def initial_v3(shape: Shape, seed: int) -> dict[str, Tensor]:
    """A fresh RWKV v3: as v4 with decay and bonus as columns, and the embedding of v2 under ln0."""
    weights = initial_v4(shape, seed)
    for name in [name for name in weights if name.endswith(("time_decay", "time_first"))]:
        weights[name] = weights[name].view(-1, 1)
    weights["emb.weight"] = _orthogonal_embedding(shape, torch.Generator().manual_seed(seed))
    return weights


def initial_v4(shape: Shape, seed: int, lr_init: float = EMBEDDING_RANGE) -> dict[str, Tensor]:
    """A fresh RWKV v4; the embedding is uniform within the first learning rate."""
    if shape.n_layer < 2:
        raise ValueError(
            f"{shape.n_layer} layer: the formulas divide by layers - 1, so at least 2 are needed"
        )
    generator = torch.Generator().manual_seed(seed)
    C = shape.n_embd
    weights = _frame(shape, generator)
    weights["emb.weight"] = (torch.rand(shape.n_vocab, C, generator=generator) * 2 - 1) * lr_init
    weights["blocks.0.ln0.weight"], weights["blocks.0.ln0.bias"] = torch.ones(C), torch.zeros(C)
    n = torch.arange(C, dtype=torch.float32)
    for layer in range(shape.n_layer):
        att, ffn = f"blocks.{layer}.att.", f"blocks.{layer}.ffn."
        q0 = layer / (shape.n_layer - 1)
        for name, mix in time_mixes(shape, layer).items():
            weights[f"{att}time_mix_{name}"] = mix
        weights[f"{att}time_decay"] = -5 + 8 * (n / (C - 1)) ** (0.7 + 1.3 * q0)
        weights[f"{att}time_first"] = math.log(0.3) + 0.5 * zigzag(n)
        for name in ("k", "r"):
            weights[f"{ffn}time_mix_{name}"] = time_mixes(shape, layer)["k"]
        weights |= _matrices(shape, layer, generator)
    return weights


def time_mixes(shape: Shape, layer: int) -> dict[str, Tensor]:
    """The shares of the current token in k, v and r, (1, 1, C) each: v3 to v5."""
    C = shape.n_embd
    q0, q1 = layer / (shape.n_layer - 1), 1.0 - layer / shape.n_layer
    d = (torch.arange(C, dtype=torch.float32) / C).view(1, 1, C)
    return {"k": d**q1, "v": d**q1 + 0.3 * q0, "r": d ** (0.5 * q1)}


def zigzag(n: Tensor) -> Tensor:
    """0, 1, -1 over and over: what keeps the bonuses of neighbours apart."""
    return (n + 1) % 3 - 1


def _orthogonal_embedding(shape: Shape, generator: torch.Generator) -> Tensor:
    V, C = shape.n_vocab, shape.n_embd
    return orthogonal(V, C, 1e-4 * math.sqrt(max(V, C)), generator)


def _frame(shape: Shape, generator: torch.Generator) -> dict[str, Tensor]:
    """Embedding, norms and head."""
    C = shape.n_embd
    weights = {"emb.weight": _orthogonal_embedding(shape, generator)}
    norms = [f"blocks.{layer}.{name}" for layer in range(shape.n_layer) for name in ("ln1", "ln2")]
    for name in (*norms, "ln_out"):
        weights[f"{name}.weight"], weights[f"{name}.bias"] = torch.ones(C), torch.zeros(C)
    weights["head.weight"] = scaled(shape.n_vocab, C, _HEAD_SCALE, generator)
    return weights


def _matrices(shape: Shape, layer: int, generator: torch.Generator) -> dict[str, Tensor]:
    """The Linear weights of a block."""
    C, F = shape.n_embd, shape.n_embd * shape.ffn_factor
    att = {
        name: scaled(C, C, float(name not in _ZERO_ATT), generator)
        for name in ("key", "value", "receptance", "output")
    }
    sizes = {"key": (F, C), "receptance": (C, C), "value": (C, F)}
    ffn = {name: scaled(*size, float(name not in _ZERO_FFN), generator) for name, size in sizes.items()}
    named = {f"blocks.{layer}.att.{name}.weight": t for name, t in att.items()}
    return named | {f"blocks.{layer}.ffn.{name}.weight": t for name, t in ffn.items()}
