"""RWKV-7a, 7b, 8-rc00 and its hybrid: RWKV-7 whose layers look numbers up by token.

Letters as in `rwkv7`, and:

    e   the embedding row that enters block 0 (after ln0 where there is one)
    DeepEmbed (7a, 7b)   k ⊙= (h@s1) @ reshape(s, R, R) @ s2 + s0 ;   s = s_emb[id] + s_emb_x·e
    8-rc00               out = (value·k) ⊙ enn[id]
    DEA (7b, hybrid)     attention over all tokens, added to x together with the time mixing, and read from
                         x at block entry, before ln1.  q, K, V pass a LayerNorm each.
        7b        q = qq·x ;  K = (x@k1@k2) ⊙ k_tab[id] ;  V = tanh(x@v1@v2) ⊙ v_tab[id] ;  each mixed with
                  its own of the token before (x_q, x_k, x_v; zero before the first) ;  64·tanh(q·K/1024)
                  where k_tab[id] = k_emb[id] + k_emb_x·e, v_tab likewise
        hybrid    K = (kkup·kk·x) ⊙ ennk[id] ;  V = tanh(vvup·vv·x) ⊙ emm[id] ;  32·tanh(q·K/512)

What is kept of a token for DEA is kk·x and vv·x (x@k1, x@v1), 2·32 numbers a layer, and its id; K and V are
made again for every call. Keeping them would save that work and cost 16 times the memory: 200 MB instead of
12 for 4,096 tokens of a 0.1B model, in every fork.

Trap: the hybrid has no ln0 step, even if its file has the tensors.

Source: fact sheet sections 9.1 to 9.3; `tests/reference/rwkv8.py` in float64.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, ClassVar

import torch
from torch.nn import functional as F

from chatrwkv.engine.models import rwkv7
from chatrwkv.engine.models.base import Parts, Recurrent, read_out
from chatrwkv.engine.models.rwkv7 import Layer7, read_layer, stacked_mixes, time_mix, time_mix_step
from chatrwkv.engine.ops import last_valid, project, project_wide, real_tokens, token_shift
from chatrwkv.engine.past import Growth, blank_past
from chatrwkv.engine.spec import Generation
from chatrwkv.engine.state import N_PAST, PAST_IDS
from chatrwkv.engine.weights import Norm, TensorReader, fold_ln0

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from typing import Self

    from torch import Tensor

    from chatrwkv.engine.spec import ModelSpec
    from chatrwkv.engine.state import Scratch

NAMES = ("att_shift", "wkv", "ffn_shift")
_FOLD_ROWS = 4096


@dataclass(frozen=True, slots=True)
class Table:
    """One row a token: `rows[id] + lift·e`."""

    rows: Tensor  # (V, D)
    lift: Tensor | None  # (D, C); None if the file has none, and once folded

    def __call__(self, token_ids: Tensor, e: Tensor) -> Tensor:
        """The numbers (…, D) of ids (…) whose embedding rows are e (…, C)."""
        found = F.embedding(token_ids, self.rows).to(e.dtype)
        return found if self.lift is None else found + project(e, self.lift)

    def folded(self, emb: Tensor) -> Table:
        """The same with `lift` applied to all rows of the embedding, in float32."""
        if self.lift is None:
            return self
        rows, lift = torch.empty_like(self.rows), self.lift.float().t()
        for start in range(0, len(rows), _FOLD_ROWS):
            part = slice(start, start + _FOLD_ROWS)
            e = emb[part].to(rows.device)
            rows[part] = (self.rows[part].float() + e.float() @ lift).to(rows.dtype)
        return Table(rows, None)


@dataclass(frozen=True, slots=True)
class DeepEmbed:
    """What 7a and 7b multiply into the hidden layer of the channel mixing."""

    s1: Tensor  # (C, R)
    s2: Tensor  # (R, F)
    s0: Tensor  # (F,)
    table: Table  # (V, R·R)

    def __call__(self, h: Tensor, s: Tensor) -> Tensor:
        """From h (…, C) and the token's numbers s (…, R·R): (…, F)."""
        square = s.view(*s.shape[:-1], self.s1.shape[1], -1)
        low = (h.to(self.s1.dtype) @ self.s1).to(h.dtype)
        mixed = (low[..., None, :] @ square).squeeze(-2)
        return (mixed.to(self.s2.dtype) @ self.s2).to(h.dtype) + self.s0


