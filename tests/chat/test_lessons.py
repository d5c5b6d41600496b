"""Examples for state tuning: lines of a file in the app's own template, and replies kept in a chat."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from chatrwkv.chat.lessons import lessons_of, read_lessons
from chatrwkv.chat.template import load_template
from chatrwkv.chat.tree import Conversation, NodeStatus, Role, new_node
from chatrwkv.errors import BadValue

PROMPTS = Path(__file__).resolve().parents[2] / "prompts"
BUILTIN = load_template(PROMPTS / "builtin-chat.toml")
G1 = load_template(PROMPTS / "g1-chat.toml")
SINGLE = load_template(PROMPTS / "world-qa.toml")


def read(tmp_path, *rows, template=BUILTIN):
    path = tmp_path / "data.jsonl"
    path.write_text("\n".join(row if isinstance(row, str) else json.dumps(row) for row in rows))
    return read_lessons(path, template)


def text(lesson):
    return "".join(piece for piece, _ in lesson.pieces)


def learnt(lesson):
    return [piece for piece, counts in lesson.pieces if counts]


def below(chat, parent, role, words, **more):
    node = new_node(parent, role, words, **more)
    return chat.with_node(node), node.id


def test_turns_are_written_in_the_template_and_replies_with_their_end_are_learnt(tmp_path):
    (lesson,) = read(
        tmp_path,
        {"turns": [["user", "Hi"], ["assistant", "Ahoy."], ["user", "And?"], ["assistant", " Arr. "]]},
    )
    assert text(lesson) == "User: Hi\n\nAssistant: Ahoy.\n\nUser: And?\n\nAssistant: Arr.\n\n"
    assert learnt(lesson) == [" Ahoy.", "\n\n", " Arr.", "\n\n"]


def test_messages_of_other_programs_are_read_too(tmp_path):
    rows = {"messages": [{"role": "system", "content": "Be a pirate."}, {"role": "user", "content": "Hi"}]}
    rows["messages"].append({"role": "assistant", "content": "Ahoy."})
    (lesson,) = read(tmp_path, rows, template=G1)
    assert text(lesson).startswith("System: Be a pirate.\n\nUser: Hi\n\nAssistant: Ahoy.")
    assert learnt(lesson) == [" Ahoy.", "\n\nUser:"]  # its stop string: "\n\n" alone ends nothing there


def test_plain_text_is_learnt_as_it_stands(tmp_path):
    (lesson,) = read(tmp_path, {"text": "User: Hi\n\nAssistant: Ahoy.\n\n"}, "")
    assert learnt(lesson) == ["User: Hi\n\nAssistant: Ahoy.\n\n"]


@pytest.mark.parametrize(
    ("line", "why"),
    [
        ("{", "Line 1 of data.jsonl"),
        ("[]", "no JSON object"),
        ('{"a": 1}', "neither"),
        ('{"turns": [["user"]]}', "a turn is"),
        ('{"turns": [["robot", "x"]]}', "a role is 'robot'"),
        ('{"turns": [["user", "x"]]}', "no turn is the assistant's"),
    ],
)
def test_a_line_that_cannot_be_used_is_named(tmp_path, line, why):
    with pytest.raises(BadValue, match=why):
        read(tmp_path, line)


def test_a_file_that_cannot_be_read_is_told(tmp_path):
    with pytest.raises(BadValue, match="cannot be read"):
        read_lessons(tmp_path / "none.jsonl", BUILTIN)
    (tmp_path / "latin.jsonl").write_bytes(b"\xff\xfe")
    with pytest.raises(BadValue, match="not UTF-8"):
        read_lessons(tmp_path / "latin.jsonl", BUILTIN)


def branching():
    """One question with two replies, the second with a turn below and a reply that was stopped beside it."""
    chat = Conversation.start()
    chat, asked = below(chat, chat.root, Role.USER, "Hi")
    chat, _ = below(chat, asked, Role.ASSISTANT, " First.")
    chat, second = below(chat, asked, Role.ASSISTANT, " Second.")
    chat, again = below(chat, second, Role.USER, "And?")
    chat, last = below(chat, again, Role.ASSISTANT, " Third.")
    chat, _ = below(chat, again, Role.ASSISTANT, " Hal", status=NodeStatus.STOPPED)
    return chat.with_head(last)


def test_every_kept_reply_of_a_chat_is_learnt_once():
    lessons = lessons_of(branching(), BUILTIN)
    assert [learnt(lesson) for lesson in lessons] == [
        [" First.", "\n\n"],
        [" Second.", "\n\n", " Third.", "\n\n"],
    ]
    assert text(lessons[1]) == "User: Hi\n\nAssistant: Second.\n\nUser: And?\n\nAssistant: Third.\n\n"


def test_a_template_of_single_questions_gives_a_lesson_for_each_reply():
    lessons = lessons_of(branching(), SINGLE)
    assert [learnt(lesson)[0] for lesson in lessons] == [" First.", " Second.", " Third."]
    assert text(lessons[2]).startswith("Question: And?")


def test_a_removed_branch_is_not_learnt():
    chat = branching()
    first = next(n.id for n in chat.nodes.values() if n.text == " First.")
    assert len(lessons_of(chat.without(first), BUILTIN)) == 1


def test_a_chat_without_a_reply_is_refused():
    with pytest.raises(BadValue, match="no whole reply"):
        lessons_of(Conversation.start(), BUILTIN)
