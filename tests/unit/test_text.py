"""The sanitiser lets no escape byte through, however it is cut."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chatrwkv.text import (
    Sanitiser,
    cell_width,
    cut,
    format_bytes,
    safe_file_name,
    sanitise,
    sanitise_name,
)

PAYLOADS = [
    "\x1b]52;c;SGVsbG8=\x07",
    "\x1b]52;c;SGVsbG8=\x1b\\",
    "\x1b]0;title\x07",
    "\x1b]2;title\x1b\\",
    "\x1b]8;;http://a.b\x1b\\",
    "\x1b[2J",
    "\x1b[?1049l",
    "\x1b[31;1m",
    "\x1bP1$r0m\x1b\\",
    "\x1b_Gi=1;AAAA\x1b\\",
    "\x1b^private\x1b\\",
    "\x1bXsos\x1b\\",
    "\x9b2J",
    "\x9d0;title\x9c",
    "\x90q\x9c",
    "\x1bc",
    "\x1b(0",
    "\x1b#8",
]
FORBIDDEN = {chr(c) for c in [*range(0x20), 0x7F, *range(0x80, 0xA0)]} - {"\n", "\t"}


@pytest.mark.parametrize("payload", PAYLOADS, ids=repr)
def test_a_whole_sequence_disappears_and_the_text_around_it_stays(payload):
    assert sanitise(f"before {payload}after") == "before after"


@pytest.mark.parametrize("payload", PAYLOADS, ids=repr)
def test_a_sequence_cut_anywhere_disappears_as_well(payload):
    """Tokens end in the middle of sequences; the terminal joins them again."""
    for at in range(len(payload) + 1):
        stream = Sanitiser()
        assert stream.feed(f"a{payload[:at]}") + stream.feed(f"{payload[at:]}b") == "ab"


@given(st.text(), st.lists(st.integers(0, 40)))
def test_any_chunking_gives_what_the_whole_gives(text, cuts):
    stream, pieces, rest = Sanitiser(), [], text
    for n in cuts:
        pieces.append(stream.feed(rest[:n]))
        rest = rest[n:]
    pieces.append(stream.feed(rest))
    assert "".join(pieces) == sanitise(text)
    assert not FORBIDDEN & set(sanitise(text))


@given(st.text(alphabet=st.characters(exclude_categories=["Cc"])))
def test_clean_text_passes_untouched(text):
    assert sanitise(text) == text


def test_line_ends_become_newlines():
    assert sanitise("a\r\nb\rc\nd") == "a\nb\nc\nd"
    stream = Sanitiser()
    assert stream.feed("a\r") + stream.feed("\nb") == "a\nb"


def test_an_unfinished_string_does_not_swallow_the_reply():
    assert sanitise("\x1b]0;never ended\nnext line") == "\nnext line"


def test_names_show_tricks_of_direction_and_width():
    """`exe.txt` reversed by U+202E must not look like a text file."""
    assert sanitise_name("a\u202eb\u200bc\nd") == "a⦃U+202E⦄b⦃U+200B⦄c d"


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("三体问答", "三体问答"),
        ("../../x", "x"),
        ("/etc/x", "etc x"),
        ("CON", "_CON"),
        ("con.txt", "_con.txt"),
        (".", "untitled"),
        ("", "untitled"),
        ("a/b", "a b"),
        ("trailing. ", "trailing"),
        ("a\0b\nc", "ab c"),
        ("naïve 🦜", "naïve 🦜"),
    ],
)
def test_file_names_stay_inside_their_folder_and_readable(name, expected):
    assert safe_file_name(name) == expected


@given(st.text())
def test_every_file_name_is_one_safe_component(name):
    safe = safe_file_name(name)
    assert safe
    assert safe not in (".", "..")
    assert not set(safe) & (FORBIDDEN | set("/\\\n\t"))
    assert len(safe.encode()) <= 210


def test_long_names_fit_the_file_system():
    assert len(safe_file_name("界" * 300).encode()) <= 200


def test_cells_count_wide_and_combining_characters():
    assert cell_width("三体ab") == 6
    assert cell_width("e\u0301") == 1


@given(st.text(alphabet="ab界 é", max_size=30), st.integers(0, 20))
def test_cut_text_never_exceeds_its_cells(text, cells):
    assert cell_width(cut(text, cells)) <= max(cells, 0)


def test_bytes_are_shown_in_three_figures():
    assert [format_bytes(n) for n in (0, 999, 6_488_064, 123_456_789, 2_500_000_000)] == [
        "0 B", "999 B", "6.5 MB", "123 MB", "2.5 GB",
    ]  # fmt: skip
