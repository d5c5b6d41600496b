"""The author's published initialisation of RWKV v1 (2021): biases everywhere, tables over the context.

Letters as in `init.py`; T is the context length. Linear weights follow the rule of v1 to v4 (`scaled`).
Without HeadQK and tiny attention, as the code was until August 2021 but for the later `time_out`.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import torch

from training.init import Shape, orthogonal
from training.init_vectors import scaled

if TYPE_CHECKING:
    from torch import Tensor

EMBEDDING_SCALE = 0.4
"""`rwkv_emb_scale`, which scales the head too."""
_ATT_SCALES = {"key": 0.0, "value": 1.0, "receptance": 0.0, "output": 0.0}


def mlp_width(shape: Shape) -> int:
    """5/2 of the nominal width C, as GeGLU-like layers have it."""
    return shape.n_embd * 5 // 2


def decay_curves(shape: Shape) -> Tensor:
    """`time_w` (H, T): exp(-(T - 1 - i) s_h) with s_h = T^(-(h + 1)/(H - 1)), the last head flat."""
    H, T = shape.n_head, shape.n_context
    if H < 2:
        raise ValueError(f"{H} head: the v1 formulas divide by heads - 1, so at least 2 are needed")
    ago = T - 1 - torch.arange(T, dtype=torch.float32)
    speeds = [T ** (-(h + 1) / (H - 1)) for h in range(H - 1)] + [0.0]
    return torch.exp(-torch.tensor(speeds)[:, None] * ago)


def initial_v1(shape: Shape, seed: int) -> dict[str, Tensor]:
    """A fresh RWKV v1, at least two heads."""
    generator = torch.Generator().manual_seed(seed)
    C, V, H, T, F = shape.n_embd, shape.n_vocab, shape.n_head, shape.n_context, mlp_width(shape)
    weights = {"tok_emb.weight": orthogonal(V, C, math.sqrt(max(V, C)) * EMBEDDING_SCALE, generator)}
    sizes = {"key": (F, C), "value": (F, C), "weight": (C, F), "receptance": (C, C)}
    for layer in range(shape.n_layer):
        att, mlp = f"blocks.{layer}.attn.", f"blocks.{layer}.mlp."
        for norm in (f"blocks.{layer}.ln1", f"blocks.{layer}.ln2"):
            weights[f"{norm}.weight"], weights[f"{norm}.bias"] = torch.ones(C), torch.zeros(C)
        weights[f"{att}time_w"] = decay_curves(shape)
        weights[f"{att}time_alpha"] = torch.ones(H, 1, T)
        weights[f"{att}time_beta"] = torch.ones(H, T, 1)
        weights[f"{att}time_gamma"] = torch.ones(T, 1)
        for name, scale in _ATT_SCALES.items():
            weights[f"{att}{name}.weight"] = scaled(C, C, scale, generator)
            weights[f"{att}{name}.bias"] = torch.zeros(C)
        for name, (rows, columns) in sizes.items():
            scale = float(name in ("key", "value"))
            weights[f"{mlp}{name}.weight"] = scaled(rows, columns, scale, generator)
            weights[f"{mlp}{name}.bias"] = torch.zeros(rows)
    weights["ln_f.weight"], weights["ln_f.bias"] = torch.ones(C), torch.zeros(C)
    weights["head.weight"] = scaled(V, C, EMBEDDING_SCALE, generator)
    weights["time_out"] = torch.ones(1, T, 1)
    return weights
