"""Where a reply's state ends: after its last kept byte, for every way a reply can end."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from chatrwkv.engine.events import FinishReason
from chatrwkv.engine.reply_text import cut
from tests.engine.replying import HELLO, Outlet, alone, ask, mind, read_slowly
from tests.fakes import ByteTokenizer, FakeModel, PieceTokenizer, ScriptedModel, loaded

if TYPE_CHECKING:
    from chatrwkv.engine.model import LoadedModel

PIECES = PieceTokenizer("ok.\n\nUs", "\n\n", "\n\nUser", " more", "\x9c\n\n")


def script(text: str, tokenizer: ByteTokenizer = PIECES) -> LoadedModel:
    return loaded(ScriptedModel(text, tokenizer=tokenizer), tokenizer=tokenizer)


def assert_state_is_what_was_kept(made: LoadedModel, outlet: Outlet) -> None:
    """The state has read the prompt and `token_ids`, nothing else, and these are the text."""
    finished, tokenizer = outlet.finished, made.tokenizer
    assert tokenizer.decode(finished.token_ids) == finished.text
    prompt = tokenizer.encode(HELLO)
    assert mind(finished.snapshot) == mind(read_slowly(made, [*prompt, *finished.token_ids]))


def test_end_of_text_is_not_read():
    made = script("well")
    outlet = alone(made, ask(max_tokens=99))
    assert outlet.finished.reason is FinishReason.END
    assert outlet.finished.text == "well"
    assert_state_is_what_was_kept(made, outlet)


def test_reply_may_be_empty():
    made = script("")
    outlet = alone(made, ask())
    assert (outlet.finished.text, outlet.finished.token_ids) == ("", ())
    assert_state_is_what_was_kept(made, outlet)


def test_stop_string_split_over_tokens_is_not_in_the_state():
    """R28: the state had read `\\n\\n` and more when the match became certain; it must be the one before."""
    made = script("sure.\n\nUs" + "er: and", ByteTokenizer())
    outlet = alone(made, ask(stops=("\n\nUser",), max_tokens=99))
    assert outlet.finished.reason is FinishReason.STOP_STRING
    assert outlet.finished.text == outlet.streamed == "sure."
    assert_state_is_what_was_kept(made, outlet)


def test_stop_that_begins_inside_a_token_leaves_the_rest_of_it():
    """`ok.\\n\\nUs` is one token: its first three bytes are kept and read as tokens of their own."""
    made = script("it is ok.\n\nUser: and")
    outlet = alone(made, ask(stops=("\n\nUser",), max_tokens=99))
    assert outlet.finished.text == outlet.streamed == "it is ok."
    assert outlet.finished.token_ids == tuple(PIECES.encode("it is ") + [byte + 1 for byte in b"ok."])
    assert_state_is_what_was_kept(made, outlet)


def test_stop_that_is_one_token_is_not_in_the_state():
    made = script("yes\n\nUser")
    outlet = alone(made, ask(stops=("\n\nUser",), max_tokens=99))
    assert outlet.finished.text == "yes"
    assert_state_is_what_was_kept(made, outlet)


def test_stop_inside_a_code_block_and_text_after_it():
    made = script("```\nx\n\ny\n``` more")
    outlet = alone(made, ask(stops=("\n\n",), max_tokens=99))
    assert outlet.finished.text == "```\nx"
    assert_state_is_what_was_kept(made, outlet)


def test_held_newlines_before_the_stop_are_kept():
    """Three newlines: the first belongs to the text, and its token is read again from the hold."""
    made = script("a\n\n\nUser", ByteTokenizer())
    outlet = alone(made, ask(stops=("\n\nUser",), max_tokens=99))
    assert outlet.finished.text == "a\n"
    assert_state_is_what_was_kept(made, outlet)


def test_stop_after_a_token_that_completes_a_character():
    """The kept part of the last token begins inside a character: the token before it is encoded anew, too."""
    parrot = "🦜"
    made = script(parrot + "\n\nUser", PIECES)
    assert parrot.encode()[-1:] == b"\x9c"
    outlet = alone(made, ask(stops=("\n\nUser",), max_tokens=99))
    assert outlet.finished.text == parrot
    assert_state_is_what_was_kept(made, outlet)


@pytest.mark.parametrize("max_tokens", [1, 2, 7])
def test_last_token_at_the_limit_is_read(max_tokens: int):
    """Off by one here, and the next turn is answered by a mind that missed a word."""
    made = loaded(FakeModel())
    outlet = alone(made, ask(max_tokens=max_tokens))
    assert outlet.finished.reason is FinishReason.LENGTH
    assert len(outlet.finished.token_ids) == max_tokens
    assert_state_is_what_was_kept(made, outlet)


def test_text_held_at_the_limit_is_kept():
    made = script("a\n\nb", ByteTokenizer())
    outlet = alone(made, ask(stops=("\n\nUser",), max_tokens=3))
    assert outlet.streamed == "a"
    assert outlet.finished.text == "a\n\n"
    assert_state_is_what_was_kept(made, outlet)


def test_half_a_character_at_the_limit_is_dropped_from_text_and_state():
    """R27: otherwise the text ends with U+FFFD, or the state with bytes that nobody can see."""
    made = script("a🦜", ByteTokenizer())
    outlet = alone(made, ask(max_tokens=3))
    assert outlet.finished.text == "a"
    assert_state_is_what_was_kept(made, outlet)


@pytest.mark.parametrize("n_tokens", [0, 1, 5])
def test_cancelled_reply_ends_with_what_was_shown(n_tokens: int):
    made = loaded(FakeModel())
    outlet = alone(made, ask(), cancel_at=n_tokens)
    assert outlet.finished.reason is FinishReason.CANCELLED
    assert len(outlet.finished.token_ids) == n_tokens
    assert outlet.finished.text == outlet.streamed
    assert_state_is_what_was_kept(made, outlet)


def test_cancelled_reply_drops_what_was_held():
    """Nobody has seen the newlines; going on draws them again and may still find the stop string."""
    made = script("a\n\nUser", ByteTokenizer())
    outlet = alone(made, ask(stops=("\n\nUser",)), cancel_at=4)
    assert outlet.finished.text == outlet.streamed == "a"
    assert_state_is_what_was_kept(made, outlet)


def test_bytes_that_are_no_text_are_kept_as_replacements():
    """A model may say them; text and ids must still agree."""
    tokenizer = PieceTokenizer(b"\xe4a", b"\xff", b"\xe4\n\nUser")
    for pieces in ([257, 98], [258, 258, 98], [98, 259]):
        made = loaded(ScriptedModel("x", tokenizer=tokenizer), tokenizer=tokenizer)
        made.model.scripts = [pieces]  # type: ignore[attr-defined]  # a ScriptedModel
        outlet = alone(made, ask(stops=("\n\nUser",), max_tokens=9))
        assert "\ufffd" in outlet.finished.text
        assert_state_is_what_was_kept(made, outlet)


def test_token_zero_can_be_banned_instead_of_ending():
    """chat.py's way: end at a blank line only."""
    made = loaded(FakeModel(end_rate=256))
    assert alone(made, ask()).finished.reason is FinishReason.END
    outlet = alone(made, ask(stop_on_end=False))
    assert outlet.finished.reason is FinishReason.LENGTH
    assert_state_is_what_was_kept(made, outlet)


