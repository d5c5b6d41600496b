"""The published generations side by side: what each computes, how it forgets, and how large its state is.

Sizes are formulas, so that what is shown and what is counted cannot differ. Knows no torch.

L layers   C n_embd   H heads   N head size   A width of attention of RWKV-1
d width of the extra attention   q width of its queries   R its low ranks together   Q width of the copy head
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

from chatrwkv.engine.spec import Generation

if TYPE_CHECKING:
    from collections.abc import Mapping

    from chatrwkv.engine.spec import ModelSpec

_FLOAT, _ID = 4, 8  # bytes of a number of a state, of a token id in it


@dataclass(frozen=True, slots=True)
class About:
    """One generation. Formulas are in the letters of the checkpoints."""

    since: str
    """Month of its first public code or model."""
    formula: str
    """What a token reads from the past, and what it leaves there."""
    changed: str
    """Since the one before."""
    decay: str
    tokenizers: tuple[str, ...]
    """Kinds (`tokens.choice`) of the published models."""
    state: str
    """Numbers of a state, whatever it has read."""
    grows: str = ""
    """Numbers that each token adds; empty where it stays as it is."""
    keeps_ids: bool = False
    """Whether it also keeps the token ids."""
    copy_head: str = ""
    """What the optional copy head adds a token, ids and all."""


_SUMS = "y = (aa + u·k·v)/(bb + u·k);  aa = d·aa + k·v;  bb = d·bb + k;  k = exp(K x)"
_MATRIX = "y = S·r + (r·(u⊙k))·v;  S = S·diag(d) + v·kᵀ"
_DELTA = "S = S·diag(w) + (S·(-κ))(κ·a)ᵀ + v·kᵀ;  y = S·r + (Σ r·k·r_k)·v"
_HEEDS = "  x += Σ_i softmax_i(c·tanh(q·K_i/t)) V_i"
_PER_HEAD = "2·L·C + L·H·N·N"
_SUMS_STATE = "5·L·C"

ABOUT: dict[Generation, About] = {
    Generation.V1: About(
        "2021-08",
        "y_t = β_t·Σ_u w_(t-u)·α_u·k_u·v_u / Σ_u k_u;  k = exp(K x)",
        "attention without queries: a learnt weight for each distance",
        "a table: one weight a head and distance",
        ("characters",),
        "2·L·C + L·A",
        "L·A + 2·L·d + Q",
        keeps_ids=True,
    ),
    Generation.V2: About(
        "2022-05",
        _SUMS,
        "an RNN: two sums that decay take the place of the table; the norms' output is the stream",
        "fixed, a channel",
        ("characters", "20b"),
        _SUMS_STATE,
        copy_head="Q",
    ),
    Generation.V3: About(
        "2022-07",
        _SUMS,
        "norms beside the stream, a norm after the embedding, a mix of its own for k, v and r",
        "fixed, a channel",
        ("20b",),
        _SUMS_STATE,
        copy_head="Q",
    ),
    Generation.V4: About(
        "2022-08",
        _SUMS,
        "keys are exponents: aa and bb are kept divided by e^pp, so nothing overflows",
        "fixed, a channel",
        ("20b", "world", "midi", "abc"),
        _SUMS_STATE,
    ),
    Generation.V4A: About(
        "2022-12",
        f"{_SUMS};  x += qᵀM/√d in one block,  M += k (value e)ᵀ",
        "linear attention in one block, on the raw embedding e",
        "fixed, a channel; none in M",
        ("20b",),
        "5·L·C + d·C",
    ),
    Generation.V4B: About(
        "2023-02",
        f"{_SUMS};  y += oo·Σ_i softmax_i(qq·kk_i/√d) vv_i",
        "a small softmax attention in every block",
        "fixed, a channel; none in the attention",
        ("20b",),
        _SUMS_STATE,
        "2·L·d",
    ),
    Generation.V5_0: About(
        "2023-08",
        _MATRIX,
        "heads with a matrix each, a group norm after them; no division by bb",
        "fixed, a head",
        ("world",),
        _PER_HEAD,
    ),
    Generation.V5_1: About(
        "2023-09",
        f"{_MATRIX};  y·silu(g)",
        "an output gate g",
        "fixed, a head",
        ("abc",),
        _PER_HEAD,
    ),
    Generation.V5_2: About(
        "2023-10",
        f"{_MATRIX};  y·silu(g)",
        "decay and bonus u for each channel",
        "fixed, a channel",
        ("world",),
        _PER_HEAD,
    ),
    Generation.V6: About(
        "2024-02",
        "y = S·r + (r·(u⊙k))·v;  S = S·diag(w_t) + v·kᵀ;  y·silu(g)",
        "decay and mixes depend on the token, through low ranks",
        "by token, a channel",
        ("world",),
        _PER_HEAD,
    ),
    Generation.V7: About(
        "2024-11",
        f"{_DELTA};  y·g",
        "the delta rule: what the key κ finds is taken out before v is put in, at the rate a",
        "by token, a channel, and removal along κ",
        ("world", "20b"),
        _PER_HEAD,
    ),
    Generation.V7A: About(
        "2025-08",
        f"{_DELTA};  ffn k ⊙ (x·s1·E[token]·s2 + s0)",
        "DeepEmbed: each token scales the channel mixing of each layer",
        "as 7",
        ("world",),
        _PER_HEAD,
    ),
    Generation.V7B: About(
        "2025-08",
        f"{_DELTA};{_HEEDS}",
        "DeepEmbed attention (DEA): low-rank keys and values times the token's own",
        "as 7; none in the attention",
        ("world",),
        "2·L·C + L·H·N·N + L·q",
        "L·R",
        keeps_ids=True,
    ),
    Generation.V8RC: About(
        "2025-05",
        f"{_DELTA};  ffn ⊙ E[token]",
        "a preview: each token scales what the channel mixing gives",
        "as 7",
        ("20b",),
        _PER_HEAD,
    ),
    Generation.V8RC_HYBRID: About(
        "2025-06",
        f"{_DELTA};{_HEEDS}",
        "a preview: attention as in 7b, without its token shift",
        "as 7; none in the attention",
        ("20b",),
        _PER_HEAD,
        "L·R",
        keeps_ids=True,
    ),
}


@dataclass(frozen=True, slots=True)
class StateSize:
    """Bytes of a state."""

    n_bytes: int
    """Of a blank one."""
    per_token: int
    """What each token adds; 0 where it stays as it is."""


def state_size(spec: ModelSpec, shapes: Mapping[str, tuple[int, ...]]) -> StateSize:
    """How large states of a checkpoint are, from its tensor names and shapes."""
    about, letters = ABOUT[spec.generation], _letters(spec, shapes)
    grows, keeps_ids = about.grows, about.keeps_ids
    if about.copy_head and letters["Q"]:
        grows, keeps_ids = about.copy_head, True
    counted = _ID if grows else 0  # how many tokens the growing part holds
    added = numbers(grows, letters) * _FLOAT + (_ID if keeps_ids else 0)
    return StateSize(numbers(about.state, letters) * _FLOAT + counted, added)


def numbers(formula: str, letters: Mapping[str, int]) -> int:
    """The value of a sum of products, such as "2·L·C + L·A"; nothing is 0."""
    terms = [term.split("·") for term in formula.split(" + ")] if formula else []
    return sum(math.prod(int(f) if f.isdecimal() else letters[f] for f in term) for term in terms)


def _letters(spec: ModelSpec, shapes: Mapping[str, tuple[int, ...]]) -> dict[str, int]:
    def size(axis: int, *endings: str) -> int:
        found = next((shape for name, shape in shapes.items() if name.endswith(endings)), None)
        return found[axis] if found else 0

    ranks = size(-1, ".qkv.k1") + size(-1, ".qkv.v1") + size(0, ".qkv.kk.weight") + size(0, ".qkv.vv.weight")
    return {
        "L": spec.n_layer,
        "C": spec.n_embd,
        "H": spec.n_head,
        "N": spec.head_size,
        "A": spec.n_att or spec.n_embd,
        "d": size(0, ".tiny_q.weight", ".att.qq.weight") or size(-1, ".tiny_att.out.weight"),
        "q": size(0, ".qkv.qq.weight"),
        "R": ranks,
        "Q": size(0, "head_k.weight"),
    }


def rows() -> list[dict[str, str]]:
    """Every generation as text, oldest first."""
    return [
        {
            "generation": f"RWKV-{generation.value}",
            "since": about.since,
            "formula": about.formula,
            "changed": about.changed,
            "decay": about.decay,
            "state": _state(about),
            "tokenizer": ", ".join(about.tokenizers),
        }
        for generation, about in ABOUT.items()
    ]


def _state(about: About) -> str:
    text = about.state
    if about.grows:
        text += f", and {about.grows} a token"
    return text + (f" (with a copy head {about.copy_head} a token)" if about.copy_head else "")


def markdown() -> str:
    """The same as a table, for the README."""
    table = rows()
    lines = ["| " + " | ".join(table[0]) + " |", "|" + "---|" * len(table[0])]
    # A bar within a formula would end the cell.
    lines += ["| " + " | ".join(value.replace("|", "\\|") for value in row.values()) + " |" for row in table]
    return "\n".join(lines) + "\n"
