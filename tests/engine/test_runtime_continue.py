"""Going on from where a reply ended is the same as never having stopped, with nothing to read again."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from chatrwkv.engine.events import FinishReason
from tests.engine.replying import HELLO, Outlet, alone, ask, fake, mind
from tests.fakes import ByteTokenizer, FakeModel, PieceTokenizer, ScriptedModel, loaded

if TYPE_CHECKING:
    from chatrwkv.engine.model import LoadedModel


def go_on(made: LoadedModel, first: Outlet, cancel_at: int | None = None, **changes: Any) -> Outlet:
    done = first.finished
    ids = done.token_ids
    request = ask(
        "", on=done.snapshot, start_position=len(ids), penalise=ids, **({"seed": done.seed} | changes)
    )
    return alone(made, request, cancel_at)


@pytest.mark.parametrize("n_tokens", [1, 5, 11])
def test_cancelled_and_continued_equals_uninterrupted(n_tokens: int):
    """Same seed, same positions, penalties that go on: the same bytes and the same mind."""
    made = loaded(FakeModel())
    settings: dict[str, Any] = {"presence": 0.7, "frequency": 0.9, "max_tokens": 20}
    whole = alone(made, ask(**settings)).finished
    first = alone(made, ask(**settings), cancel_at=n_tokens)
    second = go_on(made, first, **(settings | {"max_tokens": 20 - n_tokens})).finished
    assert first.finished.text + second.text == whole.text
    assert first.finished.token_ids + second.token_ids == whole.token_ids
    assert mind(second.snapshot) == mind(whole.snapshot)


def test_continuing_reads_nothing_again():
    made = loaded(FakeModel())
    first = alone(made, ask())
    fake(made).scan_sizes.clear()
    second = go_on(made, first)
    assert second.finished.stats.prompt_tokens == 0
    assert fake(made).scan_sizes == []
    (prefilled,) = second.prefilled
    assert (prefilled.done, prefilled.total) == (0, 0)
    assert prefilled.snapshot is first.finished.snapshot


def test_limit_reached_and_continued_equals_a_higher_limit():
    made = loaded(FakeModel())
    whole = alone(made, ask(max_tokens=9)).finished
    first = alone(made, ask(max_tokens=4))
    second = go_on(made, first, max_tokens=5).finished
    assert first.finished.token_ids + second.token_ids == whole.token_ids
    assert mind(second.snapshot) == mind(whole.snapshot)


@pytest.mark.parametrize("n_tokens", range(1, 12))
def test_stop_string_is_found_wherever_the_reply_was_cancelled(n_tokens: int):
    """Cancelled between `\\n\\n` and `User`, the reply must not run into the user's turn later."""
    made = loaded(ScriptedModel("ab\n\nUser: x", "ab\n\nUser: x"))
    whole = alone(made, ask(stops=("\n\nUser",), max_tokens=99)).finished
    first = alone(made, ask(stops=("\n\nUser",), max_tokens=99), cancel_at=n_tokens)
    if first.finished.reason is FinishReason.STOP_STRING:
        assert first.finished.text == whole.text
        return
    second = go_on(made, first, stops=("\n\nUser",), max_tokens=99).finished
    assert first.finished.text + second.text == whole.text == "ab"
    assert mind(second.snapshot) == mind(whole.snapshot)


@pytest.mark.parametrize("max_tokens", range(1, 8))
def test_stop_string_over_the_border_of_a_limit_ends_the_reply_there(max_tokens: int):
    """Text at a limit is shown, so it cannot be taken back; what follows it still can."""
    made = loaded(ScriptedModel("ab\n\nUser: x"))
    first = alone(made, ask(stops=("\n\nUser",), max_tokens=max_tokens))
    second = go_on(made, first, stops=("\n\nUser",), max_tokens=99)
    assert second.finished.reason is FinishReason.STOP_STRING
    assert first.finished.text + second.finished.text == "ab\n\nUser"[: max(2, max_tokens)]
    if max_tokens > 2:
        assert second.finished.token_ids == ()
        assert mind(second.finished.snapshot) == mind(first.finished.snapshot)


def test_border_that_was_no_stop_string_is_not_shown_twice():
    made = loaded(ScriptedModel("ab\n\nUp"))
    first = alone(made, ask(stops=("\n\nUser",), max_tokens=5))
    assert first.finished.text == "ab\n\nU"
    second = go_on(made, first, stops=("\n\nUser",))
    assert second.streamed == second.finished.text == "p"


def test_cancelled_at_once_after_such_a_border_keeps_the_state():
    """The held text belongs to the old reply: there is nothing to cut."""
    made = loaded(ScriptedModel("ab\n\nUp"))
    first = alone(made, ask(stops=("\n\nUser",), max_tokens=4))
    second = go_on(made, first, cancel_at=0, stops=("\n\nUser",))
    assert (second.finished.text, second.finished.token_ids) == ("", ())
    assert mind(second.finished.snapshot) == mind(first.finished.snapshot)


def test_stop_string_that_the_old_reply_holds_already_does_not_end_the_new_one():
    """The setting may be younger than the reply."""
    made = loaded(ScriptedModel("one two"))
    first = alone(made, ask(max_tokens=3))
    second = go_on(made, first, stops=("one",))
    assert second.finished.text == " two"
    assert second.finished.reason is FinishReason.END


def test_character_split_by_a_limit_is_drawn_again():
    tokenizer = ByteTokenizer()
    made = loaded(ScriptedModel("a🦜b", tokenizer=tokenizer))
    first = alone(made, ask(max_tokens=3))
    assert first.finished.text == "a"
    assert go_on(made, first).finished.text == "🦜b"


def test_reply_that_was_cut_inside_a_token_goes_on_from_its_kept_text():
    """Its last token was encoded anew: ids, text and state must still be one mind."""
    tokenizer = PieceTokenizer("b\n\nUs")
    made = loaded(ScriptedModel("ab\n\nUser", tokenizer=tokenizer), tokenizer=tokenizer)
    first = alone(made, ask(stops=("\n\nUser",), max_tokens=99))
    assert first.finished.text == "ab"
    second = go_on(made, first, max_tokens=3)
    told = alone(made, ask(HELLO + "ab", max_tokens=3))
    assert mind(second.finished.snapshot) == mind(told.finished.snapshot)


def test_seed_that_was_drawn_is_told_and_repeats_the_reply():
    made = loaded(FakeModel())
    first = alone(made, ask(seed=None)).finished
    assert alone(made, ask(seed=first.seed)).finished.text == first.text
    assert alone(made, ask(seed=None)).finished.seed != first.seed
