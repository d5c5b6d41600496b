"""The museum: trained weights of seven generations, better than a bigram, the same in every form of running."""

from __future__ import annotations

import itertools
import json
from functools import cache
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from chatrwkv.engine import Scratch, load_model, visit
from chatrwkv.engine.params import SamplingParams
from chatrwkv.engine.tasks.evaluate import evaluate
from chatrwkv.engine.tasks.examples import Exhibit, read_examples
from chatrwkv.paths import bundled_museum
from tests.engine.generations import CASES, worst
from training.museum import MAX_BYTES, Bigram, count_pairs
from training.vocab import Vocabulary

if TYPE_CHECKING:
    from collections.abc import Callable

    from chatrwkv.engine import LoadedModel

FOLDER = bundled_museum()
HELD_OUT = FOLDER / "heldout.jsonl"
EVERY = ["1", "2", "3", "4", "5.2", "6", "7"]
TEXT = "User: Tell me a story.\n\nAssistant: Once upon a time, a duck lived in a quiet garden.\n\n"


@cache
def exhibit(generation: str) -> LoadedModel:
    return load_model(FOLDER / f"museum-{generation}.safetensors", device="cpu", dtype="fp32")


@cache
def bigram() -> float:
    texts = [json.loads(line)["text"] for line in HELD_OUT.read_text().splitlines()]
    return Bigram.load().bits_per_byte(texts, Vocabulary(FOLDER / "vocab.txt"))


@pytest.mark.parametrize("generation", EVERY)
def test_each_exhibit_beats_a_bigram_by_a_fifth_on_text_it_has_not_seen(generation):
    loaded = exhibit(generation)
    assert loaded.info.generation == generation
    assert loaded.info.card_family == "builtin"
    assert (FOLDER / f"museum-{generation}.safetensors").stat().st_size <= MAX_BYTES
    assert evaluate(loaded, read_examples(HELD_OUT)).bits_per_byte <= 0.8 * bigram()


def test_the_bigram_is_a_strong_one():
    """It spreads its mass to one, and beats both single letters and its own counts without a lower order."""
    counts = np.zeros((4, 4))
    counts[1, 2], counts[1, 3], counts[2, 1] = 3, 1, 2
    model: Any = Bigram(counts)
    assert np.allclose(model._p.sum(1), 1)
    assert model._p[1, 2] > model._p[1, 3] > model._p[1, 0] > 0
    assert 1.5 < bigram() < 2.5


def test_pairs_are_counted_where_training_counts_and_at_the_start_of_documents():
    rows = {
        "ids": np.array([[0, 5, 6, 0]]),
        "targets": np.array([[5, 6, 0, 0]]),
        "roles": np.array([[0, 1, 2, 0]]),
    }
    counts = count_pairs(rows, 8)
    assert {tuple(place): counts[tuple(place)] for place in np.argwhere(counts).tolist()} == {
        (0, 5): 1,
        (5, 6): 1,
        (6, 0): 1,
    }


@pytest.mark.parametrize("generation", EVERY)
def test_one_token_at_a_time_is_the_same_loss_as_all_at_once(generation):
    """The parallel form, which was trained, against the recurrent form, which talks."""
    loaded = exhibit(generation)
    ids = loaded.tokenizer.encode(TEXT * 3)
    assert len(ids) > 64
    at_once = loaded.model.scan([ids], loaded.model.blank().thaw(), all_logits=True)[0]
    scratch = loaded.model.blank().thaw()
    one_by_one = torch.stack([loaded.model.step([i], scratch)[0].clone() for i in ids])
    targets = torch.tensor(ids[1:])
    losses = [float(F.cross_entropy(logits[:-1], targets)) for logits in (at_once, one_by_one)]
    assert losses[0] == pytest.approx(losses[1], abs=1e-4)
    assert losses[0] < 2.5


@pytest.mark.parametrize("generation", EVERY)
def test_trained_weights_give_what_the_float64_reference_gives(generation):
    """Random weights may never reach where a formula matters; these do."""
    from safetensors.torch import load_file

    loaded = exhibit(generation)
    stored = load_file(FOLDER / f"museum-{generation}.safetensors")
    reference = CASES[generation].reference({name: t.float() for name, t in stored.items()})
    ids = loaded.tokenizer.encode(TEXT)[:40]
    want = np.stack([reference.step(token_id) for token_id in ids])
    found = loaded.model.scan([ids], loaded.model.blank().thaw(), all_logits=True)[0]
    assert worst(found, want) <= 2e-4 * max(1.0, float(np.abs(want).max()))


def test_vector_and_matrix_states_keep_their_size_and_that_of_v1_grows():
    for generation in EVERY:
        model = exhibit(generation).model
        scratch = Scratch.stack([model.blank()])
        model.scan([[5, 6, 7]], scratch)
        grew = scratch.freeze(0).n_bytes > model.blank().n_bytes
        assert grew is (generation == "1")


def visited(generations: tuple[str, ...], cancelled: Callable[[], bool]) -> tuple[list[Exhibit], list[str]]:
    """What a visit returns, and what it told on its way."""
    told: list[str] = []
    steps = visit(
        exhibit("4"),
        cancelled,
        lambda _done, _total, what: told.append(what),
        paths=[FOLDER / f"museum-{generation}.safetensors" for generation in generations],
        prompt="User: Hello!\n\nAssistant:",
        params=SamplingParams(seed=1, max_tokens=20, top_p=0.3),
        stops=("\n\n",),
        held_out=HELD_OUT,
    )
    while True:
        try:
            next(steps)
        except StopIteration as end:
            return end.value, told


def test_a_visit_asks_all_and_tells_of_each():
    found, told = visited(("2", "7"), lambda: False)
    assert [e.generation for e in found] == ["2", "7"]
    assert told == ["asking museum-2", "asking museum-7"]
    assert all(e.reply and e.tok_s > 0 and e.state_bytes > 1000 for e in found)
    assert all(e.bits_per_byte < 0.8 * bigram() for e in found)


def test_a_visit_that_is_stopped_tells_what_it_saw():
    asked = itertools.count()
    found, _ = visited(("2", "3"), lambda: next(asked) > 0)
    assert [e.generation for e in found] == ["2"]
