"""Mirostat, guidance and the rules of chat.py in whole replies: alone, in a batch, and when they go on."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from chatrwkv.engine.events import Finished, FinishReason
from chatrwkv.engine.generate import check_prompt
from chatrwkv.engine.request import GenerateRequest, Prompt
from chatrwkv.engine.scheduler import Scheduler
from chatrwkv.errors import GenerationError, OutOfMemory
from tests.engine.replying import HELLO, Outlet, alone, ask, fake, finish, mind, read_slowly, together
from tests.fakes import ByteTokenizer, FakeModel, loaded

if TYPE_CHECKING:
    from chatrwkv.engine.model import LoadedModel
    from chatrwkv.engine.state import Snapshot

LONG: dict[str, Any] = {"max_tokens": 24, "presence": 0.4, "frequency": 0.3}
OPTIONS: list[dict[str, Any]] = [
    {"mirostat": 3.0},
    {"mirostat": 2.0, "mirostat_rate": 0.5, "temperature": 1.4, "temp_first": True},
    {"cfg": 1.7, "top_p": 0.9},
    {"cfg": 0.0},
    {"cfg": 3.0, "mirostat": 2.5},
    {"temperature": 1.5, "temp_first": True, "top_p": 0.6},
    {"top_p": 0.2, "top_p_x": 0.02},
    {"typical": 0.4},
    {"newline_rule": True, "anti_repeat": True},
]
names = pytest.mark.parametrize("settings", OPTIONS, ids="+".join)


def guided(request: GenerateRequest, negative: str = "", reply: tuple[int, ...] = ()) -> GenerateRequest:
    """The request with the second mind that `Plan.read` would give it."""
    if request.params.cfg == 1:
        return request

    def prepare(made: LoadedModel) -> Prompt:
        prompt = request.prepare(made)
        return replace(prompt, negative=(*made.tokenizer.encode(negative + "Assistant:"), *reply))

    return replace(request, prepare=prepare)


def go_on(first: Finished, **settings: Any) -> GenerateRequest:
    request = ask(
        "", on=first.snapshot, start_position=len(first.token_ids), penalise=first.token_ids, **settings
    )
    return guided(replace(request, mu=first.mu), reply=first.token_ids)


def speaking() -> LoadedModel:
    """A model that also says line ends."""
    return loaded(FakeModel(speaks=[byte + 1 for byte in b"abcdefgh \n"]))


@names
def test_option_changes_what_is_said(settings: dict[str, Any]):
    """One that does nothing would pass every test below."""
    made = speaking()
    plain = alone(made, ask(**(LONG | {"max_tokens": 60}))).finished
    if settings == OPTIONS[-1]:
        text = alone(made, ask(**(LONG | {"max_tokens": 60} | settings))).finished.text
        assert text.count("\n") < plain.text.count("\n")
        return
    same_but = {"top_p": settings.get("top_p", 1.0), "temperature": settings.get("temperature", 1.0)}
    without = alone(made, ask(**(LONG | same_but)))
    assert alone(made, guided(ask(**(LONG | settings)))).finished.text != without.finished.text


@names
def test_same_seed_and_state_give_the_same_bytes_among_others(settings: dict[str, Any]):
    made = speaking()
    request = guided(ask(**(LONG | settings)))
    others = [guided(ask(f"other {i}", **(LONG | more)), "x" * i) for i, more in enumerate(OPTIONS)]
    expected = alone(made, request).finished
    among = together(made, [*others[:4], request, *others[4:], request])
    for outlet in (among[4], among[-1]):
        assert (outlet.finished.text, outlet.finished.mu) == (expected.text, expected.mu)
        assert mind(outlet.finished.snapshot) == mind(expected.snapshot)


@names
@pytest.mark.parametrize("n_tokens", [1, 9, 23])
def test_stopped_and_continued_equals_uninterrupted(settings: dict[str, Any], n_tokens: int):
    """The second mind, mirostat's bound, the schedule's place and the last sign go on where they were."""
    made = speaking()
    settings = LONG | settings
    whole = alone(made, guided(ask(**settings))).finished
    first = alone(made, guided(ask(**settings)), cancel_at=n_tokens).finished
    rest = settings | {"max_tokens": settings["max_tokens"] - len(first.token_ids)}
    second = alone(made, go_on(first, **rest)).finished
    assert first.text + second.text == whole.text
    assert second.mu == whole.mu
    assert mind(second.snapshot) == mind(whole.snapshot)


def test_bound_of_mirostat_goes_back_with_what_is_cut():
    """Held text is given up by a stop; the bound must be the one before its tokens."""
    made = loaded(FakeModel(speaks=[byte + 1 for byte in b"ab"]))
    settings: dict[str, Any] = {"mirostat": 0.6, "mirostat_rate": 0.5, "max_tokens": 30}
    free = alone(made, ask(**settings)).finished.text
    stop = free[7:11]
    cut = alone(made, ask(stops=(stop,), **settings)).finished
    assert cut.reason is FinishReason.STOP_STRING
    short = alone(made, ask(**(settings | {"max_tokens": len(cut.text)}))).finished
    assert (cut.text, cut.mu) == (short.text, short.mu)
    second = alone(made, go_on(cut, **settings)).finished
    assert (
        cut.text + second.text
        == alone(made, ask(**(settings | {"max_tokens": 30 + len(cut.text)}))).finished.text
    )


@names
def test_forced_beginning_is_weighed_as_if_it_had_been_drawn(settings: dict[str, Any]):
    """A branch at a token takes the tokens before it as given; bound and second mind must follow them."""
    made = speaking()
    request = guided(ask(**(LONG | settings)))
    whole = alone(made, request).finished
    forced = alone(made, replace(request, forced=whole.token_ids[:9])).finished
    assert (forced.text, forced.mu) == (whole.text, whole.mu)


def test_bound_is_told_only_of_replies_drawn_with_mirostat():
    made = loaded(FakeModel())
    assert alone(made, ask()).finished.mu is None
    assert alone(made, ask(mirostat=3.0, temperature=0.0)).finished.mu is None
    mu = alone(made, ask(mirostat=3.0)).finished.mu
    assert mu is not None
    assert mu != 6.0


def logits_after(made: LoadedModel, text: str) -> np.ndarray:
    snapshot = read_slowly(made, made.tokenizer.encode(text))
    return np.asarray(snapshot.logits, np.float64)


def test_guidance_leads_away_from_the_negative_prompt():
    """Greedy, so that each token can be worked out: the best of f·with + (1-f)·without, both reading on."""
    made = loaded(FakeModel())
    said = ""
    for _ in range(6):
        mixed = 2.5 * logits_after(made, HELLO + said) - 1.5 * logits_after(made, "bad Assistant:" + said)
        said += made.tokenizer.decode([int(mixed.argmax())])
    request = ask(cfg=2.5, temperature=0.0, presence=0.0, frequency=0.0, max_tokens=6)
    reply = alone(made, guided(request, "bad ")).finished
    assert reply.text == said
    assert mind(reply.snapshot) == mind(read_slowly(made, made.tokenizer.encode(HELLO + said)))


def test_second_mind_costs_a_row_and_no_pass():
    made = loaded(FakeModel())
    alone(made, guided(ask(cfg=2.0, max_tokens=5)))
    assert fake(made).step_sizes == [2] * 5


def test_equal_negative_prompts_are_read_once():
    made = loaded(FakeModel())
    together(made, [guided(ask(cfg=2.0, seed=i, max_tokens=2)) for i in range(5)])
    assert sorted(sum(sizes) for sizes in fake(made).scan_sizes) == sorted([len("Assistant:"), len(HELLO)])


def root(made: LoadedModel) -> Snapshot:
    return read_slowly(made, made.tokenizer.encode(HELLO))


def test_guided_reply_stopped_while_its_negative_prompt_is_read_leaves_the_start_untouched():
    made = loaded(FakeModel())
    start, scheduler, outlet = root(made), Scheduler(made), Outlet()
    scheduler._pace.tokens = 16
    request = guided(ask("", on=start, cfg=2.0), "x" * 100)

    class Hasty(Outlet):
        @property
        def cancelled(self) -> bool:
            return bool(fake(made).scan_sizes)

    other, hasty = outlet, Hasty()
    scheduler.add([(request, hasty), (request, other)])
    finish(scheduler)
    assert hasty.finished.reason is FinishReason.CANCELLED
    assert mind(hasty.finished.snapshot) == mind(start)
    assert other.finished.text == alone(made, request).finished.text


def test_error_while_a_guided_reply_runs_is_told_once():
    class Failing(FakeModel):
        def step(self, token_ids: Any, scratch: Any) -> Any:
            raise MemoryError

    (outlet,) = together(loaded(Failing()), [guided(ask(cfg=2.0))])
    assert isinstance(outlet.failed.error, OutOfMemory)


def test_negative_prompt_of_another_vocabulary_is_refused():
    with pytest.raises(GenerationError, match="the token 999"):
        check_prompt(loaded(FakeModel()), Prompt(None, (5,), negative=(999,)))


class Signs(ByteTokenizer):
    """`a` stands for the four signs."""

    def encode(self, text: str) -> list[int]:
        return super().encode("a") if text in "，：？！" and text else super().encode(text)


@pytest.mark.parametrize("is_read", [False, True])
def test_anti_repeat_rule_knows_the_last_sign_of_the_prompt(is_read: bool):
    """Read now or held by a snapshot: the first token may not be the sign that the prompt ends with."""
    model = FakeModel(speaks=[byte + 1 for byte in b"ab"])
    made = loaded(model, tokenizer=Signs())
    on = read_slowly(made, made.tokenizer.encode("xa")) if is_read else None
    a = ord("a") + 1

    def prepare(_: LoadedModel) -> Prompt:
        return Prompt(on, (), last_id=a) if is_read else Prompt(None, (ord("x") + 1, a))

    settings = ask(anti_repeat=True, max_tokens=40).params
    text = alone(made, GenerateRequest(prepare=prepare, params=settings)).finished.text
    assert not text.startswith("a")
    assert "aa" not in text
    assert "bb" in text
