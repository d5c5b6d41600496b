"""The recurrences and shifts in plain torch: the reference that every kernel is held to.

Pure functions, nothing in place unless the name says so, all differentiable.

B rows   T tokens   C n_embd   H heads   N head size   G chunks of n tokens, T <= G·n
h  LayerNorm output that feeds a mixer   p  the same h of the token before (the token-shift state)
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch.nn import functional as F

if TYPE_CHECKING:
    from collections.abc import Sequence

    from torch import Tensor

# exp(sum of -log decay) over a chunk enters the products below; v7's decay is > 0.545, so 1/decay^32 is
# < 2.7e8, which leaves float32 all its digits. 64 would still be safe (1e17) but is no faster here.
CHUNK_7 = 32
# Training divides y by 8 (`head_size_divisor`) and uses eps 1e-5; without dividing that is 1e-5 · 8²,
# for every head size.
GROUP_NORM_EPS = 64e-5


def project(x: Tensor, weight: Tensor) -> Tensor:
    """`weight @ x` in the dtype of the weight, back in the dtype of x: x (…, in), weight (out, in)."""
    return F.linear(x.to(weight.dtype), weight).to(x.dtype)


def pad_rows(rows: Sequence[Sequence[int]], device: torch.device) -> tuple[Tensor, Tensor | None]:
    """Ragged ids -> (B, T) int64, padded with 0 at the right, and lengths (B,), None if all are T."""
    lengths = [len(row) for row in rows]
    longest = max(lengths, default=0)
    if not longest or not min(lengths):
        raise ValueError(f"every row of a scan needs a token; lengths are {lengths}")
    ids = torch.tensor([[*row, *[0] * (longest - len(row))] for row in rows], device=device)
    return ids, None if min(lengths) == longest else torch.tensor(lengths, device=device)


def token_shift(h: Tensor, p: Tensor) -> Tensor:
    """The h of the token before each token: h (B, T, C), p (B, C) before the first."""
    return torch.cat((p[:, None], h[:, :-1]), 1)


def last_valid(h: Tensor, p: Tensor, lengths: Tensor | None) -> Tensor:
    """The h (B, C) of each row's last real token: `p` where a row has none."""
    if lengths is None:
        return h[:, -1]
    rows = torch.arange(h.shape[0], device=h.device)
    picked = h[rows, (lengths - 1).clamp(min=0)]
    return torch.where((lengths > 0)[:, None], picked, p)


def group_norm(y: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """Normalise each head: y (…, H, N) -> (…, H·N); weight and bias (H·N,)."""
    flat = y.reshape(-1, y.shape[-2] * y.shape[-1])
    normed = F.group_norm(flat, y.shape[-2], weight, bias, GROUP_NORM_EPS)
    return normed.view(*y.shape[:-2], -1)


def wkv7_step_(r: Tensor, decay: Tensor, k: Tensor, v: Tensor, a: Tensor, b: Tensor, s: Tensor) -> Tensor:
    """One token of the RWKV-7 recurrence, written into the state.

    s = s·diag(decay) + (s a) bᵀ + v kᵀ, with the old s on the right everywhere ;  y = s r

    Shapes:
        r, decay, k, v, a, b, y: (B, H, N) float32, decay in (0, 1).
        s: (B, H, N, N), rows are value, columns are key; **overwritten**.
    """
    u = a[..., None, :] @ s.mT  # as a row: 3 to 7 times faster than s @ column
    s.mul_(decay[..., None, :])
    s.addcmul_(u.mT, b[..., None, :])
    s.addcmul_(v[..., None], k[..., None, :])
    return (r[..., None, :] @ s.mT).squeeze(-2)


def wkv7_scan(
    r: Tensor, log_decay: Tensor, k: Tensor, v: Tensor, a: Tensor, b: Tensor, s: Tensor, chunk: int = CHUNK_7
) -> tuple[Tensor, Tensor]:
    """The RWKV-7 recurrence over T tokens as matrix products, chunk by chunk.

    With c_t the product of the decays since the start of the chunk and S_t = Z_t·diag(c_t), the state
    update becomes a sum (fact sheet 10.4); u_t = Z_{t-1} a_t is the only coupling left, a unit lower
    triangular system solved once a chunk. Everything that does not need the state (`inner`, `solved`) is
    done for all chunks at once; only the two products with S run one chunk after the other.

    Shapes:
        r, log_decay, k, v, a, b: (B, T, H, N); log_decay in (-0.607, 0]. A padding token has log_decay,
            k, v, a, b = 0 and changes nothing.
        s: (B, H, N, N), rows are value, columns are key.

    Returns:
        y (B, T, H, N) with y_t = S_t r_t, and the new s.

    Source:
        RWKV-7 paper (state update); `tests/reference/rwkv7.py` is the same token by token in float64.
    """
    n_tokens = r.shape[1]
    n = min(chunk, n_tokens)
    # Never under autocast: the quotients by c_t need float32.
    with torch.autocast(r.device.type, enabled=False):
        r, log_decay, k, v, a, b = (_chunks(x, n) for x in (r, log_decay, k, v, a, b))
        log_c = log_decay.cumsum(-2)
        out = torch.cat((a * (log_c - log_decay).exp(), r * log_c.exp()), -2)  # reads Z_{t-1}, then Z_t
        into = torch.cat((b, k), -2) * (-log_c).exp().repeat(1, 1, 1, 2, 1)  # what token i adds to Z
        # (2n, 2n): rows a then r of token t, columns b then k of token i. The mask comes after the
        # product, since entries above the diagonal are large, but finite.
        inner = (out @ into.mT) * _causal(n, r)
        a_on_s, r_on_s = torch.split(out, n, -2)
        # (I - a·bᵀ) U = a·S₀ᵀ + (a·kᵀ) V, solved for both terms at once: U = solved_s·S₀ᵀ + solved_v
        right = torch.cat((a_on_s, inner[..., :n, n:] @ v), -1)
        solved = torch.linalg.solve_triangular(-inner[..., :n, :n], right, upper=False, unitriangular=True)
        solved_s, solved_v = torch.split(solved, r.shape[-1], -1)
        c_end = log_c[..., -1:, :].exp()
        from_v = v.mT @ into[..., n:, :]
        ys = []
        for g in range(r.shape[0]):
            u = solved_s[g] @ s.mT + solved_v[g]
            ys.append(r_on_s[g] @ s.mT + inner[g, ..., n:, :n] @ u)
            s = (s + u.mT @ into[g, ..., :n, :] + from_v[g]) * c_end[g]
        y = torch.stack(ys) + inner[..., n:, n:] @ v
    return y.permute(1, 0, 3, 2, 4).flatten(1, 2)[:, :n_tokens], s


def _chunks(x: Tensor, n: int) -> Tensor:
    """(B, T, H, N) -> (G, B, H, n, N), the last chunk padded with zeros."""
    padding = -x.shape[1] % n
    if padding:
        x = F.pad(x, (0, 0, 0, 0, 0, padding))
    return x.reshape(x.shape[0], -1, n, *x.shape[2:]).permute(1, 0, 3, 2, 4)


def _causal(n: int, like: Tensor) -> Tensor:
    """(2n, 2n) of 0 and 1: a reads what is strictly before it, r also its own token."""
    upto = torch.ones(n, n, dtype=like.dtype, device=like.device).tril()
    before = upto.tril(-1)
    return torch.cat((before.repeat(1, 2), upto.repeat(1, 2)), 0)
