"""Segments of a conversation join to its prompt, for every template, text and thinking mode."""

from __future__ import annotations

import re

from hypothesis import given
from hypothesis import strategies as st

from chatrwkv.chat.template import load_templates
from chatrwkv.chat.template_file import Pattern
from chatrwkv.engine import WorldTokenizer
from chatrwkv.paths import bundled_prompts

TEMPLATES = load_templates([bundled_prompts()]).ok
TEXTS = st.text(alphabet="ab {}:\n\r-好", max_size=20)
WORDS = st.text(alphabet="ab {}:好", min_size=1, max_size=20).filter(lambda s: s.strip())
_tokenizers: list[WorldTokenizer] = []


def world():
    if not _tokenizers:
        _tokenizers.append(WorldTokenizer.bundled())
    return _tokenizers[0]


@st.composite
def conversations(draw):
    template = TEMPLATES[draw(st.sampled_from(sorted(TEMPLATES)))]
    mode = draw(st.sampled_from(list(template.thinking)))
    turns = draw(st.lists(st.tuples(WORDS, WORDS), min_size=1, max_size=4))
    return template, mode, draw(TEXTS), turns


def segments(template, mode, system, turns):
    parts = [template.opening(), template.system_segment(system)]
    for i, (text, reply) in enumerate(turns):
        parts += [template.user_segment(text, first=i == 0, mode=mode), template.reply_prefix(mode), reply]
    return parts


@given(conversations())
def test_segments_of_a_prefix_are_a_prefix_of_the_segments(conversation):
    """What a state has read never changes when the conversation grows."""
    template, mode, system, turns = conversation
    whole = segments(template, mode, system, turns)
    shorter = segments(template, mode, system, turns[:-1])
    assert whole[: len(shorter)] == shorter


@given(conversations())
def test_joined_segments_are_the_format_with_its_separators(conversation):
    template, mode, system, turns = conversation
    rendered = "".join(segments(template, mode, system, turns))
    if template.name == "g1-chat":
        cleaned = re.sub(r"\n{2,}", "\n", system.replace("\r\n", "\n").replace("\r", "\n")).strip()
        expected = f"System: {cleaned}\n\n" if cleaned else ""
        start, suffix = template.thinking[mode].start, template.thinking[mode].suffix
        expected += "\n\n".join(
            f"User: {text.strip()}{suffix}\n\nAssistant:{start}{reply}" for text, reply in turns
        )
        assert rendered == expected
    if not template.is_raw:
        assert all(text.strip() in rendered for text, _ in turns)


@given(conversations())
def test_text_cut_at_turn_borders_gives_the_ids_of_the_whole(conversation):
    """A vocabulary entry across a border would feed a model what it never saw in training.

    Replies are left out: they are kept as the ids that were drawn.
    """
    template, mode, system, turns = conversation
    if template.is_raw:
        return
    head = segments(template, mode, system, turns)[:4]
    by_part = [token_id for part in head for token_id in world().encode(part)]
    assert by_part == world().encode("".join(head))


@given(st.text(alphabet="{}ab", max_size=30))
def test_escaped_text_is_a_pattern_of_itself(text):
    pattern = Pattern.parse(text.replace("{", "{{").replace("}", "}}"), (), "here")
    assert pattern.fill() == text


@given(TEXTS, TEXTS)
def test_filling_is_one_pass(first, second):
    pattern = Pattern.parse("<{text}|{input}>", ("text", "input"), "here")
    assert pattern.fill(text=first, input=second) == f"<{first}|{second}>"
