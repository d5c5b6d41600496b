"""int8 and int4 weights in plain torch, for every device and generation: stored coarse, made fine at each use.

int8: symmetric, one scale a row. int4: 16 levels between the least and the greatest of each group of a row,
two to a byte. The native path has formats of its own (`quant`); this is what serves without it.

R rows   K columns   G groups of a row
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch

if TYPE_CHECKING:
    from typing import Self

    from torch import Tensor

GROUPS = (64, 32, 16, 8)
"""Columns of a group of int4: the first that divides the row."""


@dataclass(frozen=True, slots=True, eq=False)
class Coarse:
    """A matrix (R, K) that `dense` gives back; stands where `ops.project` wants a weight."""

    levels: Tensor  # int8 (R, K), or uint8 (R, K/2): columns k and k + K/2 in the low and the high half
    scale: Tensor  # float32 (R, 1), or (R, G, 1)
    low: Tensor | None  # the value of level 0 of int4, (R, G, 1)
    dtype: torch.dtype  # of the arithmetic

    @classmethod
    def of(cls, matrix: Tensor, kind: str, dtype: torch.dtype) -> Self:
        """Round `matrix` to int8 or int4."""
        exact = matrix.float()
        if kind == "int8":
            scale = exact.abs().amax(1, keepdim=True).clamp(min=1e-30) / 127
            return cls((exact / scale).round().to(torch.int8), scale, None, dtype)
        columns = matrix.shape[1]
        group = next((n for n in GROUPS if columns % n == 0), columns)
        grouped = exact.view(matrix.shape[0], -1, group)
        low = grouped.amin(2, keepdim=True)
        scale = (grouped.amax(2, keepdim=True) - low).clamp(min=1e-30) / 15
        levels = ((grouped - low) / scale).round().to(torch.uint8).view(matrix.shape)
        first, second = levels.chunk(2, 1)
        return cls(first | (second << 4), scale, low, dtype)

    @staticmethod
    def suits(matrix: Tensor, kind: str) -> bool:
        """Whether the matrix can be kept so: int4 needs pairs of columns."""
        return matrix.ndim == 2 and (kind == "int8" or matrix.shape[1] % 2 == 0)

    @property
    def shape(self) -> torch.Size:
        """(R, K)."""
        rows, columns = self.levels.shape
        return torch.Size((rows, columns if self.low is None else 2 * columns))

    @property
    def device(self) -> torch.device:
        """Where it is."""
        return self.levels.device

    @property
    def nbytes(self) -> int:
        """Memory."""
        return self.levels.nbytes + self.scale.nbytes + (0 if self.low is None else self.low.nbytes)

    def reshape(self, shape: tuple[int, ...]) -> Self:
        """Itself; `TensorReader` asks for the shape it has checked."""
        if tuple(shape) != tuple(self.shape):
            raise ValueError(f"{tuple(self.shape)} cannot become {shape}")
        return self

    def div_(self, factor: float) -> None:
        """Divide every value."""
        self.scale.div_(factor)
        if self.low is not None:
            self.low.div_(factor)

    def dense(self) -> Tensor:
        """The matrix in `dtype`."""
        if self.low is None:
            return (self.levels * self.scale).to(self.dtype)
        levels = torch.cat((self.levels & 15, self.levels >> 4), 1)
        grouped = levels.view(*self.scale.shape[:2], -1)
        return (grouped * self.scale + self.low).to(self.dtype).view(self.shape)