@dataclass(frozen=True, slots=True)
class Dea:
    """The attention of 7b and the hybrid in one block."""

    query: Tensor  # (D, C)
    k_down: Tensor  # (R, C)
    k_up: Tensor  # (D, R)
    v_down: Tensor  # (R, C)
    v_up: Tensor  # (C, R)
    k_table: Table  # (V, D)
    v_table: Table  # (V, C)
    mixes: tuple[Tensor, Tensor, Tensor] | None  # x_q, x_k (D,), x_v (C,) of 7b
    ln_q: Norm
    ln_k: Norm
    ln_v: Norm
    cap: float
    temperature: float

    @classmethod
    def read_7b(cls, reader: TensorReader, C: int, V: int) -> Self:
        """From `blocks.i.qkv.`; its low-rank pairs are stored for right multiplication."""
        D, R, Q = reader.rows("qq.weight", C), reader.columns("k1", C), reader.columns("v1", C)
        return cls(
            query=reader.take("qq.weight", D, C),
            k_down=reader.take("k1", C, R).t(),
            k_up=reader.take("k2", R, D).t(),
            v_down=reader.take("v1", C, Q).t(),
            v_up=reader.take("v2", Q, C).t(),
            k_table=Table(reader.take("k_emb.weight", V, D), reader.take("k_emb_x.weight", D, C)),
            v_table=Table(reader.take("v_emb.weight", V, C), reader.take("v_emb_x.weight", C, C)),
            mixes=(reader.take("x_q", D), reader.take("x_k", D), reader.take("x_v", C)),
            ln_q=reader.norm("lnq", D),
            ln_k=reader.norm("lnk", D),
            ln_v=reader.norm("lnv", C),
            cap=64.0,
            temperature=1024.0,
        )

    @classmethod
    def read_hybrid(cls, reader: TensorReader, C: int, V: int) -> Self:
        """From `blocks.i.qkv.`."""
        D, R, Q = (reader.rows(f"{name}.weight", C) for name in ("qq", "kk", "vv"))
        return cls(
            query=reader.take("qq.weight", D, C),
            k_down=reader.take("kk.weight", R, C),
            k_up=reader.take("kkup.weight", D, R),
            v_down=reader.take("vv.weight", Q, C),
            v_up=reader.take("vvup.weight", C, Q),
            k_table=Table(reader.take("ennk.weight", V, D), None),
            v_table=Table(reader.take("emm.weight", V, C), None),
            mixes=None,
            ln_q=reader.norm("lnq", D),
            ln_k=reader.norm("lnk", D),
            ln_v=reader.norm("lnv", C),
            cap=32.0,
            temperature=512.0,
        )

    def folded(self, emb: Tensor) -> Dea:
        """The tables with `lift` applied: it would have to be done for all tokens of the past at each call."""
        return replace(self, k_table=self.k_table.folded(emb), v_table=self.v_table.folded(emb))

    def keys_values(self, k: Tensor, v: Tensor, ids: Tensor, e: Tensor) -> tuple[Tensor, Tensor]:
        """What is kept of all tokens, (B, W, R) each, their ids and e -> K (B, W, D), V (B, W, C)."""
        keys = project(k, self.k_up) * self.k_table(ids, e)
        values = project(v, self.v_up).tanh() * self.v_table(ids, e)
        if self.mixes is not None:
            keys = torch.lerp(keys, F.pad(keys, (0, 0, 1, -1)), self.mixes[1])
            values = torch.lerp(values, F.pad(values, (0, 0, 1, -1)), self.mixes[2])
        return self.ln_k(keys), self.ln_v(values)

    def attend(self, q: Tensor, keys: Tensor, values: Tensor, growth: Growth) -> Tensor:
        """What each q (B, T, D), shifted, reads: (B, T, C)."""
        scores = self.cap * (self.ln_q(q) @ keys.mT / self.temperature).tanh()
        return growth.attend(scores, values)


