"""Strategy strings: slots counted by hand, and as the `rwkv` package counts them."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import replace

import pytest

from chatrwkv.engine.plan import Slot, parse_strategy, plain_plan, strategy_of, weight_bytes
from chatrwkv.errors import BadValue

# (strategy, L, slots in short: device, f/h/b for the dtype, q int8, s streamed)
BY_HAND = [
    ("cpu fp32", 3, "cpu f,cpu f,cpu f,cpu f"),
    ("cuda fp16i8 *2 -> cpu fp32", 3, "cuda hq,cuda hq,cpu f,cpu f"),
    ("cpu fp32 *2 -> cpu bf16", 3, "cpu f,cpu f,cpu b,cpu b"),
    ("cuda:0 fp16 *1 -> cuda:1 bf16 *1 -> cpu fp32", 3, "cuda:0 h,cuda:1 b,cpu f,cpu f"),
    ("cuda fp16 *2+", 4, "cuda h,cuda h,cuda hs,cuda hs,cuda hs"),
    ("cuda fp16 *0+ -> cpu fp32 *1", 3, "cuda hs,cuda hs,cuda hs,cpu f"),
    ("cpu fp32 *9", 2, "cpu f,cpu f,cpu f"),
    ("cpu fp32 *2 -> cuda fp16 *9 -> cpu bf16 *1", 3, "cpu f,cpu f,cuda h,cuda h"),
    ("cpu fp32 -> cpu bf16", 4, "cpu f,cpu f,cpu b,cpu b,cpu b"),  # 5 // 2, then what is left
    ("cpu fp32 -> cpu bf16 -> cpu fp16", 4, "cpu f,cpu b,cpu b,cpu h,cpu h"),
    ("cpu fp32 -> cpu bf16 *1 -> cpu fp16", 4, "cpu f,cpu f,cpu b,cpu h,cpu h"),
    ("cpu fp32 *1 -> cpu bf16 *1", 4, "cpu f,cpu b,cpu b,cpu b,cpu b"),  # the last part takes what is left
    ("cpu fp32 *1+ -> cpu bf16", 3, "cpu f,cpu fs,cpu fs,cpu fs"),
    ("cpu fp32 *1+ -> cpu bf16 *1+", 3, "cpu f,cpu b,cpu bs,cpu bs"),
    ("cpu fp16i4 *1 -> cpu fp16i3", 1, "cpu h,cpu h"),
    ("cpu fp32 *9+", 2, "cpu f,cpu f,cpu f"),
]  # fmt: skip
LETTER = {"fp32": "f", "fp16": "h", "bf16": "b"}

CHILD = """
import json, os, sys, warnings
warnings.filterwarnings("ignore")
os.environ |= {"RWKV_V7_ON": "0", "RWKV_JIT_ON": "0", "RWKV_CUDA_ON": "0"}
from rwkv.model import RWKV
for path, strategy in json.loads(sys.argv[1]):
    model = RWKV(path, strategy, verbose=False)
    print("@" + json.dumps([[s.device, str(s.atype), str(s.wtype), s.stream] for s in model.strategy]))
