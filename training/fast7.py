"""RWKV-7 for training on a CPU core or a GPU: packed documents, bfloat16 matrix products, compiled blocks.

The same function as the engine's `forward` (a test holds the two equal), in another order of work: whole
rows at once, the recurrence in chunks (section 10.4 of the notes), and the state set to blank wherever a
document starts, by masks. Weights stay float32 under the checkpoint's names; only the operands of the
large products are rounded when `half` is set: bfloat16 products measured 200 GFLOP/s on one core where
float32 reached 80.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from training import native

CHUNK = 32
"""Tokens of one chunk of the recurrence. 1/decay^32 < 3e8, harmless in float32."""
_LOG_DECAY = -0.606531  # -exp(-0.5): the decay lies in (exp(-0.606531), 1)
_GROUP_EPS = 64e-5  # 1e-5 times 8 squared, 8 being the author's head-size divisor
_ATT = (
    *(f"x_{name}" for name in "rwkvag"),
    *(f"{name}{i}" for name in "wav" for i in (0, 1, 2)),
    *("g1", "g2", "k_k", "k_a", "r_k", "ln_x.weight", "ln_x.bias"),
    *(f"{name}.weight" for name in ("receptance", "key", "value", "output")),
)
_FFN = ("x_k", "key.weight", "value.weight")


@dataclass(frozen=True, slots=True)
class Masks:
    """Which tokens of a batch of packed rows may see which; the same for every layer."""

    keep: Tensor
    """(B, T, 1) 0 where a document starts: nothing is shifted in."""
    strict: Tensor
    """(B*chunks, 1, L, L) 1 where i < t in the same document."""
    full: Tensor
    """(B*chunks, 1, L, L) the same with i = t."""
    carried: Tensor
    """(B*chunks, 1, L, 1) 1 where the state from before the chunk still counts."""
    last: Tensor
    """(B*chunks, 1, L, 1) 1 for the document that goes on behind the chunk."""
    whole: Tensor
    """(B, chunks, 1, 1, 1) 1 if no document starts in the chunk."""
    starts: Tensor
    """(B, T) int64 1 where a document starts."""


def make_masks(starts: Tensor) -> Masks:
    """Masks from (B, T) flags that are 1 where a document starts; T is a multiple of CHUNK."""
    B, T = starts.shape
    count = starts.to(torch.int32).view(B * T // CHUNK, CHUNK).cumsum(1)
    same = count[:, :, None] == count[:, None, :]
    full = torch.tril(same)
    return Masks(
        keep=(1 - starts.to(torch.float32))[:, :, None],
        strict=torch.tril(same, -1).float()[:, None],
        full=full.float()[:, None],
        carried=(count == 0).float()[:, None, :, None],
        last=(count == count[:, -1:]).float()[:, None, :, None],
        whole=(count[:, -1] == 0).float().view(B, T // CHUNK, 1, 1, 1),
        starts=starts.to(torch.int64),
    )


def _linear(x: Tensor, weight: Tensor, half: bool) -> Tensor:
    if half:
        return F.linear(x.bfloat16(), weight.bfloat16()).float()
    return F.linear(x, weight)


def _shift(h: Tensor, keep: Tensor) -> Tensor:
    """Each token's predecessor within its document, blank at the start."""
    return F.pad(h, (0, 0, 1, -1)) * keep


def _inverse(m: Tensor) -> Tensor:
    """(I - m)^-1 of strictly lower triangular m by doubling: (I + m)(I + m^2)(I + m^4)..."""
    eye = torch.eye(m.shape[-1], device=m.device)
    result, power = eye + m, m
    for _ in range(CHUNK.bit_length() - 2):
        power = power @ power
        result = result + result @ power
    return result


def wkv(parts: Tensor, masks: Masks) -> Tensor:
    """The recurrence S_t = S_{t-1}(diag(w_t) + a_t b_t^T) + v_t k_t^T, y_t = S_t r_t, in chunks.

    Args:
        parts: (6, B, T, H, N) float32: r, decay w, k, v, a, b.
        masks: of the packed rows.

    Returns:
        (B, T, H, N).
    """
    _, B, T, H, N = parts.shape
    n = T // CHUNK
    r, decay, k, v, a, b = parts.view(6, B * n, CHUNK, H, N).transpose(2, 3).unbind()
    log_decay = torch.log(decay)
    log_c = log_decay.cumsum(2)
    c_inverse = torch.exp(-log_c)
    At = a * torch.exp(log_c - log_decay)
    Rt = r * torch.exp(log_c)
    Bt, Kt = b * c_inverse, k * c_inverse
    inverse = _inverse((At @ Bt.mT) * masks.strict)
    P = inverse @ (At * masks.carried)  # U = P S_0^T + Q
    Q = inverse @ (((At @ Kt.mT) * masks.strict) @ v)
    c_last = torch.exp(log_c[:, :, -1:])
    B_last, K_last = Bt * masks.last, Kt * masks.last
    grow = ((P.mT @ Bt) * c_last).view(B, n, H, N, N)
    keep = c_last.view(B, n, H, 1, N)
    add = ((Q.mT @ B_last + v.mT @ K_last) * c_last).view(B, n, H, N, N)
    state = parts.new_zeros(B, H, N, N)
    states = []
    for i in range(n):
        states.append(state)
        state = (state * keep[:, i] + state @ grow[:, i]) * masks.whole[:, i] + add[:, i]
    S = torch.stack(states, 1).view(B * n, H, N, N)
    U = P @ S.mT + Q
    y = (Rt * masks.carried) @ S.mT + ((Rt @ Bt.mT) * masks.full) @ U + ((Rt @ Kt.mT) * masks.full) @ v
    return y.transpose(1, 2).reshape(B, T, H, N)


