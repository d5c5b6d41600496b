"""Which code walks the tokens of a scan: a CUDA kernel where one is ready, else the torch path of `ops`.

The one place where models meet the kernels. Signatures are those of `ops`, plus the mask of real tokens.
Nothing is imported and nothing said where there is no CUDA tensor.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from chatrwkv.engine import ops

if TYPE_CHECKING:
    from torch import Tensor

Sums = tuple["Tensor", "Tensor", "Tensor"]


def wkv4_scan(
    k: Tensor,
    v: Tensor,
    w: Tensor,
    u: Tensor,
    carry: Sums,
    real: Tensor | None = None,
    log_eps: float | None = None,
) -> tuple[Tensor, Sums]:
    """See `ops.wkv4_scan`."""
    if _is_kernel_ready("wkv4", k, v, w, u, *carry):
        sums = torch.stack(carry)
        y = torch.ops.chatrwkv.wkv4(k, v, w, u, sums, _lengths(real), log_eps)
        aa, bb, pp = sums.unbind()
        return y, (aa, bb, pp)
    return ops.wkv4_scan(k, v, w, u, carry, real, log_eps)


def wkv5_scan(
    r: Tensor, log_decay: Tensor, k: Tensor, v: Tensor, u: Tensor, s: Tensor, real: Tensor | None = None
) -> tuple[Tensor, Tensor]:
    """`wkv6_scan` with one decay for all tokens: log_decay and u (H, N), or (H, 1) for a whole head."""
    if _is_kernel_ready("wkv5", r, log_decay, k, v, u, s):
        shape = r.shape[-2:]
        s = s.clone()
        y = torch.ops.chatrwkv.wkv5(r, log_decay.expand(shape), k, v, u.expand(shape), s, _lengths(real))
        return y, s
    log_decay, k, v = _padded(real, log_decay.expand_as(k), k, v)
    return ops.wkv6_scan(r, log_decay, k, v, u, s)


def wkv6_scan(
    r: Tensor, log_decay: Tensor, k: Tensor, v: Tensor, u: Tensor, s: Tensor, real: Tensor | None = None
) -> tuple[Tensor, Tensor]:
    """See `ops.wkv6_scan`; `real` (B, T) is False for padding, which need not be zero."""
    if _is_kernel_ready("wkv6", r, log_decay, k, v, u, s):
        s = s.clone()
        return torch.ops.chatrwkv.wkv6(r, log_decay, k, v, u, s, _lengths(real)), s
    log_decay, k, v = _padded(real, log_decay, k, v)
    return ops.wkv6_scan(r, log_decay, k, v, u, s)


def wkv7_scan(
    r: Tensor,
    log_decay: Tensor,
    k: Tensor,
    v: Tensor,
    a: Tensor,
    b: Tensor,
    s: Tensor,
    real: Tensor | None = None,
) -> tuple[Tensor, Tensor]:
    """See `ops.wkv7_scan`; `real` (B, T) is False for padding, which need not be zero."""
    if _is_kernel_ready("wkv7", r, log_decay, k, v, a, b, s):
        s = s.clone()
        return torch.ops.chatrwkv.wkv7(r, log_decay, k, v, a, b, s, _lengths(real)), s
    log_decay, k, v, a, b = _padded(real, log_decay, k, v, a, b)
    return ops.wkv7_scan(r, log_decay, k, v, a, b, s)


def _is_kernel_ready(generation: str, x: Tensor, *others: Tensor) -> bool:
    if not x.is_cuda:
        return False
    if torch.is_grad_enabled() and any(tensor.requires_grad for tensor in (x, *others)):
        return False  # the kernels have no backward pass
    from chatrwkv.engine import cuda_kernels, cuda_ops  # registers the operators

    return cuda_ops.is_servable(x) and cuda_kernels.launcher(x.device, generation) is not None


def _lengths(real: Tensor | None) -> Tensor | None:
    return None if real is None else real.sum(1)


def _padded(real: Tensor | None, *vectors: Tensor) -> tuple[Tensor, ...]:
    """Padding adds nothing and does not decay."""
    if real is None:
        return vectors
    keep = real[:, :, None, None].to(vectors[0].dtype)
    return tuple(vector * keep for vector in vectors)
