"""RWKV-7 "Goose" (x070): `forward` for training and truth, `scan` and `step` for inference.

Letters, as in the paper and the checkpoints:

    B rows  T tokens  C n_embd  H heads  N head size (H·N = C)  F width of ffn  V vocabulary  L layers
    x  residual stream          h  LN1(x) or LN2(x)       p  h of the token before       dx = p - h
    r  receptance (reads)       w  decay                  k  key        v  value
    a  in-context learning rate g  gate                   kk removal key, unit length per head
    S  (N value, N key), one matrix a head:   S = S·diag(w) + (S·(-kk))(kk·a)ᵀ + v·kᵀ ;   y = S·r
    w1 w2, a1 a2, v1 v2, g1 g2  low-rank pairs, stored for right multiplication: h @ w1 @ w2
    v_first  v of block 0, mixed into the v of every block above; per token, so no part of the state

Traps: kk takes k *before* k_a changes it, the r_k bonus takes k and v *after* all changes; the mix
coefficient of v6 and v7 means "all of the token before" at 1; block 0 may carry v0 v1 v2, unused.

Precision: matrices may be float32, bfloat16 or float16 and see inputs of their own type; everything
between them (residual stream, norms, mixes, S) is float32, or wider if the vectors are.

Source: RWKV-7 paper; fact sheet section 9; `tests/reference/rwkv7.py` says the same in float64.
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
    wkv7_step_,
)
from chatrwkv.engine.recurrences import wkv7_scan
from chatrwkv.engine.weights import Norm, TensorReader, fold_ln0

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from typing import ClassVar, Self

    from torch import Tensor

    from chatrwkv.engine.spec import ModelSpec
    from chatrwkv.engine.state import Scratch

MAX_LOG_DECAY = 0.606531  # exp(-0.5) as the published kernels write it: log w = -0.606531·sigmoid(…)
MIN_KEY_NORM = 1e-12  # lower bound of |kk|, as F.normalize has it


@dataclass(frozen=True, slots=True)
class Lora:
    """A low-rank pair and its offset: `bias + act(x @ down) @ up`."""

    down: Tensor  # (C, D)
    up: Tensor  # (D, C)
    bias: Tensor | None  # (C,); g has none


@dataclass(frozen=True, slots=True)
class Att7:
    """Time mixing of one block."""

    x_r: Tensor  # (C,) each: how much of the token before enters
    x_w: Tensor
    x_k: Tensor
    x_v: Tensor
    x_a: Tensor
    x_g: Tensor
    w: Lora
    a: Lora
    v: Lora | None  # None in block 0
    g: Lora
    k_k: Tensor  # (C,)
    k_a: Tensor  # (C,)
    r_k: Tensor  # (H, N)
    receptance: Tensor  # (C, C) each, torch layout [out, in]
    key: Tensor
    value: Tensor
    output: Tensor
    ln_x: Norm  # (C,)


@dataclass(frozen=True, slots=True)
class Ffn7:
    """Channel mixing of one block."""

    x_k: Tensor  # (C,)
    key: Tensor  # (F, C)
    value: Tensor  # (C, F)


@dataclass(frozen=True, slots=True)
class Layer7:
    """One block."""

    ln1: Norm
    att: Att7
    ln2: Norm
    ffn: Ffn7


@dataclass(frozen=True, slots=True)
class Weights7:
    """All weights: views of the tensors they were built from."""

    emb: Tensor  # (V, C)
    ln0: Norm | None  # None once folded into emb
    layers: tuple[Layer7, ...]
    ln_out: Norm
    head: Tensor  # (V, C)

    @classmethod
    def build(cls, tensors: Mapping[str, Tensor], spec: ModelSpec) -> Self:
        """Sort a flat `name -> tensor` mapping; every shape is checked, nothing is copied or folded."""
        reader = TensorReader(tensors)
        C, V = spec.n_embd, spec.n_vocab
        return cls(
            emb=reader.take("emb.weight", V, C),
            ln0=reader.norm("blocks.0.ln0", C),
            layers=tuple(read_layer(reader.under(f"blocks.{i}."), spec, i) for i in range(spec.n_layer)),
            ln_out=reader.norm("ln_out", C),
            head=reader.take("head.weight", V, C),
        )

    def folded(self) -> Self:
        """The same with ln0 applied to the embedding, once, for inference. Not for training."""
        return self if self.ln0 is None else replace(self, emb=fold_ln0(self.emb, self.ln0), ln0=None)


def read_layer(reader: TensorReader, spec: ModelSpec, index: int) -> Layer7:
    """From `blocks.i.`."""
    C, H, N, width = spec.n_embd, spec.n_head, spec.head_size, spec.n_ffn
    att, ffn = reader.under("att."), reader.under("ffn.")

    def lora(letter: str, *, has_bias: bool = True) -> Lora:
        rank = att.columns(f"{letter}1", C)
        bias = att.take(f"{letter}0", C) if has_bias else None
        return Lora(att.take(f"{letter}1", C, rank), att.take(f"{letter}2", rank, C), bias)

    mixes = {f"x_{j}": att.take(f"x_{j}", C) for j in "rwkvag"}
    squares = {j: att.take(f"{j}.weight", C, C) for j in ("receptance", "key", "value", "output")}
    return Layer7(
        ln1=reader.norm("ln1", C),
        att=Att7(
            **mixes,
            **squares,
            w=lora("w"),
            a=lora("a"),
            v=lora("v") if index else None,
            g=lora("g", has_bias=False),
            k_k=att.take("k_k", C),
            k_a=att.take("k_a", C),
            r_k=att.take("r_k", H, N),
            ln_x=att.norm("ln_x", C),
        ),
        ln2=reader.norm("ln2", C),
        ffn=Ffn7(
            x_k=ffn.take("x_k", C),
            key=ffn.take("key.weight", width, C),
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
    weights: Weights7,
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


def hidden(
    weights: Weights7, token_ids: Tensor, state: Mapping[str, Tensor], lengths: Tensor | None = None
) -> tuple[Tensor, dict[str, Tensor]]:
    """The residual stream after the last block (B, T, C), and the new state: `forward` without the head."""
    x, _ = embed(weights, token_ids, state, lengths)
    x, new_state, _ = blocks(weights.layers, x, state, lengths)
    return x, new_state


def blocks(
    layers: Sequence[Layer7],
    x: Tensor,
    state: Mapping[str, Tensor],
    lengths: Tensor | None,
    v_first: Tensor | None = None,
) -> tuple[Tensor, dict[str, Tensor], Tensor | None]:
    """Some layers one after the other: x (B, T, C), their state -> x, their new state, v_first."""
    real = real_tokens(x[..., 0], lengths)
    new_state: dict[str, list[Tensor]] = {"att_shift": [], "wkv": [], "ffn_shift": []}
    for i, layer in enumerate(layers):
        h, p = layer.ln1(x), state["att_shift"][i]
        y, s, v_first = time_mix(layer.att, h, token_shift(h, p), state["wkv"][i], v_first, real)
        new_state["att_shift"].append(last_valid(h, p, lengths))
        new_state["wkv"].append(s)
        x = x + y
        h, p = layer.ln2(x), state["ffn_shift"][i]
        new_state["ffn_shift"].append(last_valid(h, p, lengths))
        x = x + _ffn(layer.ffn, h, token_shift(h, p))
    return x, {name: torch.stack(parts) for name, parts in new_state.items()}, v_first


PARTS = Parts(blocks, embed, read_out)


def time_mix(
    att: Att7, h: Tensor, p: Tensor, s: Tensor, v_first: Tensor | None, real: Tensor | None
) -> tuple[Tensor, Tensor, Tensor]:
    """Time mixing: h, p (B, T, C), s (B, H, N, N) -> y (B, T, C), new s, v_first."""
    heads = (*h.shape[:-1], *att.r_k.shape)  # (B, T, H, N)
    dx = p - h
    r = project(h + dx * att.x_r, att.receptance)
    k = project(h + dx * att.x_k, att.key)
    x_v = h + dx * att.x_v
    v = project(x_v, att.value)
    log_w = -MAX_LOG_DECAY * _lora(att.w, h + dx * att.x_w, torch.tanh).sigmoid()
    a = _lora(att.a, h + dx * att.x_a).sigmoid()
    g = _lora(att.g, h + dx * att.x_g, torch.sigmoid)

    kk = F.normalize((k * att.k_k).view(heads), dim=-1, eps=MIN_KEY_NORM)  # before k changes
    k = k * (1 + (a - 1) * att.k_a)
    if att.v is None or v_first is None:
        v_first = v
    else:
        v = v + (v_first - v) * _lora(att.v, x_v).sigmoid()

    r, log_w, k, v, a = (z.view(heads) for z in (r, log_w, k, v, a))
    y, s = wkv7_scan(r, log_w, k, v, -kk, kk * a, s, real)
    y = group_norm(y, att.ln_x.weight, att.ln_x.bias)
    y = y + ((r * k * att.r_k).sum(-1, keepdim=True) * v).flatten(-2)  # the bonus of the token itself
    return project(y * g, att.output), s, v_first


def _ffn(ffn: Ffn7, h: Tensor, p: Tensor) -> Tensor:
    """Channel mixing: h, p (…, C) -> (…, C)."""
    k = project(h + (p - h) * ffn.x_k, ffn.key).relu().square()
    return project_wide(k, ffn.value)


def _lora(lora: Lora, x: Tensor, act: Callable[[Tensor], Tensor] | None = None) -> Tensor:
    """`bias + act(x @ down) @ up`, in the dtype of x."""
    low = x.to(lora.down.dtype) @ lora.down
    out = ((low if act is None else act(low)) @ lora.up).to(x.dtype)
    return out if lora.bias is None else out + lora.bias


class RWKV7(Recurrent):
    """An RWKV-7 ready to run, ln0 folded into the embedding."""

    PARTS: ClassVar[Parts] = PARTS

    def __init__(self, spec: ModelSpec, tensors: Mapping[str, Tensor]) -> None:
        self.weights = Weights7.build(tensors, spec).folded()
        super().__init__(spec, self.weights.emb.device)
        self._mixes = [stacked_mixes(layer.att) for layer in self.weights.layers]

    @staticmethod
    def check(tensors: Mapping[str, Tensor], spec: ModelSpec) -> None:
        """Refuse by name a missing tensor or a wrong shape, without reading a value."""
        Weights7.build(tensors, spec)

    def blank_rows(self, n_rows: int) -> dict[str, Tensor]:
        """See `blank`."""
        return blank(self.spec, n_rows, self.device)

    @torch.inference_mode()
    def step(self, token_ids: Sequence[int], scratch: Scratch) -> Tensor:
        """Read one token into each row: logits (B, V). The same as `scan` with T = 1, in fewer operations."""
        scratch.to(self.device)
        weights, state = self.weights, scratch.tensors
        x = weights.emb[torch.as_tensor(token_ids, device=self.device)].to(weights.ln_out.weight.dtype)
        v_first = None
        for i, layer in enumerate(weights.layers):
            h, p = layer.ln1(x), state["att_shift"][i]
            y, v_first = time_mix_step(layer.att, self._mixes[i], h, p, state["wkv"][i], v_first)
            p.copy_(h)
            x = x + y
            h, p = layer.ln2(x), state["ffn_shift"][i]
            x = x + _ffn(layer.ffn, h, p)
            p.copy_(h)
        return project(weights.ln_out(x), weights.head)


def stacked_mixes(att: Att7) -> Tensor:
    """(6, 1, C), for all six views of a token in one operation."""
    return torch.stack([att.x_r, att.x_k, att.x_v, att.x_w, att.x_a, att.x_g])[:, None]


def time_mix_step(
    att: Att7, mixes: Tensor, h: Tensor, p: Tensor, s: Tensor, v_first: Tensor | None
) -> tuple[Tensor, Tensor]:
    """`time_mix` for one token: h, p (B, C), s (B, H, N, N) **overwritten** -> y (B, C), v_first."""
    heads = (h.shape[0], *att.r_k.shape)  # (B, H, N)
    x_r, x_k, x_v, x_w, x_a, x_g = torch.addcmul(h, p - h, mixes).unbind()
    r = project(x_r, att.receptance).view(heads)
    k = project(x_k, att.key)
    v = project(x_v, att.value)
    decay = (_lora(att.w, x_w, torch.tanh).sigmoid_() * -MAX_LOG_DECAY).exp_()
    a = _lora(att.a, x_a).sigmoid_()
    g = _lora(att.g, x_g, torch.sigmoid)
    kk = F.normalize((k * att.k_k).view(heads), dim=-1, eps=MIN_KEY_NORM)
    k = torch.addcmul(k, k * att.k_a, a - 1).view(heads)
    if att.v is None or v_first is None:
        v_first = v
    else:
        v = torch.lerp(v, v_first, _lora(att.v, x_v).sigmoid_())
    y = wkv7_step_(r, decay.view(heads), k, v.view(heads), -kk, kk * a.view(heads), s)
    y = group_norm(y, att.ln_x.weight, att.ln_x.bias)
    bonus = (r * k * att.r_k).sum(-1, keepdim=True) * v.view(heads)
    return project((y + bonus.flatten(-2)) * g, att.output), v_first
