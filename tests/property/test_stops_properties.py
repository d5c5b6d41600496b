"""Any chunking of a text gives the same cut, and nothing that may begin a stop string is let through."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from chatrwkv.engine.tokens.stops import StopMatcher

words = st.text(alphabet="ab\nU", min_size=1, max_size=5)
stop_lists = st.lists(words, min_size=1, max_size=4)


@st.composite
def cut(draw: st.DrawFn) -> tuple[list[str], list[str]]:
    """Stop strings and the pieces of a text that often holds one."""
    stops = draw(stop_lists)
    text = "".join(draw(st.lists(words | st.sampled_from(stops), max_size=6)))
    places = sorted(draw(st.lists(st.integers(0, len(text)), max_size=len(text))))
    return stops, [text[a:b] for a, b in zip([0, *places], [*places, len(text)], strict=True)]


def expected(stops: list[str], text: str) -> tuple[str, str | None]:
    """The rule, slowly: the first character that completes a stop string, and the longest it completes."""
    for end in range(1, len(text) + 1):
        complete = [stop for stop in stops if text[:end].endswith(stop)]
        if complete:
            longest = max(complete, key=len)
            return text[: end - len(longest)], longest
    return text, None


def run(stops: list[str], pieces: list[str]) -> tuple[str, str | None]:
    matcher = StopMatcher(stops)
    text = "".join(matcher.feed(piece)[0] for piece in pieces)
    return text + matcher.flush(), matcher.matched


@given(cut())
def test_cut_is_the_same_for_any_chunking(case: tuple[list[str], list[str]]):
    stops, pieces = case
    assert run(stops, pieces) == expected(stops, "".join(pieces))


@given(cut())
def test_let_through_text_never_ends_with_the_beginning_of_a_stop(case: tuple[list[str], list[str]]):
    """Otherwise the user sees `\\n\\nUs` and then it is taken back."""
    stops, pieces = case
    matcher, shown = StopMatcher(stops), ""
    for piece in pieces:
        shown += matcher.feed(piece)[0]
        beginnings = [stop[:n] for stop in stops for n in range(1, len(stop))]
        if matcher.matched is None and not matcher.holding:
            assert not any(shown.endswith(beginning) for beginning in beginnings)


@given(cut())
def test_held_text_is_never_longer_than_it_must_be(case: tuple[list[str], list[str]]):
    stops, pieces = case
    matcher = StopMatcher(stops)
    for piece in pieces:
        matcher.feed(piece)
        assert not matcher.held or any(stop.startswith(matcher.held) for stop in stops)