def _time_mix(
    h: Tensor, v_first: Tensor | None, w: Mapping[str, Tensor], masks: Masks, half: bool
) -> tuple[Tensor, Tensor]:
    B, T, C = h.shape
    H, N = w["r_k"].shape
    dx = _shift(h, masks.keep) - h
    r = _linear(h + dx * w["x_r"], w["receptance.weight"], half)
    k = _linear(h + dx * w["x_k"], w["key.weight"], half)
    v = _linear(h + dx * w["x_v"], w["value.weight"], half)
    x_v = h + dx * w["x_v"]
    log_decay = w["w0"] + _linear(torch.tanh(_linear(h + dx * w["x_w"], w["w1"].T, half)), w["w2"].T, half)
    log_decay = _LOG_DECAY * torch.sigmoid(log_decay)
    a = torch.sigmoid(w["a0"] + _linear(_linear(h + dx * w["x_a"], w["a1"].T, half), w["a2"].T, half))
    g = _linear(torch.sigmoid(_linear(h + dx * w["x_g"], w["g1"].T, half)), w["g2"].T, half)
    kk = F.normalize((k * w["k_k"]).view(B, T, H, N), dim=-1, eps=1e-12)
    k = k * (1 + (a - 1) * w["k_a"])
    if v_first is None:
        v_first = v
    else:
        gate = torch.sigmoid(w["v0"] + _linear(_linear(x_v, w["v1"].T, half), w["v2"].T, half))
        v = v + (v_first - v) * gate
    r, k, v, a, log_decay = (x.view(B, T, H, N) for x in (r, k, v, a, log_decay))
    parts = torch.stack([r, torch.exp(log_decay), k, v, -kk, kk * a])
    if N == native.HEAD_SIZE and native.AVAILABLE and parts.is_cpu:
        y, _ = native.wkv7(parts, masks.starts)
    else:
        y = wkv(parts, masks)
    y = F.group_norm(y.reshape(B * T, C), H, w["ln_x.weight"], w["ln_x.bias"], _GROUP_EPS)
    y = y.view(B, T, C) + ((r * k * w["r_k"]).sum(-1, keepdim=True) * v).reshape(B, T, C)
    return _linear(y * g, w["output.weight"], half), v_first


def block(
    x: Tensor, v_first: Tensor | None, w: Mapping[str, Tensor], masks: Masks, half: bool
) -> tuple[Tensor, Tensor]:
    """One layer: x and v_first in, x and v_first out. `w` has names without `blocks.i.`."""
    C = x.shape[-1]
    att = {name: w[f"att.{name}"] for name in _ATT}
    ffn = {name: w[f"ffn.{name}"] for name in _FFN}
    y, v_first = _time_mix(F.layer_norm(x, (C,), w["ln1.weight"], w["ln1.bias"]), v_first, att, masks, half)
    x = x + y
    h = F.layer_norm(x, (C,), w["ln2.weight"], w["ln2.bias"])
    mixed = h + (_shift(h, masks.keep) - h) * ffn["x_k"]
    k = torch.relu(_linear(mixed, ffn["key.weight"], half)) ** 2
    return x + _linear(k, ffn["value.weight"], half), v_first


Block = Callable[..., tuple[Tensor, Tensor]]


def forward(
    weights: Mapping[str, Tensor],
    token_ids: Tensor,
    starts: Tensor,
    *,
    half: bool = False,
    run: Block = block,
) -> Tensor:
    """The last hidden row of every token, (B, T, C) after ln_out; times `head.weight` it is the logits.

    Args:
        weights: checkpoint names to float32 tensors.
        token_ids: (B, T) int64, T a multiple of CHUNK.
        starts: (B, T), 1 where a document starts; the first column counts as a start anyway.
        half: round the operands of matrix products to bfloat16.
        run: `block`, or its compiled form.
    """
    starts = starts.clone()
    starts[:, 0] = 1
    masks = make_masks(starts)
    C = weights["ln_out.weight"].shape[0]
    n_layer = 1 + max(int(name.split(".")[1]) for name in weights if name.startswith("blocks."))
    x = F.embedding(token_ids, weights["emb.weight"])
    x = F.layer_norm(x, (C,), weights["blocks.0.ln0.weight"], weights["blocks.0.ln0.bias"])
    v_first: Tensor | None = None
    for layer in range(n_layer):
        prefix = f"blocks.{layer}."
        part = {name[len(prefix) :]: t for name, t in weights.items() if name.startswith(prefix)}
        part.pop("ln0.weight", None)
        part.pop("ln0.bias", None)
        x, v_first = run(x, v_first, part, masks, half)
    return F.layer_norm(x, (C,), weights["ln_out.weight"], weights["ln_out.bias"])


def token_losses(hidden: Tensor, head: Tensor, targets: Tensor, *, half: bool = False) -> Tensor:
    """Cross-entropy of every token in nats, (B, T) float32."""
    logits = _linear(hidden.view(-1, hidden.shape[-1]), head, half)
    return F.cross_entropy(logits, targets.view(-1), reduction="none").view(targets.shape)
