"""The prompts as World token ids: what a model is really fed, against vectors of the fact sheet."""

from __future__ import annotations

import pytest

from chatrwkv.chat.template import load_templates
from chatrwkv.engine import WorldTokenizer
from chatrwkv.paths import bundled_prompts

TEMPLATES = load_templates([bundled_prompts()]).ok
BREAK = 261  # "\n\n"
USER = [24281, 59]
ASSISTANT = [5585, 41693, 59]


@pytest.fixture(scope="module")
def world():
    return WorldTokenizer.bundled()


def ids(world, name, text, mode="", *, first=True):
    template = TEMPLATES[name]
    parts = [template.user_segment(text, first=first, mode=mode), template.reply_prefix(mode)]
    return [token_id for part in parts for token_id in world.encode(part)]


@pytest.mark.parametrize("name", ["g1-chat", "world-plain"])
def test_first_turn_has_the_ids_of_the_fact_sheet(world, name):
    assert ids(world, name, "hi") == [*USER, 4571, BREAK, *ASSISTANT]


def test_text_of_the_user_has_the_ids_of_the_fact_sheet(world):
    """The closing full stop is left out: with the break after it, other entries match."""
    found = ids(world, "g1-chat", "你好，世界")
    assert found == [*USER, 33, 10464, 11685, 19137, 10267, 14610, BREAK, *ASSISTANT]
    assert world.encode("Hello, world!") == [33155, 45, 40213, 34]


def test_later_turn_opens_with_one_break(world):
    assert ids(world, "g1-chat", "hi", first=False)[:4] == [BREAK, *USER, 4571]


@pytest.mark.parametrize(
    ("mode", "tail"),
    [("think", " <think"), ("fast", " <think>\n</think"), ("fast-inline", " <think></think"), ("think-zh", " <think>好的")],
)  # fmt: skip
def test_thinking_start_is_cut_off_before_the_bracket_the_model_writes(world, mode, tail):
    """With `>` fed, the model would see the tag as other ids than in training."""
    found = ids(world, "g1-chat", "hi", mode)
    assert found == [*USER, 4571, BREAK, *world.encode("Assistant:" + tail)]
    assert world.decode(found[4:]) == "Assistant:" + tail
    assert 35762 in found  # "think"


def test_community_format_is_made_of_its_flower(world):
    assert ids(world, "g1-flower", "hi", "think").count(10060) == 3
    assert world.encode(TEMPLATES["g1-flower"].stops[0]) == [10060]


@pytest.mark.parametrize("name", sorted(TEMPLATES))
def test_ids_decode_to_the_prompt(world, name):
    template = TEMPLATES[name]
    for mode in template.thinking:
        prompt = template.user_segment("你好 a\nb", mode=mode) + template.reply_prefix(mode)
        assert world.decode(ids(world, name, "你好 a\nb", mode)) == prompt
