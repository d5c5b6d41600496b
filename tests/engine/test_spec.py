"""Detection, on the key lists of every generation and of what must be refused by name."""

from __future__ import annotations

import pytest

from chatrwkv.engine.spec import Generation, detect
from chatrwkv.errors import ModelFormatError, ModelUnsupported

V, C, F, H, N = 100, 64, 256, 4, 16


def shapes(att, ffn=("key", "receptance", "value"), *, extra=(), ln0=True, n_layer=2, prefix=""):
    """A key list from the parts that generations differ in."""
    square = {f"{name}.weight": (C, C) for name in ("key", "value", "receptance", "output")}
    table = {"emb.weight": (V, C), "head.weight": (V, C), "ln_out.weight": (C,), "ln_out.bias": (C,)}
    if ln0:
        table["blocks.0.ln0.weight"] = table["blocks.0.ln0.bias"] = (C,)
    for i in range(n_layer):
        block = f"blocks.{i}."
        table |= {f"{block}att.{name}": shape for name, shape in (square | dict(att)).items()}
        wide = {"key": (F, C), "value": (C, F), "receptance": (C, C)}
        table |= {f"{block}ffn.{name}.weight": wide[name] for name in ffn}
    return table | dict(extra)


VECTOR = {"time_decay": (C,), "time_first": (C,)}
COLUMN = {"time_decay": (C, 1), "time_first": (C, 1)}
LN_X = {"ln_x.weight": (C,), "ln_x.bias": (C,)}
GATE = {"gate.weight": (C, C)}
V5_HEAD = {"time_decay": (H,), "time_faaaa": (H,), **LN_X}
V5_CHANNEL = {"time_decay": (H, N), "time_faaaa": (H, N), **LN_X, **GATE}
V6 = {"time_maa_x": (1, 1, C), "time_decay": (1, 1, C), "time_decay_w1": (C, 8), "time_faaaa": (H, N), **LN_X}
V7 = {"r_k": (H, N), **LN_X}
QKV = [("blocks.1.qkv.qq.weight", (256, C))]
S_EMB = [("blocks.0.ffn.s_emb.weight", (V, 1024)), ("blocks.1.ffn.s_emb.weight", (V, 1024))]
ENN = [("blocks.0.ffn.enn.weight", (V, C)), ("blocks.1.ffn.enn.weight", (V, C))]

KNOWN = {
    Generation.V2: shapes(COLUMN, ln0=False),
    Generation.V3: shapes(COLUMN),
    Generation.V4: shapes(VECTOR),
    Generation.V4A: shapes(VECTOR, extra=[("blocks.1.tiny_q.weight", (16, C))]),
    Generation.V4B: shapes({**VECTOR, "qq.weight": (4, C)}),
    Generation.V5_0: shapes(V5_HEAD),
    Generation.V5_1: shapes({**V5_HEAD, **GATE}),
    Generation.V5_2: shapes(V5_CHANNEL),
    Generation.V6: shapes({**V6, **GATE}),
    Generation.V7: shapes(V7, ("key", "value")),
    Generation.V7A: shapes(V7, ("key", "value"), extra=S_EMB),
    Generation.V7B: shapes(V7, ("key", "value"), extra=S_EMB + QKV),
    Generation.V8RC: shapes(V7, ("key", "value"), extra=ENN),
    Generation.V8RC_HYBRID: shapes(V7, ("key", "value"), extra=ENN + QKV),
}


@pytest.mark.parametrize("generation", KNOWN)
def test_each_generation_is_known_by_its_keys(generation):
    """File names lie and are renamed; only names and shapes of tensors decide."""
    spec = detect(KNOWN[generation], "finger", "bf16")
    assert spec.generation is generation
    assert (spec.n_layer, spec.n_embd, spec.n_vocab, spec.n_ffn) == (2, C, V, F)
    assert spec.head_size == (1 if generation < Generation.V5_0 else N)
    assert (spec.fingerprint, spec.dtype) == ("finger", "bf16")


