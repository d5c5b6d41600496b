"""RWKV-6 "Finch" (x060): `forward` for training and truth, `scan` and `step` for inference.

Letters, as in the paper and the checkpoints:

    B rows  T tokens  C n_embd  H heads  N head size (H·N = C)  V vocabulary  L layers  D, E LoRA ranks
    x  residual stream    h  LN1(x) or LN2(x)    p  h of the token before    dx = p - h
    r  receptance (reads)    k  key    v  value    g  gate
    w = exp(-exp(time_decay + tanh(x_w @ decay_w1) @ decay_w2))  decay, per token and key channel
    u = time_faaaa  bonus of the token itself
    S  (N value, N key), one matrix a head:   y = S·r + (r·(u⊙k)) v ;   S = S·diag(w) + v·kᵀ

Traps: the mix coefficient of v6 and v7 means "all of the token *before*" at 1; the five token-dependent
mixes come in the order w, k, v, r, g; the `rwkv` package keeps S transposed.

Source: RWKV-5/6 paper; fact sheet section 8; `tests/reference/rwkv5.py` in float64.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import torch
from torch.nn import functional as F

from chatrwkv.engine.models.base import Parts, Recurrent, embed, read_out
from chatrwkv.engine.ops import (
    group_norm,
    last_valid,
    project,
    project_wide,
    real_tokens,
    token_shift,
    wkv6_step_,
)
from chatrwkv.engine.recurrences import wkv6_scan
from chatrwkv.engine.weights import Norm, TensorReader, fold_ln0

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from typing import ClassVar, Self

    from torch import Tensor

    from chatrwkv.engine.options import OptionValue
    from chatrwkv.engine.spec import ModelSpec
    from chatrwkv.engine.state import Scratch


@dataclass(frozen=True, slots=True)
class Att6:
    """Time mixing of one block."""

    maa_x: Tensor  # (C,): how much of the token before enters the choice of the mixes
    maa: Tensor  # (5, C): the mixes of w, k, v, r, g, before that choice
    maa_w1: Tensor  # (C, 5·D)
    maa_w2: Tensor  # (5, D, C)
    time_decay: Tensor  # (C,), raw
    decay_w1: Tensor  # (C, E)
    decay_w2: Tensor  # (E, C)
    time_faaaa: Tensor  # (H, N): u
    receptance: Tensor  # (C, C) each, torch layout [out, in]
    key: Tensor
    value: Tensor
    gate: Tensor
    output: Tensor
    ln_x: Norm  # (C,)
    clamps_k: bool = False  # the option k_clamp: k shrinks where the decay is strong


@dataclass(frozen=True, slots=True)
class Ffn6:
    """Channel mixing of one block."""

    maa_k: Tensor  # (C,) each
    maa_r: Tensor
    key: Tensor  # (F, C)
    receptance: Tensor  # (C, C)
    value: Tensor  # (C, F)

    def __call__(self, h: Tensor, p: Tensor) -> Tensor:
        """h, p (…, C) -> (…, C)."""
        k = project(torch.lerp(h, p, self.maa_k), self.key).relu().square()
        r = project(torch.lerp(h, p, self.maa_r), self.receptance).sigmoid()
        return r * project_wide(k, self.value)


@dataclass(frozen=True, slots=True)
class Layer6:
    """One block."""

    ln1: Norm
    att: Att6
    ln2: Norm
    ffn: Ffn6
    scale: float = 1.0  # what `att.output` and `ffn.value` are stored too small by, in fp16


@dataclass(frozen=True, slots=True)
class Weights6:
    """All weights: views of the tensors they were built from, but for the stacked mixes."""

    emb: Tensor  # (V, C)
    ln0: Norm | None  # None once folded into emb
    layers: tuple[Layer6, ...]
    ln_out: Norm
    head: Tensor  # (V, C)

    @classmethod
    def build(
        cls, tensors: Mapping[str, Tensor], spec: ModelSpec, options: Mapping[str, OptionValue] | None = None
    ) -> Self:
        """Sort a flat `name -> tensor` mapping; every shape is checked, no matrix is copied or folded."""
        reader = TensorReader(tensors)
        clamps_k = bool((options or {}).get("k_clamp", False))
        C, V = spec.n_embd, spec.n_vocab
        return cls(
            emb=reader.take("emb.weight", V, C),
            ln0=reader.norm("blocks.0.ln0", C),
            layers=tuple(
                _layer(reader.under(f"blocks.{i}."), spec, clamps_k=clamps_k) for i in range(spec.n_layer)
            ),
            ln_out=reader.norm("ln_out", C),
            head=reader.take("head.weight", V, C),
        )

    def folded(self) -> Self:
        """The same with ln0 applied to the embedding, once, for inference. Not for training."""
        return self if self.ln0 is None else replace(self, emb=fold_ln0(self.emb, self.ln0), ln0=None)


def _layer(reader: TensorReader, spec: ModelSpec, *, clamps_k: bool) -> Layer6:
    C, H, N, width = spec.n_embd, spec.n_head, spec.head_size, spec.n_ffn
    att, ffn = reader.under("att."), reader.under("ffn.")
    D, E = att.columns("time_maa_w1", C) // 5, att.columns("time_decay_w1", C)
    squares = {j: att.take(f"{j}.weight", C, C) for j in ("receptance", "key", "value", "gate", "output")}
    return Layer6(
        ln1=reader.norm("ln1", C),
        att=Att6(
            **squares,
            maa_x=att.take("time_maa_x", C),
            maa=torch.stack([att.take(f"time_maa_{j}", C) for j in "wkvrg"]),
            maa_w1=att.take("time_maa_w1", C, 5 * D),
            maa_w2=att.take("time_maa_w2", 5, D, C),
            time_decay=att.take("time_decay", C),
            decay_w1=att.take("time_decay_w1", C, E),
            decay_w2=att.take("time_decay_w2", E, C),
            time_faaaa=att.take("time_faaaa", H, N),
            ln_x=att.norm("ln_x", C),
            clamps_k=clamps_k,
        ),
        ln2=reader.norm("ln2", C),
        ffn=Ffn6(
            maa_k=ffn.take("time_maa_k", C),
            maa_r=ffn.take("time_maa_r", C),
            key=ffn.take("key.weight", width, C),
            receptance=ffn.take("receptance.weight", C, C),
            value=ffn.take("value.weight", C, width),
        ),
    )


def blank(spec: ModelSpec, n_rows: int, device: torch.device | str = "cpu") -> dict[str, Tensor]:
    """The state before the first token, B behind L."""
    L, B, C, H, N = spec.n_layer, n_rows, spec.n_embd, spec.n_head, spec.head_size
    return {
        "att_shift": torch.zeros(L, B, C, device=device),
        "wkv": torch.zeros(L, B, H, N, N, device=device),
        "ffn_shift": torch.zeros(L, B, C, device=device),
    }


def forward(
    weights: Weights6,
    token_ids: Tensor,
    state: Mapping[str, Tensor],
    lengths: Tensor | None = None,
    *,
    all_logits: bool = True,
) -> tuple[Tensor, dict[str, Tensor]]:
    """Read B rows of T tokens: pure, nothing in place, differentiable in weights and state.

    Args:
        weights: folded or not.
        token_ids: (B, T) int64; behind a row's length anything valid.
        state: as `blank` makes it; not written to.
        lengths: (B,) real tokens of each row, from 0 to T; None means T.
        all_logits: False gives those after each row's last real token only.

    Returns:
        logits (B, T, V) or (B, V) and the new state, in the dtype of the vectors.
    """
    return PARTS.forward(weights, token_ids, state, lengths, all_logits=all_logits)


def blocks(
    layers: Sequence[Layer6],
    x: Tensor,
    state: Mapping[str, Tensor],
    lengths: Tensor | None,
    _carry: Tensor | None = None,
) -> tuple[Tensor, dict[str, Tensor], None]:
    """Some layers one after the other: x (B, T, C), their state -> x, their new state, nothing to carry."""
    real = real_tokens(x[..., 0], lengths)
    new: dict[str, list[Tensor]] = {"att_shift": [], "wkv": [], "ffn_shift": []}
    for i, layer in enumerate(layers):
        h, p = layer.ln1(x), state["att_shift"][i]
        y, s = _att(layer.att, h, token_shift(h, p), state["wkv"][i], real)
        new["att_shift"].append(last_valid(h, p, lengths))
        new["wkv"].append(s)
        x = torch.add(x, y, alpha=layer.scale)
        h, p = layer.ln2(x), state["ffn_shift"][i]
        new["ffn_shift"].append(last_valid(h, p, lengths))
        x = torch.add(x, layer.ffn(h, token_shift(h, p)), alpha=layer.scale)
    return x, {name: torch.stack(parts) for name, parts in new.items()}, None


PARTS = Parts(blocks, embed, read_out)


def _att(att: Att6, h: Tensor, p: Tensor, s: Tensor, real: Tensor | None) -> tuple[Tensor, Tensor]:
    """Time mixing: h, p (B, T, C), s (B, H, N, N) -> y (B, T, C), new s."""
    r, log_decay, k, v, g = _reads(att, h, p)
    y, s = wkv6_scan(r, log_decay, k, v, att.time_faaaa, s, real)
    return project(group_norm(y, att.ln_x.weight, att.ln_x.bias) * g, att.output), s


def _reads(att: Att6, h: Tensor, p: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    """r, log decay, k, v (…, H, N) and g (…, C) of h, p (…, C)."""
    heads = (*h.shape[:-1], *att.time_faaaa.shape)
    dx = p - h
    low = ((h + dx * att.maa_x).to(att.maa_w1.dtype) @ att.maa_w1).tanh()
    low = low.view(*low.shape[:-1], 5, -1)  # w, k, v, r, g
    chosen = torch.einsum("...jd,jdc->...jc", low, att.maa_w2).to(h.dtype)
    x_w, x_k, x_v, x_r, x_g = (h[..., None, :] + dx[..., None, :] * (att.maa + chosen)).unbind(-2)
    r = project(x_r, att.receptance).view(heads)
    k = project(x_k, att.key)
    v = project(x_v, att.value).view(heads)
    g = F.silu(project(x_g, att.gate))
    shift = ((x_w.to(att.decay_w1.dtype) @ att.decay_w1).tanh() @ att.decay_w2).to(h.dtype)
    raw_decay = att.time_decay + shift
    if att.clamps_k:
        k = k * raw_decay.clamp(max=0).exp()
    return r, -raw_decay.exp().view(heads), k.view(heads), v, g


class RWKV6(Recurrent):
    """An RWKV-6 ready to run, ln0 folded into the embedding."""

    PARTS: ClassVar[Parts] = PARTS
    RESCALES: ClassVar[bool] = True
    TAKES_OPTIONS: ClassVar[bool] = True

    def __init__(
        self,
        spec: ModelSpec,
        tensors: Mapping[str, Tensor],
        options: Mapping[str, OptionValue] | None = None,
    ) -> None:
        self.weights = Weights6.build(tensors, spec, options).folded()
        super().__init__(spec, self.weights.emb.device)

    @staticmethod
    def check(tensors: Mapping[str, Tensor], spec: ModelSpec) -> None:
        """Refuse by name a missing tensor or a wrong shape, without reading a value."""
        # zeros of the same shapes, since the mixes are stacked
        Weights6.build({name: t.new_zeros(()).expand(t.shape) for name, t in tensors.items()}, spec)

    def blank_rows(self, n_rows: int) -> dict[str, Tensor]:
        """See `blank`."""
        return blank(self.spec, n_rows, self.device)

    @torch.inference_mode()
    def step(self, token_ids: Sequence[int], scratch: Scratch) -> Tensor:
        """Read one token into each row: logits (B, V). The same as `scan` with T = 1, in fewer operations."""
        scratch.to(self.device)
        weights, state = self.weights, scratch.tensors
        x = weights.emb[torch.as_tensor(token_ids, device=self.device)].to(weights.ln_out.weight.dtype)
        for i, layer in enumerate(weights.layers):
            att, h, p = layer.att, layer.ln1(x), state["att_shift"][i]
            r, log_decay, k, v, g = _reads(att, h, p)
            y = wkv6_step_(r, log_decay.exp(), k, v, att.time_faaaa, state["wkv"][i])
            y = project(group_norm(y, att.ln_x.weight, att.ln_x.bias) * g, att.output)
            x = torch.add(x, y, alpha=layer.scale)
            p.copy_(h)
            h, p = layer.ln2(x), state["ffn_shift"][i]
            x = torch.add(x, layer.ffn(h, p), alpha=layer.scale)
            p.copy_(h)
        return project(weights.ln_out(x), weights.head)
