"""`/retry 8 temp 0.5..1.5`: what is asked for, and what cannot be meant."""

from __future__ import annotations

import pytest

from chatrwkv.engine import SamplingParams
from chatrwkv.errors import ChatRWKVError
from chatrwkv.tui.spread import spread

PLAIN = SamplingParams()


@pytest.mark.parametrize(
    ("argument", "temperatures"),
    [
        ("", [1.0]),
        ("3", [1.0] * 3),
        ("5 temp 0.5..1.5", [0.5, 0.75, 1.0, 1.25, 1.5]),
        ("temp 0.5,1,2", [0.5, 1.0, 2.0]),
        ("2 temperature=0.3", [0.3, 0.3]),
        ("3 temp 1.5..0.5 top_p 0.9", [1.5, 1.0, 0.5]),
    ],
)
def test_each_reply_gets_its_temperature(argument: str, temperatures: list[float]):
    assert [params.temperature for params in spread(argument, PLAIN)] == temperatures


def test_several_settings_go_together():
    made = spread("3 temp 0.5..1.5 top-p 0.2,0.4,0.6 k 10..30", PLAIN)
    assert [(p.temperature, p.top_p, p.top_k) for p in made] == [
        (0.5, 0.2, 10),
        (1.0, 0.4, 20),
        (1.5, 0.6, 30),
    ]


def test_a_fixed_seed_counts_up_unless_it_is_named():
    fixed = SamplingParams(seed=7)
    assert [params.seed for params in spread("3 temp 1", fixed)] == [7, 8, 9]
    assert [params.seed for params in spread("3 seed 5", fixed)] == [5, 5, 5]
    assert [params.seed for params in spread("4 seed 1..4", fixed)] == [1, 2, 3, 4]
    assert [params.seed for params in spread("2", PLAIN)] == [None, None]


@pytest.mark.parametrize(
    "argument",
    ["0", "17", "99999999999", "8 temp", "temp", "8 warmth 1..2", "8 temp a..b", "temp 0.5..1", "3 temp 1,2", "2 temp -1..1", "x y z",
     "2 temp nan..1"],
)  # fmt: skip
def test_what_cannot_be_meant_is_said_in_one_sentence(argument: str):
    with pytest.raises(ChatRWKVError) as caught:
        spread(argument, PLAIN)
    assert caught.value.message.endswith(".")
    assert "\n" not in caught.value.message
