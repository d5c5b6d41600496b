"""Stop strings: what is let through, held back and cut."""

from __future__ import annotations

from chatrwkv.engine.tokens.stops import StopMatcher

ROLES = ("\n\nUser", "\n\nQuestion", "\n\nAssistant")


def run(stops: tuple[str, ...], *pieces: str) -> tuple[str, str | None, StopMatcher]:
    matcher = StopMatcher(stops)
    text = "".join(matcher.feed(piece)[0] for piece in pieces)
    return text, matcher.matched, matcher


def test_stop_string_split_over_pieces_is_found():
    """R28: `\\n\\nUser` arrives as several tokens; none of them contains it."""
    assert run(ROLES, "ok.", "\n", "\nUs", "er:", " more")[:2] == ("ok.", "\n\nUser")


def test_stop_string_inside_one_piece_cuts_there():
    assert run(ROLES, "ok.\n\nUser: hi")[:2] == ("ok.", "\n\nUser")


def test_stop_string_inside_a_code_block_stops_too():
    """A matcher that understood fences would run past the turn of a model that forgot to close one."""
    assert run(("\n\n",), "```\nx = 1\n\ny = 2\n```")[:2] == ("```\nx = 1", "\n\n")


def test_possible_beginning_is_held_and_released_when_it_is_none():
    matcher = StopMatcher(ROLES)
    assert matcher.feed("one\n\nU") == ("one", None)
    assert matcher.holding
    assert matcher.held == "\n\nU"
    assert matcher.feed("p") == ("\n\nUp", None)
    assert not matcher.holding


def test_held_beginning_moves_when_a_later_one_takes_over():
    """Three newlines: the first is free as soon as the stop can only begin at the second."""
    matcher = StopMatcher(ROLES)
    assert matcher.feed("\n\n") == ("", None)
    assert matcher.feed("\n") == ("\n", None)
    assert matcher.held == "\n\n"
    assert matcher.feed("User") == ("", "\n\nUser")


def test_first_complete_stop_wins_whatever_the_pieces():
    """`abcd` begins earlier, but `bc` is complete first; a chunked stream could not know of the d."""
    assert run(("abcd", "bc"), "abcd")[:2] == ("a", "bc")
    assert run(("abcd", "bc"), *"abcd")[:2] == ("a", "bc")


def test_longer_of_two_stops_that_end_together_wins():
    assert run(("\n", "\n\n"), "a\n")[:2] == ("a", "\n")
    assert run(("bc", "abc"), "xabc")[:2] == ("x", "abc")


def test_nothing_is_let_through_after_the_stop():
    matcher = StopMatcher(("END",))
    matcher.feed("a END b")
    assert matcher.feed("c") == ("", "END")


def test_flush_releases_what_was_held():
    _, _, matcher = run(ROLES, "bye\n\n")
    assert matcher.flush() == "\n\n"
    assert not matcher.holding
    assert matcher.feed("User") == ("User", None)


def test_no_and_empty_stop_strings_hold_nothing():
    assert run((), "a\n\nb")[:2] == ("a\n\nb", None)
    assert run(("",), "a")[:2] == ("a", None)