"""


def short(slot: Slot) -> str:
    return f"{slot.device} {LETTER[slot.dtype]}{'q' if slot.quant else ''}{'s' if slot.streamed else ''}"


@pytest.mark.parametrize(("strategy", "n_layer", "wanted"), BY_HAND)
def test_slots_are_those_counted_by_hand(strategy, n_layer, wanted):
    assert ",".join(map(short, parse_strategy(strategy, n_layer).slots)) == wanted


def test_slots_are_those_of_the_package(tmp_path):
    """The package runs on CPU devices here, so only strategies of these are asked."""
    import torch

    from tests import checkpoints
    from tests.checkpoints import Size

    asked = [(text, n) for text, n, _ in BY_HAND if "cuda" not in text]
    for n_layer in {n for _, n in asked}:
        torch.save(checkpoints.rwkv4(Size(n_layer, 16, 16, 20)), tmp_path / f"{n_layer}.pth")
    jobs = json.dumps([(str(tmp_path / f"{n}.pth"), text) for text, n in asked])
    done = subprocess.run(
        [sys.executable, "-c", CHILD, jobs], capture_output=True, text=True, timeout=100, check=False,
        cwd=tmp_path, env=os.environ | {"PYTHONWARNINGS": "ignore"},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-2000:]
    told = [json.loads(line[1:]) for line in done.stdout.splitlines() if line.startswith("@")]
    assert len(told) == len(asked)
    names = {"torch.float32": "fp32", "torch.float16": "fp16", "torch.bfloat16": "bf16"}
    for (text, n_layer), slots in zip(asked, told, strict=True):
        theirs = [
            Slot(device, names[dtype], "int8" if stored == "torch.uint8" else "", streamed)
            for device, dtype, stored, streamed in slots
        ]
        assert list(parse_strategy(text, n_layer).slots) == theirs, text


@pytest.mark.parametrize(
    "text", ["", "cpu", "fp32 cpu", "cpu fp64", "tpu fp32", "cpu fp32 *", "cpu fp32 *1 cuda fp16", "cpu fp32 ->",
             "cpu fp32 *-1", "cpu fp32 *1++", "cuda: fp16", "dml fp16", "cpu fp32i2"],
)  # fmt: skip
def test_what_is_no_strategy_is_refused(text):
    with pytest.raises(BadValue):
        parse_strategy(text, 3)


def test_flags_become_the_same_plan():
    assert plain_plan("cpu", "bf16", 3).slots == parse_strategy("cpu bf16", 3).slots
    assert plain_plan("auto", "auto", 3, 2).slots == parse_strategy("cuda fp16 *2 -> cpu fp32", 3).slots
    assert plain_plan("cuda:1", "bf16", 3, 9).slots == parse_strategy("cuda:1 bf16", 3).slots
    assert plain_plan("cuda", "int8", 3, 1).slots == parse_strategy("cuda fp16i8 *1 -> cpu fp32i8", 3).slots
    assert plain_plan("auto", "auto", 3, 0).slots == parse_strategy("cpu fp32", 3).slots
    with pytest.raises(BadValue):
        strategy_of("cpu", "auto", 2)
    with pytest.raises(BadValue):
        strategy_of("cuda", "auto", -1)


SHAPES = {
    "emb.weight": (10, 4),
    "blocks.0.ln0.weight": (4,),
    "blocks.0.att.key.weight": (4, 4),
    "blocks.0.att.time_faaaa": (2, 2),
    "blocks.1.att.key.weight": (4, 8),
    "blocks.1.att.time_maa_w1": (4, 5),
    "ln_out.weight": (4,),
    "head.weight": (10, 4),
}


def test_memory_of_each_device_by_hand():
    plan = parse_strategy("cuda fp16 *1 -> cpu fp32", 2)
    # emb and ln0 are on the CPU, in the precision of the first block
    assert plan.memory(SHAPES) == {"cuda": 16 * 2 + 4 * 4, "cpu": 80 + 16 + 32 * 4 + 20 * 4 + 16 + 160}
    assert parse_strategy("cuda fp16", 2).memory(SHAPES) == {"cuda": 80 + 16 + 32 + 16 + 64 + 40 + 16 + 80}


def test_streamed_layers_count_on_the_cpu_and_two_of_the_largest_on_the_device():
    plan = parse_strategy("cuda bf16 *1+", 2)
    block, head = 64 + 40, 16 + 80
    assert plan.memory(SHAPES) == {"cuda": 32 + 16 + 2 * max(block, head), "cpu": 80 + 16 + block + head}


def test_int8_counts_a_byte_a_weight_and_a_scale_for_64_columns_of_a_row():
    slot = Slot("cpu", "bf16", "int8")
    assert weight_bytes("blocks.0.att.key.weight", (4, 8), slot) == 32 + 2 * 4
    assert weight_bytes("blocks.0.att.key.weight", (4, 65), slot) == 260 + 2 * 8
    assert weight_bytes("blocks.0.att.w1", (4, 8), slot) == 64
    assert weight_bytes("blocks.0.att.w1", (4, 8), replace(slot, dtype="fp32")) == 128
    assert weight_bytes("ln_out.weight", (4,), slot) == 16


def test_plan_says_what_is_where():
    plan = parse_strategy("cuda:0 fp16i8 *2 -> cpu fp32", 3)
    assert plan.lines() == ["blocks 0-1: cuda:0 fp16, weights int8", "block 2 and head: cpu fp32"]
    assert plan.text == "cuda:0 fp16i8 *2 -> cpu fp32"
    assert parse_strategy("cuda fp16 *3+", 3).lines() == [
        "blocks 0-2: cuda fp16",
        "head: cuda fp16, streamed",
    ]
    assert (plan.dtype, plan.with_dtype("fp32").dtype, plan.is_split, plan.is_uniform) == (
        "mixed",
        "fp32",
        True,
        False,
    )
    assert plan.with_dtype("fp32").devices == ("cuda:0", "cpu")
