"""Tiny synthetic checkpoints with the names, shapes and magnitudes of published ones.

Values are drawn about the published initialisation (fact sheet section 20), with every zero replaced by
something: a weight that starts at zero would hide the code that uses it.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class Size:
    """L layers, C channels, N head size, V vocabulary, F width of ffn (0: the generation's own)."""

    n_layer: int = 2
    n_embd: int = 64
    head_size: int = 64
    n_vocab: int = 50
    n_ffn: int = 0


class Draw:
    """Seeded values; the order of calls decides them."""

    def __init__(self, seed: int) -> None:
        self.generator = torch.Generator().manual_seed(seed)

    def normal(self, *shape: int, mean: float = 0.0, std: float = 1.0) -> Tensor:
        return mean + std * torch.randn(shape, generator=self.generator)

    def uniform(self, *shape: int, low: float = 0.0, high: float = 1.0) -> Tensor:
        return low + (high - low) * torch.rand(shape, generator=self.generator)

    def linear(self, n_out: int, n_in: int, gain: float = 1.0) -> Tensor:
        return self.normal(n_out, n_in, std=gain / n_in**0.5)


def norm(draw: Draw, tensors: dict[str, Tensor], name: str, size: int) -> None:
    tensors[f"{name}.weight"] = draw.uniform(size, low=0.6, high=1.4)
    tensors[f"{name}.bias"] = draw.normal(size, std=0.1)


def rwkv7(size: Size = Size(), seed: int = 0, *, v_in_block_0: bool = False) -> dict[str, Tensor]:
    """RWKV-7; G1 files carry v0 v1 v2 in block 0 too, World files do not."""
    draw, C, F = Draw(seed), size.n_embd, size.n_ffn or 4 * size.n_embd
    tensors = {"emb.weight": draw.normal(size.n_vocab, C, std=0.5)}
    norm(draw, tensors, "blocks.0.ln0", C)
    for i in range(size.n_layer):
        att, ffn = f"blocks.{i}.att.", f"blocks.{i}.ffn."
        norm(draw, tensors, f"blocks.{i}.ln1", C)
        norm(draw, tensors, f"blocks.{i}.ln2", C)
        for j in "rwkvag":
            tensors[f"{att}x_{j}"] = draw.uniform(1, 1, C)
        # w0 from -6 to 0.5 over the channels: decays from 0.9985 down to about 0.68
        spread = torch.linspace(-6, 0.5, C)[torch.randperm(C, generator=draw.generator)]
        tensors[att + "w0"] = spread.view(1, 1, C)
        tensors[att + "a0"] = draw.normal(1, 1, C, mean=-0.2, std=0.3)
        for letter, rank in (("w", 8), ("a", 8), ("v", 6), ("g", 12)):
            if letter == "v" and not (i or v_in_block_0):
                continue
            tensors[f"{att}{letter}1"] = draw.normal(C, rank, std=C**-0.5)
            tensors[f"{att}{letter}2"] = draw.normal(rank, C, std=rank**-0.5)
        if i or v_in_block_0:
            tensors[att + "v0"] = draw.normal(1, 1, C, mean=0.7, std=0.3)
        tensors[att + "k_k"] = draw.normal(1, 1, C, mean=0.7, std=0.1)
        tensors[att + "k_a"] = draw.normal(1, 1, C, mean=1.0, std=0.1)
        tensors[att + "r_k"] = draw.normal(C // size.head_size, size.head_size, mean=-0.04, std=0.1)
        for name, gain in (("receptance", 1.0), ("key", 0.4), ("value", 1.0), ("output", 0.5)):
            tensors[f"{att}{name}.weight"] = draw.linear(C, C, gain)
        norm(draw, tensors, att + "ln_x", C)
        tensors[ffn + "x_k"] = draw.uniform(1, 1, C)
        tensors[ffn + "key.weight"] = draw.linear(F, C)
        tensors[ffn + "value.weight"] = draw.linear(C, F, 0.5)
    norm(draw, tensors, "ln_out", C)
    tensors["head.weight"] = draw.linear(size.n_vocab, C)
    return tensors
