"""Whatever a model says, however it is cut: text, ids and state of a reply are one and the same thing."""

from __future__ import annotations

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from chatrwkv.engine.events import FinishReason
from tests.engine.replying import HELLO, Outlet, alone, ask, mind, read_slowly, together
from tests.fakes import FakeModel, PieceTokenizer, loaded

# Halves of characters, newlines, beginnings of stop strings, and bytes that are no text.
BITS = ["a", "b", "\n", "\n\n", "U", "Us", "\n\nUs", "ser", "a\n", " ", "é", "🦜", "b\n\nUser a"]
RAW = [bit.encode() for bit in BITS] + [
    "🦜".encode()[:2],
    "🦜".encode()[2:],
    "é".encode()[1:],
    b"\xff",
    b"a\xc3",
]
TOKENIZER = PieceTokenizer(*RAW)
STOPS = ["\n\nUser", "\n\n", "User", "\n", "b", "aU", "é", "🦜"]

spoken = st.lists(st.sampled_from(range(257, 257 + len(RAW))), min_size=1, max_size=8, unique=True)
some_stops = st.lists(st.sampled_from(STOPS), max_size=3, unique=True)


@st.composite
def some_settings(draw: st.DrawFn) -> dict[str, Any]:
    return {
        "seed": draw(st.integers(0, 1000)),
        "max_tokens": draw(st.integers(1, 25)),
        "stops": draw(some_stops),
        "presence": draw(st.sampled_from([0.0, 1.0])),
    }


def model(salt: int, speaks: list[int]) -> Any:
    fake = FakeModel(str(salt), n_vocab=TOKENIZER.n_vocab, speaks=speaks, end_rate=6)
    return loaded(fake, tokenizer=TOKENIZER)


def assert_is_one_thing(made: Any, outlet: Outlet, stops: list[str]) -> None:
    finished = outlet.finished
    assert TOKENIZER.decode(finished.token_ids) == finished.text
    read = read_slowly(made, [*TOKENIZER.encode(HELLO), *finished.token_ids])
    assert mind(finished.snapshot) == mind(read)
    assert not [stop for stop in stops if stop in finished.text]
    assert finished.text.startswith(outlet.streamed)
    if finished.reason in (FinishReason.CANCELLED, FinishReason.STOP_STRING):
        assert finished.text == outlet.streamed


@given(st.integers(0, 50), spoken, some_settings(), st.none() | st.integers(0, 20))
def test_text_ids_and_state_of_a_reply_are_one(
    salt: int, speaks: list[int], settings: dict[str, Any], cancel_at: int | None
):
    made = model(salt, speaks)
    outlet = alone(made, ask(**settings), cancel_at)
    assert_is_one_thing(made, outlet, settings["stops"])


@given(st.integers(0, 50), spoken, some_settings(), st.integers(0, 20))
def test_cancelled_reply_goes_on_as_if_it_had_not_been(
    salt: int, speaks: list[int], settings: dict[str, Any], cancel_at: int
):
    """Unless its last token had to be encoded anew, which makes another history of the same text."""
    made = model(salt, speaks)
    whole = alone(made, ask(**settings)).finished
    first = alone(made, ask(**settings), cancel_at).finished
    is_prefix = first.token_ids == whole.token_ids[: len(first.token_ids)]
    if first.reason is not FinishReason.CANCELLED or not is_prefix:
        return
    left = settings["max_tokens"] - len(first.token_ids)
    request = ask(
        "",
        on=first.snapshot,
        start_position=len(first.token_ids),
        penalise=first.token_ids,
        **(settings | {"max_tokens": left}),
    )
    second = alone(made, request).finished
    assert first.text + second.text == whole.text
    assert first.token_ids + second.token_ids == whole.token_ids
    assert mind(second.snapshot) == mind(whole.snapshot)


@given(st.integers(0, 50), spoken, st.lists(some_settings(), min_size=2, max_size=5))
def test_replies_in_one_batch_equal_themselves_alone(
    salt: int, speaks: list[int], many: list[dict[str, Any]]
):
    made = model(salt, speaks)
    requests = [ask(HELLO[: 5 + 3 * i], **settings) for i, settings in enumerate(many)]
    batch = together(made, requests)
    for outlet, request in zip(batch, requests, strict=True):
        other = alone(made, request).finished
        assert (outlet.finished.text, outlet.finished.token_ids) == (other.text, other.token_ids)
        assert mind(outlet.finished.snapshot) == mind(other.snapshot)
