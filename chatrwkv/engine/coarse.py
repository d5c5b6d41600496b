"""int8 and int4 weights in plain torch, for every device and generation: stored coarse, made fine at each use.

int8: symmetric, one bf16 scale for 64 columns of a row, searched for as the native path does it (`quant`,
`native/pack.inl`): the same model on every device. int4: 16 levels between the least and the greatest of each group of
a row, two to a byte; the native path has another one.

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
GROUP_8 = 64
"""Columns of a group of int8."""
_AT_ONCE = 1 << 20  # numbers rounded at once: what the search needs beside them fits a cache
_STARTS = (1 / 127, 1 / 131)  # of the search, times the largest number
_ROUNDS = 2


@dataclass(frozen=True, slots=True, eq=False)
class Coarse:
    """A matrix (R, K) that `dense` gives back; stands where `ops.project` wants a weight."""

    levels: Tensor  # int8 (R, K), or uint8 (R, K/2): columns k and k + K/2 in the low and the high half
    scale: Tensor  # bf16 (R, G) of int8, whose last group may be shorter; float32 (R, G, 1) of int4
    low: Tensor | None  # the value of level 0 of int4, (R, G, 1)
    dtype: torch.dtype  # of the arithmetic

    @classmethod
    def of(cls, matrix: Tensor, kind: str, dtype: torch.dtype) -> Self:
        """Round `matrix` to int8 or int4."""
        exact = matrix.float()
        if kind == "int8":
            rows = max(1, _AT_ONCE // max(1, matrix.shape[1]))
            parts = [_int8(part) for part in torch.split(exact, rows)]
            levels, scale = (torch.cat(each) for each in zip(*parts, strict=True))
            return cls(levels, scale, None, dtype)
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
            each = self.scale.float().repeat_interleave(GROUP_8, 1)[:, : self.levels.shape[1]]
            return (self.levels * each).to(self.dtype)
        levels = torch.cat((self.levels & 15, self.levels >> 4), 1)
        grouped = levels.view(*self.scale.shape[:2], -1)
        return (grouped * self.scale + self.low).to(self.dtype).view(self.shape)


def _int8(matrix: Tensor) -> tuple[Tensor, Tensor]:
    """Levels (R, K) and bf16 scales (R, G) of least squared error over a few starts and refinements."""
    n_rows, n_columns = matrix.shape
    padding = -n_columns % GROUP_8
    x = torch.nn.functional.pad(matrix, (0, padding)).view(n_rows, -1, GROUP_8)
    top = x.abs().amax(2)
    scale, levels = torch.zeros_like(top, dtype=torch.bfloat16), torch.zeros_like(x)
    least = torch.full_like(top, torch.inf)
    for start in _STARTS:
        trial = top * start
        for _ in range(_ROUNDS):
            stored = trial.to(torch.bfloat16)
            each = stored.float()
            inverse = torch.where(each == 0, 0.0, 1 / each)
            q = (x * inverse[..., None]).clamp(-127, 127).round_()
            error = (x - q * each[..., None]).square_().sum(2)
            is_better = error < least
            least = torch.where(is_better, error, least)
            scale = torch.where(is_better, stored, scale)
            levels = torch.where(is_better[..., None], q, levels)
            squares = q.square().sum(2)
            trial = torch.where(squares > 0, (x * q).sum(2) / squares, 0.0)
    return levels.to(torch.int8).view(n_rows, -1)[:, :n_columns].contiguous(), scale