@dataclass(frozen=True, slots=True)
class Layer8:
    """One block."""

    base: Layer7
    deep: DeepEmbed | None  # 7a, 7b
    enn: Tensor | None  # (V, C), 8
    dea: Dea | None  # 7b, hybrid

    def folded(self, emb: Tensor) -> Layer8:
        """The same with the tables of DEA applied to the folded embedding."""
        return self if self.dea is None else replace(self, dea=self.dea.folded(emb))

    def channel_mix(self, h: Tensor, p: Tensor, token_ids: Tensor, e: Tensor) -> Tensor:
        """h, p, e (…, C), ids (…) -> (…, C)."""
        ffn = self.base.ffn
        k = project(h + (p - h) * ffn.x_k, ffn.key).relu().square()
        if self.deep is not None:
            k = k * self.deep(h, self.deep.table(token_ids, e))
        out = project_wide(k, ffn.value)
        return out if self.enn is None else out * F.embedding(token_ids, self.enn).to(out.dtype)


@dataclass(frozen=True, slots=True)
class Weights8:
    """All weights: views of the tensors they were built from."""

    emb: Tensor  # (V, C)
    ln0: Norm | None  # None in the hybrid, and once folded into emb
    layers: tuple[Layer8, ...]
    ln_out: Norm
    head: Tensor  # (V, C)

    @classmethod
    def build(cls, tensors: Mapping[str, Tensor], spec: ModelSpec) -> Self:
        """Sort a flat `name -> tensor` mapping; every shape is checked, nothing is copied or folded."""
        reader = TensorReader(tensors)
        C, V = spec.n_embd, spec.n_vocab
        return cls(
            emb=reader.take("emb.weight", V, C),
            ln0=None if spec.generation is Generation.V8RC_HYBRID else reader.norm("blocks.0.ln0", C),
            layers=tuple(_layer(reader.under(f"blocks.{i}."), spec, i) for i in range(spec.n_layer)),
            ln_out=reader.norm("ln_out", C),
            head=reader.take("head.weight", V, C),
        )

    def folded(self) -> Self:
        """The same with ln0 and the tables of DEA applied, once, for inference. Not for training."""
        emb = self.emb if self.ln0 is None else fold_ln0(self.emb, self.ln0)
        return replace(self, emb=emb, ln0=None, layers=tuple(layer.folded(emb) for layer in self.layers))

    def embed(self, token_ids: Tensor) -> Tensor:
        """Ids -> e, in the dtype of the vectors."""
        e = F.embedding(token_ids, self.emb).to(self.ln_out.weight.dtype)
        return e if self.ln0 is None else self.ln0(e)


def _layer(reader: TensorReader, spec: ModelSpec, index: int) -> Layer8:
    C, V, width, generation = spec.n_embd, spec.n_vocab, spec.n_ffn, spec.generation
    ffn, qkv = reader.under("ffn."), reader.under("qkv.")
    is_8 = generation in (Generation.V8RC, Generation.V8RC_HYBRID)
    dea = None
    if generation is Generation.V7B:
        dea = Dea.read_7b(qkv, C, V)
    elif generation is Generation.V8RC_HYBRID:
        dea = Dea.read_hybrid(qkv, C, V)
    return Layer8(
        base=read_layer(reader, spec, index),
        deep=None if is_8 else _deep_embed(ffn, C, V, width),
        enn=ffn.take("enn.weight", V, C) if is_8 else None,
        dea=dea,
    )


