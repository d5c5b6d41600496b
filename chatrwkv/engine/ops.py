"""The recurrences and shifts in plain torch: the reference that every kernel is held to.

Pure functions, nothing in place unless the name says so, all differentiable.

B rows   T tokens   C n_embd   H heads   N head size   G chunks of n tokens, T <= G·n
h  LayerNorm output that feeds a mixer   p  the same h of the token before (the token-shift state)
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import torch
from torch.nn import functional as F

from chatrwkv.engine.coarse import Coarse

if TYPE_CHECKING:
    from collections.abc import Sequence

    from torch import Tensor

# exp(sum of -log decay) over a chunk enters the products below; v7's decay is > 0.545, so 1/decay^32 is
# < 2.7e8, which leaves float32 all its digits. 64 would still be safe (1e17) but is no faster here.
CHUNK_7 = 32
CHUNK_6 = 32
MIN_LOG_DECAY_6 = -20.0
NOTHING_4 = -1e30  # the exponent of an empty sum; finite, so that differences of it are numbers
ABSENT_4 = -1e38  # the key of a padding token, absent even beside NOTHING_4
MAX_LOG_EPS = 80.0  # exp of more would leave float32; beside e^80 the sums are nothing already
WIDE_16 = 1024.0  # leaves the sum of a product a factor of 64 below the largest fp16
# Training divides y by 8 (`head_size_divisor`) and uses eps 1e-5; without dividing that is 1e-5 · 8²,
# for every head size.
GROUP_NORM_EPS = 64e-5


def project(x: Tensor, weight: Tensor | Coarse) -> Tensor:
    """`weight @ x` in the dtype of the weight, back in the dtype of x: x (…, in), weight (out, in).

    A `Coarse`, which stands where a weight was read, is made a matrix here and only here.
    """
    matrix = weight.dense() if isinstance(weight, Coarse) else weight
    return F.linear(x.to(matrix.dtype), matrix).to(x.dtype)


def project_wide(x: Tensor, weight: Tensor | Coarse) -> Tensor:
    """`project` of an x that may be beyond the range of fp16, as the square of a key above 255 is.

    Where a row is larger than `WIDE_16` it goes in smaller and comes out at its size; others are untouched.
    """
    if weight.dtype != torch.float16:
        return project(x, weight)
    size: Tensor = torch.linalg.vector_norm(x, torch.inf, -1, keepdim=True).clamp(min=WIDE_16) / WIDE_16
    return project(x / size, weight) * size


def pad_rows(rows: Sequence[Sequence[int]], device: torch.device) -> tuple[Tensor, Tensor | None]:
    """Ragged ids -> (B, T) int64, padded with 0 at the right, and lengths (B,), None if all are T."""
    lengths = [len(row) for row in rows]
    longest = max(lengths, default=0)
    if not longest or not min(lengths):
        raise ValueError(f"every row of a scan needs a token; lengths are {lengths}")
    ids = torch.tensor([[*row, *[0] * (longest - len(row))] for row in rows], device=device)
    return ids, None if min(lengths) == longest else torch.tensor(lengths, device=device)


def real_tokens(token_ids: Tensor, lengths: Tensor | None) -> Tensor | None:
    """(B, T), False for padding; None if there is none."""
    if lengths is None:
        return None
    return torch.arange(token_ids.shape[1], device=token_ids.device) < lengths[:, None]


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


def wkv4_step(
    k: Tensor, v: Tensor, w: Tensor, aa: Tensor, bb: Tensor, pp: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """One token of the RWKV-4 recurrence; true sums are aa·exp(pp) and bb·exp(pp), so nothing overflows.

    Shapes: k, v, aa, bb, pp (…, C); w <= 0, the log of the decay, broadcasts to them.
    """
    q = torch.maximum(pp + w, k)
    e1, e2 = (pp + w - q).exp(), (k - q).exp()
    return e1 * aa + e2 * v, e1 * bb + e2, q


def wkv4_scan(
    k: Tensor,
    v: Tensor,
    w: Tensor,
    u: Tensor,
    carry: tuple[Tensor, Tensor, Tensor],
    real: Tensor | None = None,
    log_eps: float | None = None,
) -> tuple[Tensor, tuple[Tensor, Tensor, Tensor]]:
    """The RWKV-4 recurrence over T tokens in about 2·sqrt(T) vector steps.

    The tokens are cut into G chunks of n; all chunks walk their n tokens side by side from nothing, then
    the carry walks the G chunks, then every token adds carry, own chunk and itself:

    y_t = (Σ_i exp(k_i + (t-1-i)·w) v_i + exp(u + k_t) v_t) / (the same without v)

    256 tokens of 768 channels, one CPU thread: 4.1 ms; a loop takes 12.6, a scan that doubles its reach 8.0.

    Shapes:
        k, v: (B, T, C).
        w: (C,) log of the decay, <= 0.  u: (C,) bonus of the token itself.
        carry: aa, bb, pp (B, C) each.
        real: (B, T), False for padding at the right; None if there is none.
        log_eps: log of what v2 and v3 add to the denominator.

    Returns:
        y (B, T, C) and the new carry.
    """
    n_tokens = k.shape[1]
    k, v, decay = _chunks4(k, v, w, real, math.isqrt(n_tokens - 1) + 1)
    aa = bb = torch.zeros_like(k[:, :, 0])
    pp = torch.full_like(aa, NOTHING_4)
    own = []  # what each token finds of its own chunk
    for t in range(k.shape[2]):
        own.append((aa, bb, pp))
        aa, bb, pp = wkv4_step(k[:, :, t], v[:, :, t], decay[:, :, t], aa, bb, pp)
    through = decay.sum(2)
    before = []  # what each chunk finds
    for g in range(k.shape[1]):
        before.append(carry)
        carry = _merge4(carry, through[:, g], (aa[:, g], bb[:, g], pp[:, g]))
    aa, bb, pp = (torch.stack(parts, 2) for parts in zip(*own, strict=True))  # (B, G, n, C)
    old_aa, old_bb, old_pp = (torch.stack(parts, 1)[:, :, None] for parts in zip(*before, strict=True))
    old_pp = old_pp + (decay.cumsum(2) - decay)
    q = torch.maximum(torch.maximum(old_pp, pp), u + k)
    e_old, e_own, e_now = (old_pp - q).exp(), (pp - q).exp(), (u + k - q).exp()
    eps = 0.0 if log_eps is None else (log_eps - q).clamp(max=MAX_LOG_EPS).exp()
    y = (e_old * old_aa + e_own * aa + e_now * v) / (e_old * old_bb + e_own * bb + e_now + eps)
    return y.flatten(1, 2)[:, :n_tokens], carry


def _chunks4(k: Tensor, v: Tensor, w: Tensor, real: Tensor | None, n: int) -> tuple[Tensor, Tensor, Tensor]:
    """k, v and the log decay of each token, (B, G, n, C); padding has no key and does not decay."""
    decay = w.expand_as(k)
    if real is not None:
        k = torch.where(real[..., None], k, ABSENT_4)
        decay = decay * real[..., None]
    padding = (0, 0, 0, -k.shape[1] % n)
    k, v, decay = F.pad(k, padding, value=ABSENT_4), F.pad(v, padding), F.pad(decay, padding)
    shape = (k.shape[0], -1, n, k.shape[-1])
    return k.reshape(shape), v.reshape(shape), decay.reshape(shape)


def _merge4(
    left: tuple[Tensor, Tensor, Tensor], w: Tensor, right: tuple[Tensor, Tensor, Tensor]
) -> tuple[Tensor, Tensor, Tensor]:
    """Sums of `left`, decayed by w, and of `right`, which came after."""
    (aa, bb, pp), (aa2, bb2, pp2) = left, right
    q = torch.maximum(pp + w, pp2)
    e1, e2 = (pp + w - q).exp(), (pp2 - q).exp()
    return e1 * aa + e2 * aa2, e1 * bb + e2 * bb2, q


def wkv6_step_(r: Tensor, decay: Tensor, k: Tensor, v: Tensor, u: Tensor, s: Tensor) -> Tensor:
    """One token of the RWKV-5 and 6 recurrence, written into the state.

    y = s r + (r·(u⊙k)) v ;  s = s·diag(decay) + v kᵀ

    Shapes:
        r, decay, k, v, y: (B, H, N); decay in (0, 1) may be (H, N).  u: (H, N).
        s: (B, H, N, N), rows are value, columns are key; **overwritten**.
    """
    y = (r[..., None, :] @ s.mT).squeeze(-2) + (r * u * k).sum(-1, keepdim=True) * v
    s.mul_(decay[..., None, :])
    s.addcmul_(v[..., None], k[..., None, :])
    return y


def wkv6_scan(
    r: Tensor, log_decay: Tensor, k: Tensor, v: Tensor, u: Tensor, s: Tensor
) -> tuple[Tensor, Tensor]:
    """The RWKV-5 and 6 recurrence over T tokens as matrix products, chunk by chunk (fact sheet 10.3).

    Inside a chunk the product of r_t and k_i decays by exp(ex_t - cum_i), ex and cum being sums of
    log_decay. Factored into exp(ex_t)·exp(-cum_i) that is one matmul, but exp(-cum) overflows float32 for
    strong decays; in float64, with log_decay bounded below by -20 (a decay of 2e-9) and 32 tokens a chunk,
    it stays below exp(640) and exact. The pairwise (n, n, N) tensor, the other safe way, costs n times the
    exponentials.

    Shapes:
        r, log_decay, k, v: (B, T, H, N); a padding token has k, v, log_decay = 0.  u: (H, N).
        s: (B, H, N, N), rows are value, columns are key.

    Returns:
        y (B, T, H, N) and the new s.
    """
    n_tokens = r.shape[1]
    n = min(CHUNK_6, n_tokens)
    with torch.autocast(r.device.type, enabled=False):
        r, log_decay, k, v = (_chunks(x, n) for x in (r, log_decay, k, v))
        log_decay = log_decay.double().clamp(min=MIN_LOG_DECAY_6)
        cum = log_decay.cumsum(-2)  # (G, B, H, n, N)
        ex = cum - log_decay
        reads = (r * ex.exp()).to(r.dtype)
        inner = ((r * ex.exp()) @ (k * (-cum).exp()).mT).tril(-1).to(r.dtype)
        inner = inner + torch.diag_embed((r * u[:, None] * k).sum(-1))
        from_v = v.mT @ (k * (cum[..., -1:, :] - cum).exp()).to(r.dtype)
        c_end = cum[..., -1:, :].exp().to(r.dtype)
        ys = []
        for g in range(r.shape[0]):
            ys.append(reads[g] @ s.mT)
            s = s * c_end[g] + from_v[g]
        y = torch.stack(ys) + inner @ v
    return y.permute(1, 0, 3, 2, 4).flatten(1, 2)[:, :n_tokens], s


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
