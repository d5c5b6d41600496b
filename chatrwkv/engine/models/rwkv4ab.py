"""RWKV-4a and 4b: RWKV-4 with a little attention. `forward` for training and truth, `scan` for inference.

Letters as in `rwkv4`, and:

    4a  after one block:  z = tiny_ln(x), e the embedding row *before* ln0
        M += (tiny_k z)(tiny_v e)ᵀ ;  x += (tiny_q z)ᵀ M / √d      M (d, C): linear attention, so a true state
    4b  in every block, from the same h and p as the time mixing:
        y += oo·Σ_i softmax_i(qq_t·kk_i / √d)·vv_i                  over all tokens i <= t, one head of d
        r does not gate it, and kk and vv of every token must be kept: 2·d numbers a token and layer

Source: fact sheet sections 6.1 and 6.2; `tests/reference/rwkv4ab.py` in float64.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import torch
from torch.nn import functional as F

from chatrwkv.engine.models import rwkv4
from chatrwkv.engine.models.base import Recurrent
from chatrwkv.engine.models.rwkv4 import Weights4, refuse_extras, time_mix
from chatrwkv.engine.ops import last_valid, project, real_tokens, token_shift
from chatrwkv.engine.past import Growth, blank_past
from chatrwkv.engine.spec import Generation
from chatrwkv.engine.weights import Norm, TensorReader

if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Self

    from torch import Tensor

    from chatrwkv.engine.spec import ModelSpec

CHUNK = 256  # tokens whose (T, T) products of tiny attention are made at once
NAMES = ("att_shift", "aa", "bb", "pp", "ffn_shift")


@dataclass(frozen=True, slots=True)
class Tiny:
    """The linear attention of 4a."""

    block: int
    ln: Norm
    query: Tensor  # (d, C) each
    key: Tensor
    value: Tensor  # (C, C)

    @classmethod
    def read(cls, tensors: Mapping[str, Tensor], n_embd: int) -> Self:
        """From the one block that has it."""
        names = (name for name in tensors if name.endswith(("tiny_q.weight", "tiny_k.weight")))
        block = int(next(names).split(".")[1])
        reader = TensorReader(tensors).under(f"blocks.{block}.")
        d = reader.rows("tiny_q.weight", n_embd)
        return cls(
            block=block,
            ln=reader.norm("tiny_ln", n_embd),
            query=reader.take("tiny_q.weight", d, n_embd),
            key=reader.take("tiny_k.weight", d, n_embd),
            value=reader.take("tiny_v.weight", n_embd, n_embd),
        )

    def __call__(self, x: Tensor, e: Tensor, m: Tensor, real: Tensor | None) -> tuple[Tensor, Tensor]:
        """x, e (B, T, C), m (B, d, C) -> what x gains, new m."""
        z = self.ln(x)
        q, k, v = project(z, self.query), project(z, self.key), project(e, self.value)
        if real is not None:
            k = k * real[..., None]
        gains = []
        for at in range(0, x.shape[1], CHUNK):
            q_t, k_t, v_t = (y[:, at : at + CHUNK] for y in (q, k, v))
            gains.append((q_t @ k_t.mT).tril() @ v_t + q_t @ m)
            m = m + k_t.mT @ v_t
        return torch.cat(gains, 1) * self.query.shape[0] ** -0.5, m


@dataclass(frozen=True, slots=True)
class Heed:
    """The softmax attention of 4b in one block."""

    mix_q: Tensor  # (C,) each
    mix_k: Tensor
    mix_v: Tensor
    query: Tensor  # (d, C) each
    key: Tensor
    value: Tensor
    output: Tensor  # (C, d)

    @classmethod
    def read(cls, reader: TensorReader, n_embd: int) -> Self:
        """From `blocks.i.att.`."""
        d = reader.rows("qq.weight", n_embd)
        mixes = {f"mix_{j}": reader.take(f"time_mix_{j}{j}", n_embd) for j in "qkv"}
        return cls(
            **mixes,
            query=reader.take("qq.weight", d, n_embd),
            key=reader.take("kk.weight", d, n_embd),
            value=reader.take("vv.weight", d, n_embd),
            output=reader.take("oo.weight", n_embd, d),
        )

    def __call__(
        self, h: Tensor, p: Tensor, past: tuple[Tensor, Tensor], growth: Growth
    ) -> tuple[Tensor, Tensor, Tensor]:
        """h, p (B, T, C), the past kk and vv -> y (B, T, C), kk and vv (B, W, d)."""
        q = project(torch.lerp(p, h, self.mix_q), self.query)
        kk = growth.extend(past[0], project(torch.lerp(p, h, self.mix_k), self.key))
        vv = growth.extend(past[1], project(torch.lerp(p, h, self.mix_v), self.value))
        read = growth.attend(q @ kk.mT * self.query.shape[0] ** -0.5, vv)
        return project(read, self.output), kk, vv


@dataclass(frozen=True, slots=True)
class Weights4AB:
    """Those of an RWKV-4, and the attention: `tiny` in 4a, one of `heeds` a layer in 4b."""

    base: Weights4
    raw_emb: Tensor  # (V, C), before ln0 also when folded
    tiny: Tiny | None
    heeds: tuple[Heed, ...]

    @classmethod
    def build(cls, tensors: Mapping[str, Tensor], spec: ModelSpec) -> Self:
        """Sort a flat `name -> tensor` mapping; every shape is checked, nothing is copied or folded."""
        base = Weights4.build(tensors, spec)
        is_4a = spec.generation is Generation.V4A
        reader = TensorReader(tensors)
        blocks = () if is_4a else range(spec.n_layer)
        return cls(
            base=base,
            raw_emb=base.emb,
            tiny=Tiny.read(tensors, spec.n_embd) if is_4a else None,
            heeds=tuple(Heed.read(reader.under(f"blocks.{i}.att."), spec.n_embd) for i in blocks),
        )

    @property
    def emb(self) -> Tensor:
        """The embedding that enters block 0."""
        return self.base.emb

    def folded(self) -> Self:
        """The same with ln0 applied to the embedding, once, for inference. Not for training."""
        return replace(self, base=self.base.folded())


def blank(weights: Weights4AB, spec: ModelSpec, n_rows: int, device: torch.device) -> dict[str, Tensor]:
    """The state before the first token, B behind L."""
    state = rwkv4.blank(spec, n_rows, device)
    if weights.tiny is not None:
        state["tiny"] = torch.zeros(1, n_rows, weights.tiny.query.shape[0], spec.n_embd, device=device)
        return state
    width = weights.heeds[0].key.shape[0]
    return state | blank_past(n_rows, device, kk=(spec.n_layer, width), vv=(spec.n_layer, width))


def forward(
    weights: Weights4AB,
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
    base, real = weights.base, real_tokens(token_ids, lengths)
    vectors = base.ln_out.weight.dtype
    x = F.embedding(token_ids, base.emb).to(vectors)
    if base.ln0 is not None:
        x = base.ln0(x)
    growth = Growth(state, token_ids.shape[1], lengths) if weights.heeds else None
    new: dict[str, list[Tensor]] = {name: [] for name in NAMES}
    past: dict[str, list[Tensor]] = {"past_kk": [], "past_vv": []}
    after = {}
    for i, layer in enumerate(base.layers):
        h, p = layer.ln1(x), state["att_shift"][i]
        shifted = token_shift(h, p)
        y, sums = time_mix(layer.att, h, shifted, (state["aa"][i], state["bb"][i], state["pp"][i]), real)
        if growth is not None:
            old = (state["past_kk"][i], state["past_vv"][i])
            read, kk, vv = weights.heeds[i](h, shifted, old, growth)
            past["past_kk"].append(kk)
            past["past_vv"].append(vv)
            y = y + read
        x = x + y
        g, q = layer.ln2(x), state["ffn_shift"][i]
        x = x + layer.ffn(g, token_shift(g, q))
        if weights.tiny is not None and weights.tiny.block == i:
            e = F.embedding(token_ids, weights.raw_emb).to(vectors)
            gain, m = weights.tiny(x, e, state["tiny"][0], real)
            x, after["tiny"] = x + gain, m[None]
        parts = (last_valid(h, p, lengths), *sums, last_valid(g, q, lengths))
        for name, part in zip(NAMES, parts, strict=True):
            new[name].append(part)
    after |= {name: torch.stack(layers) for name, layers in new.items()}
    if growth is not None:
        after |= growth.rest(past)
    if not all_logits:
        x = last_valid(x, x[:, 0], lengths)
    return project(base.ln_out(x), base.head), {name: after[name] for name in state}


class RWKV4AB(Recurrent):
    """An RWKV-4a or 4b ready to run, ln0 folded into the embedding; one token is a scan of T = 1."""

    def __init__(self, spec: ModelSpec, tensors: Mapping[str, Tensor]) -> None:
        self.weights = Weights4AB.build(tensors, spec).folded()
        super().__init__(spec, self.weights.base.emb.device)

    @staticmethod
    def check(tensors: Mapping[str, Tensor], spec: ModelSpec) -> None:
        """Refuse by name a missing tensor or a wrong shape, without reading a value."""
        refuse_extras(tensors)
        Weights4AB.build(tensors, spec)

    def blank_rows(self, n_rows: int) -> dict[str, Tensor]:
        """See `blank`."""
        return blank(self.weights, self.spec, n_rows, self.device)

    def forward(
        self, token_ids: Tensor, state: Mapping[str, Tensor], lengths: Tensor | None, *, all_logits: bool
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """See `forward`."""
        return forward(self.weights, token_ids, state, lengths, all_logits=all_logits)
