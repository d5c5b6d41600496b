"""RWKV-4 "Dove": `forward` for training and truth, `scan` and `step` for inference.

Letters, as in the paper and the checkpoints:

    B rows  T tokens  C n_embd (the width of attention too)  F width of ffn  V vocabulary  L layers
    x  residual stream    h  LN1(x) or LN2(x)    p  h of the token before
    r  receptance, a gate in (0, 1)    k  key, an exponent    v  value    (all per channel, no heads)
    w = -exp(time_decay) < 0, log of the decay    u = time_first, bonus of the token itself
    wkv = (Σ_i exp(k_i + (t-1-i)·w) v_i + exp(u + k_t) v_t) / (the same without v)
    aa, bb  numerator and denominator, both times exp(-pp);    pp  the largest exponent so far

Traps: mix coefficients up to v5 mean "all of the token itself" at 1; keys are exponents, so the sums are
kept as aa·exp(pp) or they overflow.

Source: RWKV paper (2023); fact sheet sections 2 and 6; `tests/reference/rwkv4.py` in float64.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import torch

from chatrwkv.engine.models.base import Parts, Recurrent, embed, read_out
from chatrwkv.engine.ops import (
    NOTHING_4,
    last_valid,
    project,
    project_wide,
    real_tokens,
    token_shift,
    wkv4_step,
)
from chatrwkv.engine.recurrences import wkv4_scan
from chatrwkv.engine.weights import Norm, TensorReader, fold_ln0
from chatrwkv.errors import ModelUnsupported

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from typing import ClassVar, Self

    from torch import Tensor

    from chatrwkv.engine.spec import ModelSpec
    from chatrwkv.engine.state import Scratch

Sums = tuple["Tensor", "Tensor", "Tensor"]


@dataclass(frozen=True, slots=True)
class Att4:
    """Time mixing of one block."""

    mix_k: Tensor  # (C,) each: how much of the token itself enters
    mix_v: Tensor
    mix_r: Tensor
    time_decay: Tensor  # (C,), raw
    time_first: Tensor  # (C,): u
    receptance: Tensor  # (C, C) each, torch layout [out, in]
    key: Tensor
    value: Tensor
    output: Tensor


@dataclass(frozen=True, slots=True)
class Ffn4:
    """Channel mixing of one block, the same in v4 and v5."""

    mix_k: Tensor  # (C,) each
    mix_r: Tensor
    key: Tensor  # (F, C)
    receptance: Tensor  # (C, C)
    value: Tensor  # (C, F)

    @classmethod
    def read(cls, reader: TensorReader, spec: ModelSpec) -> Self:
        """From `blocks.i.ffn.`."""
        C, width = spec.n_embd, spec.n_ffn
        return cls(
            mix_k=reader.take("time_mix_k", C),
            mix_r=reader.take("time_mix_r", C),
            key=reader.take("key.weight", width, C),
            receptance=reader.take("receptance.weight", C, C),
            value=reader.take("value.weight", C, width),
        )

    def __call__(self, h: Tensor, p: Tensor) -> Tensor:
        """h, p (…, C) -> (…, C)."""
        k = project(torch.lerp(p, h, self.mix_k), self.key).relu().square()
        r = project(torch.lerp(p, h, self.mix_r), self.receptance).sigmoid()
        return r * project_wide(k, self.value)


@dataclass(frozen=True, slots=True)
class Layer4:
    """One block."""

    ln1: Norm
    att: Att4
    ln2: Norm
    ffn: Ffn4
    scale: float = 1.0  # what `att.output` and `ffn.value` are stored too small by, in fp16


@dataclass(frozen=True, slots=True)
class Weights4:
    """All weights: views of the tensors they were built from."""

    emb: Tensor  # (V, C)
    ln0: Norm | None  # None once folded into emb
    layers: tuple[Layer4, ...]
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
            layers=tuple(read_layer(reader.under(f"blocks.{i}."), spec) for i in range(spec.n_layer)),
            ln_out=reader.norm("ln_out", C),
            head=reader.take("head.weight", V, C),
        )

    def folded(self) -> Self:
        """The same with ln0 applied to the embedding, once, for inference. Not for training."""
        return self if self.ln0 is None else replace(self, emb=fold_ln0(self.emb, self.ln0), ln0=None)


def read_layer(reader: TensorReader, spec: ModelSpec) -> Layer4:
    """From `blocks.i.`."""
    C, att = spec.n_embd, reader.under("att.")
    squares = {j: att.take(f"{j}.weight", C, C) for j in ("receptance", "key", "value", "output")}
    mixes = {f"mix_{j}": att.take(f"time_mix_{j}", C) for j in "kvr"}
    decay, first = att.take("time_decay", C), att.take("time_first", C)
    return Layer4(
        ln1=reader.norm("ln1", C),
        att=Att4(**mixes, **squares, time_decay=decay, time_first=first),
        ln2=reader.norm("ln2", C),
        ffn=Ffn4.read(reader.under("ffn."), spec),
    )


def blank(spec: ModelSpec, n_rows: int, device: torch.device | str = "cpu") -> dict[str, Tensor]:
    """The state before the first token, B behind L."""
    shape = (spec.n_layer, n_rows, spec.n_embd)
    names = ("att_shift", "aa", "bb", "pp", "ffn_shift")
    return {name: torch.full(shape, NOTHING_4 if name == "pp" else 0.0, device=device) for name in names}


def forward(
    weights: Weights4,
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
    layers: Sequence[Layer4],
    x: Tensor,
    state: Mapping[str, Tensor],
    lengths: Tensor | None,
    _carry: Tensor | None = None,
) -> tuple[Tensor, dict[str, Tensor], None]:
    """Some layers one after the other: x (B, T, C), their state -> x, their new state, nothing to carry."""
    real = real_tokens(x[..., 0], lengths)
    new: dict[str, list[Tensor]] = {name: [] for name in state}
    for i, layer in enumerate(layers):
        h, p = layer.ln1(x), state["att_shift"][i]
        sums = (state["aa"][i], state["bb"][i], state["pp"][i])
        y, sums = time_mix(layer.att, h, token_shift(h, p), sums, real)
        x = torch.add(x, y, alpha=layer.scale)
        g, q = layer.ln2(x), state["ffn_shift"][i]
        x = torch.add(x, layer.ffn(g, token_shift(g, q)), alpha=layer.scale)
        parts = (last_valid(h, p, lengths), *sums, last_valid(g, q, lengths))
        for name, part in zip(("att_shift", "aa", "bb", "pp", "ffn_shift"), parts, strict=True):
            new[name].append(part)
    return x, {name: torch.stack(parts) for name, parts in new.items()}, None


PARTS = Parts(blocks, embed, read_out)


def time_mix(att: Att4, h: Tensor, p: Tensor, sums: Sums, real: Tensor | None) -> tuple[Tensor, Sums]:
    """Time mixing: h, p (B, T, C), sums (B, C) each -> y (B, T, C), new sums."""
    r = project(torch.lerp(p, h, att.mix_r), att.receptance).sigmoid()
    k = project(torch.lerp(p, h, att.mix_k), att.key)
    v = project(torch.lerp(p, h, att.mix_v), att.value)
    wkv, sums = wkv4_scan(k, v, -att.time_decay.exp(), att.time_first, sums, real)
    return project(r * wkv, att.output), sums


def refuse_extras(tensors: Mapping[str, Tensor]) -> None:
    """The training code of v4 could still make these; to leave one out would change every answer.

    Raises:
        ModelUnsupported: the file has HeadQK or ffnPre.
    """
    extra = next((name for name in tensors if name.startswith(("head_q.", "blocks.0.ffnPre."))), None)
    if extra is not None:
        raise ModelUnsupported(
            f"This is an RWKV-4 with {extra!r} (HeadQK or ffnPre), of which no model was published.",
            hint="Use a plain RWKV-4.",
        )


class RWKV4(Recurrent):
    """An RWKV-4 ready to run, ln0 folded into the embedding."""

    PARTS: ClassVar[Parts] = PARTS
    RESCALES: ClassVar[bool] = True

    def __init__(self, spec: ModelSpec, tensors: Mapping[str, Tensor]) -> None:
        self.weights = Weights4.build(tensors, spec).folded()
        super().__init__(spec, self.weights.emb.device)
        self._log_decay = [-layer.att.time_decay.exp() for layer in self.weights.layers]
        # (3, 1, C) a layer: the three views of a token in one operation
        self._mixes = [torch.stack([a.mix_r, a.mix_k, a.mix_v])[:, None] for a in self._atts()]

    def _atts(self) -> list[Att4]:
        return [layer.att for layer in self.weights.layers]

    @staticmethod
    def check(tensors: Mapping[str, Tensor], spec: ModelSpec) -> None:
        """Refuse by name a missing tensor or a wrong shape, without reading a value."""
        refuse_extras(tensors)
        Weights4.build(tensors, spec)

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
            h, p = layer.ln1(x), state["att_shift"][i]
            sums = (state["aa"][i], state["bb"][i], state["pp"][i])
            y = _att_step(layer.att, self._mixes[i], self._log_decay[i], h, p, sums)
            x = torch.add(x, y, alpha=layer.scale)
            p.copy_(h)
            h, p = layer.ln2(x), state["ffn_shift"][i]
            x = torch.add(x, layer.ffn(h, p), alpha=layer.scale)
            p.copy_(h)
        return project(weights.ln_out(x), weights.head)


def _att_step(att: Att4, mixes: Tensor, w: Tensor, h: Tensor, p: Tensor, sums: Sums) -> Tensor:
    """`time_mix` for one token: h, p (B, C), sums (B, C) each **overwritten** -> y (B, C)."""
    x_r, x_k, x_v = torch.lerp(p, h, mixes).unbind()
    r = project(x_r, att.receptance).sigmoid_()
    k, v = project(x_k, att.key), project(x_v, att.value)
    aa, bb, pp = sums
    now = att.time_first + k
    q = torch.maximum(pp, now)
    e1, e2 = (pp - q).exp_(), (now - q).exp_()
    wkv = (e1 * aa + e2 * v) / (e1 * bb + e2)
    for old, new in zip(sums, wkv4_step(k, v, w, aa, bb, pp), strict=True):
        old.copy_(new)
    return project(r * wkv, att.output)
