"""The splitter under every cut of every text made of what confuses it."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from chatrwkv.chat.reply import ReplySplitter, split_reply

PIECES = st.sampled_from(
    ["<think", ">", "</think", "<think>", "</think>", "<", "</", "thi", "nk", " ", "\n", "a", "好", "k>"]
)
TEXTS = st.lists(PIECES, max_size=12).map("".join)
STARTS = st.sampled_from(["", " <think", " <think>\n</think", " <think></think", " <think>好的", " ```json"])


def joined(parts, kind):
    return "".join(part.text for part in parts if part.kind == kind)


@given(TEXTS, STARTS, st.booleans(), st.data())
def test_parts_do_not_depend_on_how_the_text_was_cut(text, start, verbatim, data):
    cuts = sorted(data.draw(st.lists(st.integers(0, len(text)), max_size=6)))
    splitter = ReplySplitter(start, verbatim=verbatim)
    parts = []
    for begin, end in zip([0, *cuts], [*cuts, len(text)], strict=True):
        parts += splitter.feed(text[begin:end])
    parts += splitter.finish()
    whole = split_reply(text, start, verbatim=verbatim)
    assert joined(parts, "think") == joined(whole, "think")
    assert joined(parts, "answer") == joined(whole, "answer")
    assert all(part.text for part in parts)


@given(TEXTS)
def test_no_answer_comes_before_the_last_thought(text):
    kinds = [part.kind for part in split_reply(text)]
    assert kinds == sorted(kinds, reverse=True)


@given(st.text(alphabet="ab \n<>/", max_size=40))
def test_answer_without_tags_loses_only_leading_blanks(text):
    parts = split_reply(text)
    assert joined(parts, "think") == ""
    assert text.endswith(joined(parts, "answer"))
    assert joined(parts, "answer").strip() == text.strip()
