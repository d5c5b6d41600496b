"""Tokens in the order of their likelihood, as far as somebody asks; NumPy, and native code where there is some.

Both give the same tokens for the same chance, to the last bit: what is ranked is computed by NumPy either way,
and where native code's sum over all tokens is too rough to decide something, NumPy's takes its place.

V vocabulary   w weights, exp(logit - best): the likeliest token has 1   total: their sum over the vocabulary
"""

from __future__ import annotations

import ctypes
import math
from typing import TYPE_CHECKING

import numpy as np

from chatrwkv.engine.native import abi
from chatrwkv.errors import KernelMismatch, NumericalError

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any, Literal

    from numpy.typing import NDArray

    from chatrwkv.engine.kernels import Library

    Floats = NDArray[np.floating[Any]]
    Ids = NDArray[np.intp]
    Limit = Callable[[float], float]
    Side = Literal["left", "right"]

_COLUMNS = 1024  # see _likeliest
_FIRST = 64  # tokens ranked at first: top-p 0.3 to 0.9 keeps fewer nearly always
_MOST = 1024  # that native code hands over
_APART = 3.0  # by this the threshold falls each time more tokens are asked for
_ALL_OF_THEM = 100.0  # nearly as far below the best float32 knows no weight
# What tells two sums apart for certain: native code's error, and that of NumPy's sum in float32, 2e-6.
_SLACK = 2 * abi.HEAD_ERROR


class Head:
    """Native code that finds the likeliest of (V,) logits, and the room it needs."""

    def __init__(self, library: Library) -> None:
        self._call, self._isa = library.c.rwkv_head, library.isa
        self._ids = np.empty(_MOST, np.int32)
        self._address = self._ids.ctypes.data
        self._sums = abi.HeadSums()
        self._sums_at = ctypes.byref(self._sums)

    def __call__(self, address: int, n: int) -> tuple[float, float, Ids | None]:
        """The best logit, the total, and the ids that reach some threshold, ascending; None: too many or too few."""
        n_found = self._call(self._isa, address, n, _FIRST, _MOST, self._address, self._sums_at)
        ids = self._ids[:n_found].astype(np.intp) if n_found > 0 else None
        return self._sums.best, self._sums.total, ids


def self_test(library: Library) -> float:
    """Native code against NumPy: its error over what is allowed.

    Raises:
        KernelMismatch: it finds other tokens, or the error is too large.
    """
    x = np.random.default_rng(0).standard_normal(5000).astype(np.float32) * 4
    best, total, ids = Head(library)(x.ctypes.data, len(x))
    true = np.exp(x.astype(np.float64) - x.max()).sum()
    error = float(abs(total / true - 1) / abi.HEAD_ERROR)
    if not error < 1 or best != x.max() or ids is None or set(ids) != set(np.flatnonzero(x >= x[ids].min())):
        raise KernelMismatch(
            f"The likeliest tokens are not those of NumPy (error {error:.2g} of what is allowed)."
        )
    return error


class Logits:
    """Room for (V,) float32 logits of which one draw after the other is made."""

    def __init__(self, n_vocab: int, head: Head | None = None) -> None:
        self.x: NDArray[np.float32] = np.empty(n_vocab, np.float32)
        self._address = self.x.ctypes.data
        self._head = head

    def ranking(self) -> Ranking:
        """Of what is in `x` now; it lives until that changes.

        Raises:
            NumericalError: a logit is NaN or +inf, or all are -inf.
        """
        if self._head is not None:
            best, total, ids = self._head(self._address, len(self.x))
            if math.isfinite(total):
                return Ranking(self.x, best, total, _likeliest(self.x) if ids is None else ids)
        best = float(self.x.max())
        if not best < math.inf:  # NaN too: every comparison with it is false
            raise NumericalError(
                "The model's output is not a number.",
                hint="Try another precision (bf16 or fp32 instead of fp16) or another model file.",
            )
        if best == -math.inf:
            raise NumericalError("Every token is banned.", hint="Ban fewer tokens.")
        return Ranking(self.x, best, None, _likeliest(self.x))


def _likeliest(x: Floats) -> Ids | None:
    """At least 64 of the likeliest, ascending: all that reach some threshold.

    Seen as a table of 1,024 columns, the 64th largest column maximum is a logit that at least 64 tokens
    reach. A partition takes ten times as long. None: all tokens.
    """
    n_rows = len(x) // _COLUMNS
    if n_rows < 2:
        return None
    maxima = x[: n_rows * _COLUMNS].reshape(n_rows, _COLUMNS).max(0)
    return np.flatnonzero(x >= np.partition(maxima, -_FIRST)[-_FIRST])