def test_v1_is_known_by_its_own_names():
    """Its tensors are named like a GPT's, with biases and a receptance."""
    table = {
        "tok_emb.weight": (V, C),
        "blocks.0.attn.time_w": (H, 128),
        "blocks.0.attn.key.weight": (C, C),
        "blocks.0.attn.receptance.weight": (C, C),
        "blocks.0.mlp.key.weight": (160, C),
    }
    spec = detect(table)
    assert (spec.generation, spec.head_size, spec.n_ffn, spec.n_layer) == (Generation.V1, N, 160, 1)


def test_a_block_0_without_attention_is_looked_past():
    """`ffnPre` models have no att in block 0."""
    table = shapes(VECTOR)
    table = {name: shape for name, shape in table.items() if not name.startswith("blocks.0.att.")}
    table["blocks.0.ffnPre.key.weight"] = (F, C)
    assert detect(table).generation is Generation.V4


def test_a_5_1_with_one_head_squeezes_to_nothing():
    """[1] and [1, 1] are one decay for one head, not one for each channel."""
    assert detect(shapes({**V5_HEAD, **GATE, "time_decay": (1,)})).generation is Generation.V5_1


FOREIGN = {
    "x060a": (shapes(V6), "x060a"),
    "x060a with all its tensors": (
        shapes({**V6, **GATE, "time_maa_g": (1, 1, C), "gate_w1": (C, 8)}),
        "x060a, b or c",
    ),
    "x060b": (shapes({**VECTOR, "time_maa_rkvw_w1": (C, 32), **LN_X, "time_faaaa": (H, N)}), "x060a, b or c"),
    "LoRA": (shapes(V7, extra=[("blocks.0.att.key.lora_A", (4, C))]), "LoRA"),
    "ROSA": ({"rosa.emb.weight": (V, C)}, "ROSA"),
    "ROSA in blocks": ({"emb.weight": (V, C), "blocks.0.rosa_q.weight": (C, C)}, "ROSA"),
    "ROSA task net": ({"e.weight": (V, C), "head.weight": (V, C)}, "ROSA"),
    "ROSA in rwkv1": ({"rwkv1.att.key.weight": (C, C)}, "ROSA"),
    "foreign trainer": ({"rwkv_layer_groups.0.att.key.weight": (C, C)}, "foreign trainer"),
    "quantised": (shapes(VECTOR, extra=[("blocks.0.att.key.weight_mx", (C,))]), "quantised"),
    "MishGLU": (shapes(VECTOR, extra=[("blocks.0.ffn.aa.weight", (F, C))]), "MishGLU"),
    "image": (shapes(VECTOR, extra=[("pos_emb_x", (1, C))]), "image"),
    "converted": (shapes(VECTOR, extra=[("_strategy", (0,))]), "package"),
    "MHA": ({"blocks.0.attn.query.weight": (C, C)}, "MHA"),
    "Hugging Face v4": ({"rwkv.blocks.0.attention.key.weight": (C, C)}, "Hugging Face"),
    "Hugging Face": ({"model.embeddings.weight": (V, C)}, "Hugging Face"),
    "a GPT": ({"wte.weight": (V, C)}, "1 tensors"),
    "no head": ({n: s for n, s in shapes(VECTOR).items() if n != "head.weight"}, "RWKV"),
}


@pytest.mark.parametrize("name", FOREIGN)
def test_what_cannot_run_is_refused_by_name(name):
    """Falling through to v2 would load noise."""
    table, word = FOREIGN[name]
    with pytest.raises(ModelUnsupported, match=word) as caught:
        detect(table)
    assert caught.value.hint


@pytest.mark.parametrize(
    ("name", "shape"),
    [
        ("emb.weight", None),
        ("blocks.0.ffn.key.weight", (F,)),
        ("emb.weight", (0, C)),
        ("blocks.0.att.r_k", (C,)),
    ],
)
def test_a_wrong_or_missing_tensor_is_named(name, shape):
    """The user must learn which part of the file is broken."""
    table = dict(KNOWN[Generation.V7])
    if shape is None:
        del table[name]
    else:
        table[name] = shape
    with pytest.raises(ModelFormatError, match=name):
        detect(table)


def test_a_missing_block_is_named():
    """A file cut and glued together has a hole in its block numbers."""
    table = shapes(V7, ("key", "value"), n_layer=3)
    table = {name: shape for name, shape in table.items() if not name.startswith("blocks.1.")}
    with pytest.raises(ModelFormatError, match="block 1"):
        detect(table)