def _deep_embed(ffn: TensorReader, C: int, V: int, width: int) -> DeepEmbed:
    R, S = ffn.columns("s1", C), ffn.rows("s2", width)
    return DeepEmbed(
        s1=ffn.take("s1", C, R),
        s2=ffn.take("s2", S, width),
        s0=ffn.take("s0", width),
        table=Table(ffn.take("s_emb.weight", V, R * S), ffn.take("s_emb_x.weight", R * S, C)),
    )


def blank(weights: Weights8, spec: ModelSpec, n_rows: int, device: torch.device) -> dict[str, Tensor]:
    """The state before the first token, B behind L."""
    state, L, dea = rwkv7.blank(spec, n_rows, device), spec.n_layer, weights.layers[0].dea
    if dea is None:
        return state
    if dea.mixes is not None:
        state["q_shift"] = torch.zeros(L, n_rows, dea.query.shape[0], device=device)
    k, v = (L, dea.k_down.shape[0]), (L, dea.v_down.shape[0])
    return state | blank_past(n_rows, device, k=k, v=v, ids=(1,))


def forward(
    weights: Weights8,
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


@dataclass(frozen=True, slots=True)
class Past8:
    """The tokens that DEA reads: all there were, and those of this call."""

    growth: Growth
    ids: Tensor  # (B, W)
    e: Tensor  # (B, W, C)


@dataclass(frozen=True, slots=True)
class Call8:
    """What the blocks of one call share."""

    token_ids: Tensor  # (B, T)
    e: Tensor  # (B, T, C)
    v_first: Tensor | None  # (B, T, C), from block 0 on
    past: Past8 | None  # with DEA


def enter(
    weights: Weights8, token_ids: Tensor, state: Mapping[str, Tensor], lengths: Tensor | None
) -> tuple[Tensor, Call8]:
    """The embedding of the tokens, and with DEA of all that came before."""
    e, past = weights.embed(token_ids), None
    if PAST_IDS in state:
        growth = Growth(state, token_ids.shape[1], lengths)
        ids = growth.extend(state[PAST_IDS][0], token_ids)
        past = Past8(growth, ids, weights.embed(ids))
    return e, Call8(token_ids, e, None, past)


def blocks(
    layers: Sequence[Layer8], x: Tensor, state: Mapping[str, Tensor], lengths: Tensor | None, call: Call8
) -> tuple[Tensor, dict[str, Tensor], Call8]:
    """Some layers one after the other: x (B, T, C), their state -> x, their new state, the call with v_first."""
    real, v_first = real_tokens(x[..., 0], lengths), call.v_first
    new: dict[str, list[Tensor]] = {name: [] for name in NAMES}
    heeding = Heeding(call.past, state, lengths) if call.past is not None else None
    for i, layer in enumerate(layers):
        h, p = layer.base.ln1(x), state["att_shift"][i]
        y, s, v_first = time_mix(layer.base.att, h, token_shift(h, p), state["wkv"][i], v_first, real)
        if heeding is not None and layer.dea is not None:
            y = y + heeding(i, layer.dea, x)
        x = x + y
        g, q = layer.base.ln2(x), state["ffn_shift"][i]
        x = x + layer.channel_mix(g, token_shift(g, q), call.token_ids, call.e)
        for name, part in zip(NAMES, (last_valid(h, p, lengths), s, last_valid(g, q, lengths)), strict=True):
            new[name].append(part)
    after = {name: torch.stack(parts) for name, parts in new.items()}
    return x, after | ({} if heeding is None else heeding.kept()), replace(call, v_first=v_first)


def leave(
    weights: Weights8,
    x: Tensor,
    call: Call8,
    state: Mapping[str, Tensor],
    lengths: Tensor | None,
    *,
    all_logits: bool,
) -> tuple[Tensor, dict[str, Tensor]]:
    """Logits (B, T, V) or (B, V), and the ids of the past."""
    logits, rest = read_out(weights, x, call, state, lengths, all_logits=all_logits)
    return logits, rest if call.past is None else call.past.growth.rest({PAST_IDS: call.past.ids})


PARTS = Parts(blocks, enter, leave, frozenset({N_PAST, PAST_IDS}))


class Heeding:
    """DEA over one call, block by block, and what the state of these blocks keeps."""

    def __init__(self, past: Past8, state: Mapping[str, Tensor], lengths: Tensor | None) -> None:
        self._past, self._state, self._lengths = past, state, lengths
        self._grown: dict[str, list[Tensor]] = {"past_k": [], "past_v": []}
        self._q: list[Tensor] = []

    def __call__(self, i: int, dea: Dea, x: Tensor) -> Tensor:
        """What x (B, T, C), at the entry of block i, gains."""
        growth = self._past.growth
        k = growth.extend(self._state["past_k"][i], project(x, dea.k_down))
        v = growth.extend(self._state["past_v"][i], project(x, dea.v_down))
        self._grown["past_k"].append(k)
        self._grown["past_v"].append(v)
        q = project(x, dea.query)
        if dea.mixes is not None:
            before = self._state["q_shift"][i]
            self._q.append(last_valid(q, before, self._lengths))
            q = torch.lerp(q, token_shift(q, before), dea.mixes[0])
        keys, values = dea.keys_values(k, v, self._past.ids, self._past.e)
        return dea.attend(q, keys, values, growth)

    def kept(self) -> dict[str, Tensor]:
        """What the state keeps."""
        shift = {"q_shift": torch.stack(self._q)} if self._q else {}
        return shift | self._past.growth.kept(self._grown)


class RWKV8(Recurrent):
    """An RWKV-7a, 7b, 8-rc00 or hybrid ready to run, ln0 folded into the embedding.

    Args:
        spec: the blueprint.
        tensors: taken over and **emptied**: the tables of DEA are half of a 7b file (1.6 GB of 3.3), and
            are let go layer by layer as they are folded.
    """

    PARTS: ClassVar[Parts] = PARTS

    def __init__(self, spec: ModelSpec, tensors: dict[str, Tensor]) -> None:
        whole = Weights8.build(tensors, spec)
        tensors.clear()
        waiting, done, whole = list(whole.layers[::-1]), [], replace(whole, layers=()).folded()
        while waiting:
            done.append(waiting.pop().folded(whole.emb))
        self.weights = replace(whole, layers=tuple(done))
        super().__init__(spec, self.weights.emb.device)
        self._mixes = [stacked_mixes(layer.base.att) for layer in self.weights.layers]

    @staticmethod
    def check(tensors: Mapping[str, Tensor], spec: ModelSpec) -> None:
        """Refuse by name a missing tensor or a wrong shape, without reading a value."""
        Weights8.build(tensors, spec)

    def blank_rows(self, n_rows: int) -> dict[str, Tensor]:
        """See `blank`."""
        return blank(self.weights, self.spec, n_rows, self.device)

    @torch.inference_mode()
    def step(self, token_ids: Sequence[int], scratch: Scratch) -> Tensor:
        """Read one token into each row: logits (B, V). The same as `scan` with T = 1, in fewer operations."""
        scratch.to(self.device)
        weights, state, v_first = self.weights, scratch.tensors, None
        ids = torch.tensor(token_ids, device=self.device)
        call = enter(weights, ids[:, None], state, None)[1]
        x = e = call.e[:, 0]
        heeding = Heeding(call.past, state, None) if call.past is not None else None
        for i, layer in enumerate(weights.layers):
            h, p = layer.base.ln1(x), state["att_shift"][i]
            y, v_first = time_mix_step(layer.base.att, self._mixes[i], h, p, state["wkv"][i], v_first)
            p.copy_(h)
            if heeding is not None and layer.dea is not None:
                y = y + heeding(i, layer.dea, x[:, None])[:, 0]
            x = x + y
            h, p = layer.base.ln2(x), state["ffn_shift"][i]
            x = x + layer.channel_mix(h, p, ids, e)
            p.copy_(h)
        if heeding is not None and call.past is not None:
            scratch.tensors |= heeding.kept() | call.past.growth.rest({PAST_IDS: call.past.ids})
        return project(weights.ln_out(x), weights.head)
