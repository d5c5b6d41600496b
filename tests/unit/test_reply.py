"""Thoughts and answers apart, however the text is cut."""

from __future__ import annotations

import pytest

from chatrwkv.chat.reply import ReplySplitter, split_reply

CASES = {
    "plain answer": ("", " Hello", [("answer", "Hello")]),
    "the model's own thought": ("", " <think>\nhm\n</think>\n\nYes", [("think", "hm\n"), ("answer", "Yes")]),
    "the template opened it": (" <think", ">\nhm</think>\nYes", [("think", "hm"), ("answer", "Yes")]),
    "opened, bracket never written": (" <think", " hm</think>Yes", [("think", "hm"), ("answer", "Yes")]),
    "fake thought": (" <think>\n</think", ">\nYes", [("answer", "Yes")]),
    "fake thought on one line": (" <think></think", ">Yes", [("answer", "Yes")]),
    "fake thought, bracket never written": (" <think></think", "Yes", [("answer", "Yes")]),
    "the template began the thought": (" <think>好的", "，想</think>好", [("think", "好的，想"), ("answer", "好")]),
    "community format": ("<think", ">a</think>b", [("think", "a"), ("answer", "b")]),
    "never closed": (" <think", ">\nhm </thin", [("think", "hm </thin")]),
    "a second thought before any answer": (
        " <think></think", ">\n<think>hm</think>Yes", [("think", "hm"), ("answer", "Yes")],
    ),
    "a tag inside the answer is text": ("", " Use <think>x</think>.", [("answer", "Use <think>x</think>.")]),
    "a word that begins like the tag": ("", " <thinker>", [("answer", "<thinker>")]),
    "a closing word that begins like the tag": (
        "", "<think>a</thinking>b</think>c", [("think", "a</thinking>b"), ("answer", "c")],
    ),
    "code fence from the template": (" ```json", "\n{}\n```", [("answer", "```json\n{}\n```")]),
    "an indent is kept": ("", "\n    x = 1\n", [("answer", "    x = 1\n")]),
    "only the role's own space goes": ("", "  - item", [("answer", " - item")]),
    "nothing": ("", "", []),
    "only blanks": ("", " \n", []),
    "an unfinished tag is text": ("", " <thi", [("answer", "<thi")]),
}  # fmt: skip


@pytest.mark.parametrize(("start", "text", "parts"), CASES.values(), ids=CASES)
def test_reply_is_split_whole_and_character_by_character(start, text, parts):
    assert split_reply(text, start) == parts
    splitter = ReplySplitter(start)
    pieces = [part for char in text for part in splitter.feed(char)] + splitter.finish()
    for kind in ("think", "answer"):
        assert "".join(p.text for p in pieces if p.kind == kind) == "".join(t for k, t in parts if k == kind)


def test_continuation_keeps_every_character():
    """Without roles the leading space joins two words."""
    assert split_reply(" <think>a</think> ", verbatim=True) == [("answer", " <think>a</think> ")]


def test_answer_is_shown_as_it_comes():
    """Holding more than a possible tag would make streaming jerk."""
    splitter = ReplySplitter()
    assert splitter.feed(" He") == [("answer", "He")]
    assert splitter.feed("llo <") == [("answer", "llo <")]


def test_thought_holds_back_no_more_than_a_possible_tag():
    splitter = ReplySplitter(" <think")
    assert splitter.feed(">ab</") == [("think", "ab")]
    assert splitter.feed("b") == [("think", "</b")]
