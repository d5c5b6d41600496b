"""Tensors that grow with the context, for the generations that attend over their past.

`state` says how they rest; here is where the tokens of one call go and what each of them may read. Pure and
differentiable, like `ops`.

B rows   T tokens of this call   n entries there were   W entries there are now, W >= n
"""

from __future__ import annotations

from copy import copy
from typing import TYPE_CHECKING

import torch

from chatrwkv.engine.state import N_PAST, PAST, lengthened

if TYPE_CHECKING:
    from collections.abc import Mapping

    from torch import Tensor


class Growth:
    """The places of the tokens of one call.

    Args:
        state: of a scratch; only n_past (1, B) is looked at.
        n_tokens: T.
        lengths: (B,) real tokens of each row; None means T.
        limit: tokens that are remembered; None means all.
    """

    def __init__(
        self,
        state: Mapping[str, Tensor],
        n_tokens: int,
        lengths: Tensor | None = None,
        limit: int | None = None,
    ) -> None:
        start = state[N_PAST][0]
        self.at = start[:, None] + torch.arange(n_tokens, device=start.device)
        """(B, T): the entry each token takes."""
        self._limit = limit
        n_past = start + (n_tokens if lengths is None else lengths)
        self._gone = None  # (B,): entries that fall out at the front
        if limit is not None and int(n_past.max()) > limit:
            self._gone = (n_past - limit).clamp(min=0)
            n_past = n_past.clamp(max=limit)
        self._n_past = n_past
        self._longest = int(n_past.max())
        self._rows = torch.arange(len(start), device=start.device)[:, None]
        self._width = int(self.at.max()) + 1

    def to(self, device: torch.device, *, non_blocking: bool = False) -> Growth:
        """The same on `device`."""
        moved = copy(self)
        for name, value in vars(self).items():
            if isinstance(value, torch.Tensor):
                setattr(moved, name, value.to(device, non_blocking=non_blocking))
        return moved

    def extend(self, past: Tensor, new: Tensor) -> Tensor:
        """The entries (B, W, …) of `past` (B, n, …) with the tokens' own `new` (B, T, …) in their places."""
        longer = lengthened(past, max(self._width, past.shape[1]), 1)
        return longer.index_put((self._rows, self.at), new.to(longer.dtype))

    def readable(self, entries: Tensor) -> Tensor:
        """(B, T, W), True where a token may read: its own entry and those before it, within the limit."""
        place = torch.arange(entries.shape[1], device=self.at.device)
        upto = place <= self.at[..., None]
        return upto if self._limit is None else upto & (place > self.at[..., None] - self._limit)

    def attend(self, scores: Tensor, values: Tensor) -> Tensor:
        """Causal softmax of scores (B, T, W) over values (B, W, D) -> (B, T, D)."""
        return scores.masked_fill(~self.readable(values), -torch.inf).softmax(-1) @ values

    def kept(self, layers: Mapping[str, list[Tensor]]) -> dict[str, Tensor]:
        """What the state keeps of the extended entries: `past_…` (L, B, n, …) each."""
        assert all(name.startswith(PAST) for name in layers), list(layers)
        if self._gone is None:
            return {
                name: torch.stack([e[:, : self._longest] for e in parts]) for name, parts in layers.items()
            }
        last = self._gone[:, None] + torch.arange(self._longest, device=self._gone.device)
        return {
            name: torch.stack([e[self._rows, last.clamp(max=e.shape[1] - 1)] for e in parts])
            for name, parts in layers.items()
        }

    def rest(self, shared: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """What the state keeps of entries (B, W, …) that belong to no layer, and `n_past`."""
        return self.kept({name: [entries] for name, entries in shared.items()}) | {N_PAST: self._n_past[None]}


def blank_past(n_rows: int, device: torch.device | str, **sizes: tuple[int, ...]) -> dict[str, Tensor]:
    """Nothing remembered: `name=(L, …)` becomes past_name (L, B, 0, …); ids are int64, the rest float32."""
    empty = {
        PAST + name: torch.zeros(
            n_layer, n_rows, 0, *shape, device=device, dtype=torch.int64 if name == "ids" else torch.float32
        )
        for name, (n_layer, *shape) in sizes.items()
    }
    return empty | {N_PAST: torch.zeros(1, n_rows, device=device, dtype=torch.int64)}
