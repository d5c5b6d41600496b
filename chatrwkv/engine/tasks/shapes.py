"""Random checkpoints in the shapes of published ones, for measurements: speed does not depend on the values.

Except for the zeros behind the squared ReLU of the feed-forward part: of random weights half are zero.

C n_embd   F width of ffn   H heads   N head size   V vocabulary
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

import torch
from safetensors.torch import save_file

if TYPE_CHECKING:
    from pathlib import Path

    from torch import Tensor


class _Matrix(Protocol):
    def __call__(self, name: str, rows: int, cols: int, gain: float = 1.0, /) -> None: ...


class _Vector(Protocol):
    def __call__(self, name: str, /, *size: int, mean: float = 0.0, std: float = 0.1) -> None: ...


@dataclass(frozen=True, slots=True)
class Shape:
    """Of an RWKV-7; C four times in F, and the published ranks."""

    n_layer: int
    n_embd: int
    ranks: tuple[int, int, int, int]
    """Of the low-rank pairs w, a, v and g."""
    head_size: int = 64
    n_vocab: int = 65536


SHAPES = {
    "0.1b": Shape(12, 768, (64, 64, 32, 128)),
    "0.4b": Shape(24, 1024, (64, 64, 32, 128)),
    "1.5b": Shape(24, 2048, (96, 96, 64, 256)),
}


def write_random(shape: Shape, path: Path, seed: int = 0) -> None:
    """Write a bf16 checkpoint (.safetensors): as large as a published one, and as good as noise."""
    save_file(random_tensors(shape, seed), path)


def random_tensors(shape: Shape, seed: int = 0) -> dict[str, Tensor]:
    """The same in memory."""
    generator = torch.Generator().manual_seed(seed)
    tensors: dict[str, Tensor] = {}

    def matrix(name: str, rows: int, cols: int, gain: float = 1.0) -> None:
        values = torch.empty(rows, cols, dtype=torch.bfloat16)
        tensors[name] = values.normal_(std=gain / cols**0.5, generator=generator)

    def vector(name: str, *size: int, mean: float = 0.0, std: float = 0.1) -> None:
        tensors[name] = (mean + std * torch.randn(size, generator=generator)).bfloat16()

    def norm(name: str) -> None:
        vector(f"{name}.weight", shape.n_embd, mean=1.0)
        vector(f"{name}.bias", shape.n_embd)

    matrix("emb.weight", shape.n_vocab, shape.n_embd)
    for i in range(shape.n_layer):
        norms = ("ln0", "ln1", "ln2", "att.ln_x") if i == 0 else ("ln1", "ln2", "att.ln_x")
        for name in norms:
            norm(f"blocks.{i}.{name}")
        _layer(shape, f"blocks.{i}.", matrix, vector, is_first=i == 0)
    norm("ln_out")
    matrix("head.weight", shape.n_vocab, shape.n_embd)
    return tensors


def _layer(shape: Shape, at: str, matrix: _Matrix, vector: _Vector, *, is_first: bool) -> None:
    width = shape.n_embd
    for j in "rkvwag":
        vector(f"{at}att.x_{j}", 1, 1, width, mean=0.5)
    for j, rank in zip("wavg", shape.ranks, strict=True):
        if j == "v" and is_first:
            continue
        matrix(f"{at}att.{j}1", width, rank)
        matrix(f"{at}att.{j}2", rank, width)
        if j != "g":
            vector(f"{at}att.{j}0", 1, 1, width, std=1.0)
    vector(at + "att.k_k", 1, 1, width, mean=0.7)
    vector(at + "att.k_a", 1, 1, width, mean=1.0)
    vector(at + "att.r_k", width // shape.head_size, shape.head_size)
    for name in ("receptance", "key", "value", "output"):
        matrix(f"{at}att.{name}.weight", width, width)
    vector(at + "ffn.x_k", 1, 1, width, mean=0.5)
    matrix(at + "ffn.key.weight", 4 * width, width)
    matrix(at + "ffn.value.weight", width, 4 * width)
