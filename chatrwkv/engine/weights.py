"""Flat tensor names -> typed weights, each shape checked on the way; the parts all generations share.

Knows no architecture: a generation's dataclasses live beside its formulas in `models/` and take what they
need from a `TensorReader`. Views only, no copies, so that a trainer's parameters stay the leaves.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch.nn import functional as F

from chatrwkv.errors import ModelFormatError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from torch import Tensor

LAYER_NORM_EPS = 1e-5
_LINEAR = re.compile(r"(head|receptance|key|value|gate|output)\.weight$")
# (H, N), a vector folded by heads, or the tables of RWKV-1
_PER_HEAD = re.compile(r"(time_decay|time_first|time_faaaa|r_k|time_w|time_alpha|time_beta)$")
_FOLD_ROWS = 4096  # rows of the embedding normalised at once: 4096 x 4096 in float32 is 64 MiB


@dataclass(frozen=True, slots=True)
class Norm:
    """LayerNorm over channels: weight and bias, (C,) each."""

    weight: Tensor
    bias: Tensor

    def __call__(self, x: Tensor) -> Tensor:
        """Normalise (…, C)."""
        return F.layer_norm(x, (x.shape[-1],), self.weight, self.bias, LAYER_NORM_EPS)


class TensorReader:
    """Takes tensors out of a flat mapping and refuses by name what is missing or of a wrong shape."""

    def __init__(self, tensors: Mapping[str, Tensor], prefix: str = "") -> None:
        self._tensors = tensors
        self._prefix = prefix

    def under(self, prefix: str) -> TensorReader:
        """A reader whose names all start with `prefix`."""
        return TensorReader(self._tensors, self._prefix + prefix)

    def has(self, name: str) -> bool:
        """Whether the tensor exists."""
        return self._prefix + name in self._tensors

    def take(self, name: str, *shape: int) -> Tensor:
        """The tensor, of exactly this shape once dimensions of one are left out ([1, 1, C] is (C,))."""
        full = self._prefix + name
        tensor = self._tensors.get(full)
        if tensor is None:
            raise ModelFormatError(
                f"The tensor {full!r} is missing.", hint="The file is incomplete; download it again."
            )
        if [n for n in tensor.shape if n != 1] != [n for n in shape if n != 1]:
            raise ModelFormatError(
                f"The tensor {full!r} has the shape {list(tensor.shape)}; {list(shape)} was expected.",
                hint="The file is damaged or belongs to an unknown variant; download it again.",
            )
        return tensor.reshape(shape)

    def columns(self, name: str, rows: int) -> int:
        """The second dimension of a matrix with `rows` rows: the rank of a LoRA factor."""
        full = self._prefix + name
        tensor = self._tensors.get(full)
        n = tensor.shape[-1] if tensor is not None and tensor.ndim else 1
        self.take(name, rows, n)
        return n

    def rows(self, name: str, columns: int) -> int:
        """The first dimension of a matrix with `columns` columns."""
        tensor = self._tensors.get(self._prefix + name)
        n = tensor.shape[0] if tensor is not None and tensor.ndim else 1
        self.take(name, n, columns)
        return n

    def norm(self, name: str, size: int) -> Norm:
        """`name.weight` and `name.bias`."""
        return Norm(self.take(f"{name}.weight", size), self.take(f"{name}.bias", size))


def fold_ln0(emb: Tensor, ln0: Norm) -> Tensor:
    """`LN(ln0, emb)` in float32, cast back to the dtype of `emb`: once at load instead of once a token."""
    folded = torch.empty_like(emb)
    exact = Norm(ln0.weight.float(), ln0.bias.float())
    for start in range(0, emb.shape[0], _FOLD_ROWS):
        rows = slice(start, start + _FOLD_ROWS)
        folded[rows] = exact(emb[rows].float()).to(emb.dtype)
    return folded


def is_matrix(name: str, tensor: Tensor) -> bool:
    """Whether it is kept in the model's precision; vectors ([C], [1, 1, C], [H, N]) are float32 always."""
    return sum(n != 1 for n in tensor.shape) >= 2 and not _PER_HEAD.search(name)


def prepare(name: str, stored: Tensor, device: torch.device, dtype: torch.dtype) -> Tensor:
    """A copy of one stored tensor as inference wants it: cast, moved, and laid out.

    A float32 Linear weight with at least as many rows as columns is stored column by column on the CPU:
    one token then runs along the longer side, which MKL reads 1.3 (768 x 768) to 1.7 times (65536 x 768)
    faster, while four rows at once get slower by a quarter to a half. Shape and values are the same.
    """
    tensor = stored.to(device, dtype if is_matrix(name, stored) else torch.float32, copy=True).contiguous()
    is_linear = _LINEAR.search(name) is not None and tensor.ndim == 2
    if is_linear and device.type == "cpu" and dtype == torch.float32 and tensor.shape[0] >= tensor.shape[1]:
        return tensor.t().contiguous().t()
    return tensor