class Ranking:
    """Tokens by (logit descending, id ascending).

    Limits are functions of the total, rising or falling, since the total may be known only roughly.

    Args:
        x: (V,) float32.
        best: the largest of them.
        total: of all weights, within half of `_SLACK`; None if `settle` shall find it.
        first: ids of a complete beginning of the order, ascending; None for all.
    """

    def __init__(self, x: Floats, best: float, total: float | None, first: Ids | None) -> None:
        self._x, self._best, self.n_vocab = x, best, len(x)
        self._whole: Floats | None = None
        self.total, self._slack = total or 0.0, _SLACK
        if total is None:
            self.settle()
        if first is None:
            self._take_from(-math.inf)
        else:
            self._take(first, float(x[first].min()))

    def _take_from(self, threshold: float) -> None:
        """Rank all tokens that reach a threshold; -inf: all that can be drawn at all."""
        x = self._x
        self._take(np.flatnonzero(x > threshold if threshold == -math.inf else x >= threshold), threshold)

    def _take(self, found: Ids, threshold: float) -> None:
        """Rank the tokens found, which are all that reach the threshold."""
        x = self._x[found]
        order = _descending(x)  # `found` ascends, so equal ones stay in order of id
        x = x[order]
        self._threshold = threshold
        w = np.exp(x - np.float32(self._best))
        self.is_complete = self._threshold == -math.inf or w[-1] == 0
        n = int(np.count_nonzero(w)) if self.is_complete else len(w)
        self.ids: Ids = found[order[:n]]
        """Those that have any weight, as far as they are ranked."""
        # An exponential need not rise with its argument in the last bit; an order has to.
        self.w: Floats = np.minimum.accumulate(w[:n].astype(np.float64))
        self.cum: Floats = np.cumsum(self.w)

    def extend(self) -> None:
        """Rank more tokens."""
        is_far = self._threshold < self._best - _ALL_OF_THEM or len(self.ids) > len(self._x) // 8
        self._take_from(-math.inf if is_far else self._threshold - _APART)

    def settle(self) -> None:
        """Let NumPy's total stand: from now on every answer is certain."""
        if self._slack:
            self.total, self._slack = float(self.whole.sum()), 0.0

    @property
    def whole(self) -> Floats:
        """The weights of all tokens, (V,) float32 in order of id."""
        if self._whole is None:
            self._whole = np.exp(self._x - np.float32(self._best))
        return self._whole

    def logprob(self, token_id: int) -> float:
        """Of any token; -inf where it is banned."""
        return float(self._x[token_id]) - self._best - math.log(self.total)

    def n_from(self, limit: Limit) -> int | None:
        """How many have at least this weight; None if that is not known yet."""
        n = self._place(-self.w, lambda total: -limit(total), "right")
        return n if n < len(self.w) or self.is_complete else None

    def n_below(self, limit: Limit, side: Side) -> int | None:
        """How many come before the sum reaches ("left") or exceeds ("right") this; None if that is not known yet."""
        n = self._place(self.cum, limit, side)
        return n if n < len(self.w) or self.is_complete else None

    def _place(self, ascending: Floats, limit: Limit, side: Side) -> int:
        """Where the limit belongs, by the total as far as that decides it, else by NumPy's."""
        at = int(ascending.searchsorted(limit(self.total), side))
        if self._slack:
            less, more = limit(self.total * (1 - self._slack)), limit(self.total * (1 + self._slack))
            if less != more and any(ascending.searchsorted(x, side) != at for x in (less, more)):
                self.settle()
                return self._place(ascending, limit, side)
        return at


def _descending(x: Floats) -> Ids:
    """The stable order of float32 numbers from high to low."""
    if len(x) < 2000:
        return np.argsort(-x, kind="stable")
    # NumPy sorts 16-bit integers by counting; two passes over the bits take a fifth of its float sort.
    bits = (x + np.float32(0)).view(np.int32)  # -0 becomes 0, its equal
    rising = np.where(bits < 0, bits ^ 0x7FFFFFFF, bits)  # negative floats fall as their bits rise
    keys = ~(rising.view(np.uint32) ^ np.uint32(1 << 31))
    low = np.argsort(keys.astype(np.uint16), kind="stable")
    return low[np.argsort((keys >> np.uint32(16)).astype(np.uint16)[low], kind="stable")]
