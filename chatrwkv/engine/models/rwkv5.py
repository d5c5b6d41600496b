"""RWKV-5 "Eagle" (5.0, 5.1, 5.2): `forward` for training and truth, `scan` and `step` for inference.

Letters, as in the paper and the checkpoints:

    B rows  T tokens  C n_embd  H heads  N head size (H·N = C)  V vocabulary  L layers
    x  residual stream    h  LN1(x) or LN2(x)    p  h of the token before
    r  receptance (reads, no sigmoid)    k  key    v  value    g  gate (5.1 and 5.2)
    d = exp(-exp(time_decay))  decay of a key channel (5.2) or of a whole head (5.0, 5.1)
    u  bonus of the token itself: exp(time_first) or time_faaaa as it is
    S  (N value, N key), one matrix a head:   y = S·r + (r·(u⊙k)) v ;   S = S·diag(d) + v·kᵀ

Traps: mix coefficients up to v5 mean "all of the token itself" at 1; `time_first` is exponentiated,
`time_faaaa` is not, and 5.0 may have either; the group norm's eps is 64e-5, where rwkv.cpp has 1e-5; the
`rwkv` package keeps S transposed.

Source: RWKV-5/6 paper; fact sheet section 7; `tests/reference/rwkv5.py` in float64.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import torch
from torch.nn import functional as F

from chatrwkv.engine.models.base import Parts, Recurrent, embed, read_out
from chatrwkv.engine.models.rwkv4 import Ffn4
from chatrwkv.engine.ops import (
    group_norm,
    last_valid,
    project,
    real_tokens,
    token_shift,
    wkv6_step_,
)
from chatrwkv.engine.recurrences import wkv5_scan
from chatrwkv.engine.spec import Generation
from chatrwkv.engine.weights import Norm, TensorReader, fold_ln0

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from typing import ClassVar, Self

    from torch import Tensor

    from chatrwkv.engine.spec import ModelSpec
    from chatrwkv.engine.state import Scratch


@dataclass(frozen=True, slots=True)
class Att5:
    """Time mixing of one block."""

    mix_k: Tensor  # (C,) each: how much of the token itself enters
    mix_v: Tensor
    mix_r: Tensor
    mix_g: Tensor | None  # None in 5.0
    time_decay: Tensor  # (H, N) in 5.2, else (H, 1); raw
    bonus: Tensor  # (H, N) in 5.2, else (H, 1); time_first or time_faaaa, raw
    is_bonus_log: bool  # time_first: u = exp(bonus)
    receptance: Tensor  # (C, C) each, torch layout [out, in]
    key: Tensor
    value: Tensor
    gate: Tensor | None
    output: Tensor
    ln_x: Norm  # (C,)

    def u(self) -> Tensor:
        """The bonus as it is used."""
        return self.bonus.exp() if self.is_bonus_log else self.bonus


@dataclass(frozen=True, slots=True)
class Layer5:
    """One block."""

    ln1: Norm
    att: Att5
    ln2: Norm
    ffn: Ffn4
    scale: float = 1.0  # what `att.output` and `ffn.value` are stored too small by, in fp16


@dataclass(frozen=True, slots=True)
class Weights5:
    """All weights: views of the tensors they were built from."""

    emb: Tensor  # (V, C)
    ln0: Norm | None  # None once folded into emb
    layers: tuple[Layer5, ...]
    ln_out: Norm
    head: Tensor  # (V, C)
    head_size: int

    @classmethod
    def build(cls, tensors: Mapping[str, Tensor], spec: ModelSpec) -> Self:
        """Sort a flat `name -> tensor` mapping; every shape is checked, nothing is copied or folded."""
        reader = TensorReader(tensors)
        C, V = spec.n_embd, spec.n_vocab
        return cls(
            emb=reader.take("emb.weight", V, C),
            ln0=reader.norm("blocks.0.ln0", C),
            layers=tuple(_layer(reader.under(f"blocks.{i}."), spec) for i in range(spec.n_layer)),
            ln_out=reader.norm("ln_out", C),
            head=reader.take("head.weight", V, C),
            head_size=spec.head_size,
        )

    def folded(self) -> Self:
        """The same with ln0 applied to the embedding, once, for inference. Not for training."""
        return self if self.ln0 is None else replace(self, emb=fold_ln0(self.emb, self.ln0), ln0=None)


def _layer(reader: TensorReader, spec: ModelSpec) -> Layer5:
    C, H, att = spec.n_embd, spec.n_head, reader.under("att.")
    has_gate = spec.generation is not Generation.V5_0
    per_head = spec.head_size if spec.generation is Generation.V5_2 else 1
    is_bonus_log = spec.generation is not Generation.V5_2 and not att.has("time_faaaa")
    squares = {j: att.take(f"{j}.weight", C, C) for j in ("receptance", "key", "value", "output")}
    mixes = {f"mix_{j}": att.take(f"time_mix_{j}", C) for j in "kvr"}
    return Layer5(
        ln1=reader.norm("ln1", C),
        att=Att5(
            **mixes,
            **squares,
            mix_g=att.take("time_mix_g", C) if has_gate else None,
            gate=att.take("gate.weight", C, C) if has_gate else None,
            time_decay=att.take("time_decay", H, per_head),
            bonus=att.take("time_first" if is_bonus_log else "time_faaaa", H, per_head),
            is_bonus_log=is_bonus_log,
            ln_x=att.norm("ln_x", C),
        ),
        ln2=reader.norm("ln2", C),
        ffn=Ffn4.read(reader.under("ffn."), spec),
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
    weights: Weights5,
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
    layers: Sequence[Layer5],
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


def _att(att: Att5, h: Tensor, p: Tensor, s: Tensor, real: Tensor | None) -> tuple[Tensor, Tensor]:
    """Time mixing: h, p (B, T, C), s (B, H, N, N) -> y (B, T, C), new s."""
    r, k, v = _reads(att, h, p, s.shape[-1])
    y, s = wkv5_scan(r, -att.time_decay.exp(), k, v, att.u(), s, real)
    return _out(att, y, h, p), s


def _reads(att: Att5, h: Tensor, p: Tensor, head_size: int) -> tuple[Tensor, Tensor, Tensor]:
    """r, k, v (…, H, N) of h, p (…, C)."""
    heads = (*h.shape[:-1], -1, head_size)
    r = project(torch.lerp(p, h, att.mix_r), att.receptance).view(heads)
    k = project(torch.lerp(p, h, att.mix_k), att.key).view(heads)
    v = project(torch.lerp(p, h, att.mix_v), att.value).view(heads)
    return r, k, v


def _out(att: Att5, y: Tensor, h: Tensor, p: Tensor) -> Tensor:
    """Norm, gate and output: y (…, H, N) -> (…, C)."""
    y = group_norm(y, att.ln_x.weight, att.ln_x.bias)
    if att.gate is not None and att.mix_g is not None:
        y = y * F.silu(project(torch.lerp(p, h, att.mix_g), att.gate))
    return project(y, att.output)


class RWKV5(Recurrent):
    """An RWKV-5 ready to run, ln0 folded into the embedding."""

    PARTS: ClassVar[Parts] = PARTS
    RESCALES: ClassVar[bool] = True

    def __init__(self, spec: ModelSpec, tensors: Mapping[str, Tensor]) -> None:
        self.weights = Weights5.build(tensors, spec).folded()
        super().__init__(spec, self.weights.emb.device)
        self._decay = [(-layer.att.time_decay.exp()).exp() for layer in self.weights.layers]
        self._u = [layer.att.u() for layer in self.weights.layers]

    @staticmethod
    def check(tensors: Mapping[str, Tensor], spec: ModelSpec) -> None:
        """Refuse by name a missing tensor or a wrong shape, without reading a value."""
        Weights5.build(tensors, spec)

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
            h, p, s = layer.ln1(x), state["att_shift"][i], state["wkv"][i]
            r, k, v = _reads(layer.att, h, p, self.spec.head_size)
            y = wkv6_step_(r, self._decay[i], k, v, self._u[i], s)
            x = torch.add(x, _out(layer.att, y, h, p), alpha=layer.scale)
            p.copy_(h)
            h, p = layer.ln2(x), state["ffn_shift"][i]
            x = torch.add(x, layer.ffn(h, p), alpha=layer.scale)
            p.copy_(h)
        return project(weights.ln_out(x), weights.head)