def test_end_of_text_is_banned_before_min_tokens():
    made = loaded(FakeModel(end_rate=256))
    outlet = alone(made, ask(min_tokens=4))
    assert outlet.finished.reason is FinishReason.END
    assert len(outlet.finished.token_ids) == 4


def test_stop_strings_of_the_settings_count_too():
    made = script("one two three", ByteTokenizer())
    outlet = alone(made, ask(stops=("three",), stop=("two",), max_tokens=99))
    assert outlet.finished.text == "one "


@pytest.mark.parametrize(
    ("pieces", "n_chars", "expected"),
    [
        ([b"ab", b"cd"], 0, (0, b"")),
        ([b"ab", b"cd"], 2, (1, b"")),
        ([b"ab", b"cd"], 3, (1, b"c")),
        ([b"ab", b"cd"], 4, (2, b"")),
        (["é".encode()[:1], "é".encode()[1:] + b"x"], 1, (1, b"\xa9")),
        ([b"\xe4", b"\n"], 1, (1, b"")),
        ([b"\xe4\n"], 1, (0, b"\xe4")),
        ([b"\xe4", b"\xe4"], 1, (1, b"")),
        ([b"a\xe4\xe4"], 2, (0, b"a\xe4")),
    ],
)
def test_cut_finds_the_byte_after_so_many_characters(pieces: list[bytes], n_chars: int, expected: object):
    assert cut(pieces, n_chars) == expected
