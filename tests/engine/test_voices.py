"""A chorus: drawn from the mean of several minds' logits; the mind that is kept is the reply's own."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest
import torch

from tests.engine.replying import HELLO, alone, ask, mind, read_slowly, together
from tests.fakes import FakeModel, loaded

if TYPE_CHECKING:
    from chatrwkv.engine import LoadedModel, Snapshot
    from chatrwkv.engine.request import GenerateRequest

GREEDY: dict[str, Any] = {"temperature": 0, "presence": 0, "frequency": 0, "max_tokens": 8}


@pytest.fixture
def here() -> LoadedModel:
    return loaded(FakeModel())


def ids(text: str) -> list[int]:
    return [byte + 1 for byte in text.encode()]


def after(here: LoadedModel, text: str) -> Snapshot:
    return read_slowly(here, ids(text))


def chorus(*voices: Snapshot, **settings: Any) -> GenerateRequest:
    request = ask(**settings)
    return replace(request, prepare=lambda here: replace(request.prepare(here), voices=voices))


def test_a_chorus_of_the_same_mind_says_what_that_mind_says(here: LoadedModel):
    same = after(here, HELLO)
    assert alone(here, chorus(same, same)).finished.text == alone(here, ask()).finished.text


def test_every_token_is_drawn_from_the_mean_of_all_minds(here: LoadedModel):
    texts = [HELLO, "another story", "a third one"]
    found = alone(here, chorus(*(after(here, text) for text in texts[1:]), **GREEDY)).finished.token_ids
    for place, token_id in enumerate(found):
        so_far = list(found[:place])
        logits = [read_slowly(here, ids(text) + so_far).logits for text in texts]
        assert int(torch.stack(logits).mean(0).argmax()) == token_id
    assert found != alone(here, ask(**GREEDY)).finished.token_ids


def test_the_mind_that_is_kept_has_read_its_own_prompt_and_the_reply(here: LoadedModel):
    finished = alone(here, chorus(after(here, "another story"))).finished
    assert mind(finished.snapshot) == mind(read_slowly(here, [*ids(HELLO), *finished.token_ids]))


def test_a_voice_is_left_as_it_was(here: LoadedModel):
    voice = after(here, "another story")
    before = mind(voice)
    alone(here, chorus(voice))
    assert mind(voice) == before


def test_replies_beside_a_chorus_are_not_heard_by_it(here: LoadedModel):
    voice = after(here, "another story")
    request = [chorus(voice, seed=3), ask("something else", seed=4), chorus(voice, voice, seed=5)]
    side_by_side = [outlet.finished for outlet in together(here, request)]
    for wanted, found in zip(request, side_by_side, strict=True):
        assert found.token_ids == alone(here, wanted).finished.token_ids


def test_a_chorus_that_is_stopped_lets_all_its_rows_go(here: LoadedModel):
    outlet = alone(here, chorus(after(here, "another story"), max_tokens=500), cancel_at=3)
    assert outlet.finished.reason == "cancelled"
    assert len(outlet.finished.token_ids) == 3


def test_a_voice_of_another_model_is_refused(here: LoadedModel):
    stranger = after(loaded(FakeModel("stranger")), "hello")
    assert "another model" in alone(here, chorus(stranger)).failed.error.message
