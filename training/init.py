"""The author's published RWKV-7 initialisation, tensor by tensor.

Source: `reference/architectures.md` section 20 of the project's notes, which holds the closed forms of
RWKV-LM's v7 layer constructors and of its trainer's init stage. Letters as there: a is the layer, q0 runs
from 0 to 1 and q1 from 1 to almost 0 over the layers, d_i = i/C, n the channel.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

EMBEDDING_RANGE = 1e-4
"""Half-width of the uniform embedding: ln0 scales it up, so the first steps leave the noise quickly."""


@dataclass(frozen=True, slots=True)
class Shape:
    """The sizes of a model."""

    n_layer: int = 6
    n_embd: int = 192
    n_vocab: int = 4096
    head_size: int = 64
    ffn_factor: int = 4
    n_context: int = 512
    """Rows of the tables of v1; the later generations have none."""

    @property
    def n_head(self) -> int:
        """Heads of one layer."""
        return self.n_embd // self.head_size

    def rank(self, factor: float) -> int:
        """A low rank as suggested: `factor` sqrt(C) rounded to 32, at least 32."""
        return max(32, 32 * round(factor * math.sqrt(self.n_embd) / 32))


def orthogonal(rows: int, columns: int, gain: float, generator: torch.Generator) -> Tensor:
    """A matrix with orthonormal rows or columns (whichever are fewer), times `gain`."""
    flat = torch.randn(max(rows, columns), min(rows, columns), generator=generator)
    q, r = torch.linalg.qr(flat)
    q = q * torch.sign(torch.diagonal(r))  # without the signs QR is not uniform over rotations
    oriented: Tensor = q if rows >= columns else q.T
    return oriented.contiguous() * gain


def _low_rank(rows: int, columns: int, generator: torch.Generator) -> Tensor:
    """The second factor of a low-rank pair: ortho(0.1), times sqrt(rows/cols) when rows > cols."""
    gain = math.sqrt(rows / columns) if rows > columns else 1.0
    return orthogonal(rows, columns, 0.1 * gain, generator)


def _time_mix(shape: Shape, layer: int, generator: torch.Generator) -> dict[str, Tensor]:
    C, N, H = shape.n_embd, shape.head_size, shape.n_head
    q0 = layer / (shape.n_layer - 1)
    q1 = 1.0 - layer / shape.n_layer
    n = torch.arange(C, dtype=torch.float32)
    d = n / C
    lin = n / (C - 1) - 0.5
    y = ((n % N) - (N - 1) / 2) / ((N - 1) / 2)
    z = y * y.abs()
    ranks = {"w": shape.rank(2.5), "a": shape.rank(2.5), "v": shape.rank(1.7), "g": shape.rank(5.0)}
    att: dict[str, Tensor] = {}
    for name, power in (("r", 0.2), ("w", 0.9), ("k", 0.7), ("v", 0.7), ("a", 0.9), ("g", 0.2)):
        att[f"x_{name}"] = 1.0 - d ** (power * q1)
    att["w0"] = -6 + 6 * (n / (C - 1)) ** (1 + q0**0.3) + 0.5 + 2.5 * z
    att["a0"] = -0.19 + 0.3 * z + 0.4 * lin
    att["v0"] = 0.73 - 0.4 * lin
    for name, rank in ranks.items():
        att[f"{name}1"] = torch.zeros(C, rank)
        att[f"{name}2"] = _low_rank(rank, C, generator)
    att["k_k"] = 0.71 - 0.1 * lin
    att["k_a"] = torch.full((C,), 1.02)
    att = {name: t if t.dim() == 2 else t.view(1, 1, C) for name, t in att.items()}
    att["r_k"] = torch.full((H, N), -0.04)
    # The init stage of the trainer overwrites the constructors' uniform ranges with these.
    for name, gain in (("receptance", 1.0), ("key", 0.1), ("value", 1.0)):
        att[f"{name}.weight"] = orthogonal(C, C, gain, generator)
    att["output.weight"] = torch.zeros(C, C)
    att["ln_x.weight"] = torch.full((C,), ((1 + layer) / shape.n_layer) ** 0.7)
    att["ln_x.bias"] = torch.zeros(C)
    return att


def initial_weights(shape: Shape, seed: int) -> dict[str, Tensor]:
    """A fresh model under the checkpoint's own names, float32."""
    if shape.n_layer < 2:
        raise ValueError(
            f"{shape.n_layer} layer: the formulas divide by layers - 1, so at least 2 are needed"
        )
    generator = torch.Generator().manual_seed(seed)
    C, V, F = shape.n_embd, shape.n_vocab, shape.n_embd * shape.ffn_factor
    weights: dict[str, Tensor] = {
        "emb.weight": (torch.rand(V, C, generator=generator) * 2 - 1) * EMBEDDING_RANGE
    }
    for layer in range(shape.n_layer):
        block = f"blocks.{layer}."
        for norm in ("ln0", "ln1", "ln2") if layer == 0 else ("ln1", "ln2"):
            weights[f"{block}{norm}.weight"] = torch.ones(C)
            weights[f"{block}{norm}.bias"] = torch.zeros(C)
        for name, tensor in _time_mix(shape, layer, generator).items():
            weights[f"{block}att.{name}"] = tensor
        q1 = 1.0 - layer / shape.n_layer
        d = torch.arange(C, dtype=torch.float32) / C
        weights[f"{block}ffn.x_k"] = (1.0 - d ** (q1**4)).view(1, 1, C)
        weights[f"{block}ffn.key.weight"] = orthogonal(F, C, 1.0, generator)
        weights[f"{block}ffn.value.weight"] = torch.zeros(C, F)
    weights["ln_out.weight"] = torch.ones(C)
    weights["ln_out.bias"] = torch.zeros(C)
    weights["head.weight"] = orthogonal(V, C, 0.5 * math.sqrt(V / C) if V > C else 0.5, generator)
    return weights


def decays(name: str, tensor: Tensor) -> bool:
    """Whether weight decay applies: two or more dimensions after squeezing, and `.weight` in the name."""
    return tensor.squeeze().dim() >= 2 and ".weight" in name
