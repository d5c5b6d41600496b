"""Vectors of texts: what they are made of, that a batch changes nothing, and that normalising helps."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import torch
from safetensors.numpy import save_file

from chatrwkv import paths
from chatrwkv.engine import load_model
from chatrwkv.engine.models.split import Split
from chatrwkv.engine.plan import parse_strategy
from chatrwkv.engine.tasks.embed import BATCH, HIDDEN, Embedder, Statistics, fit, load_statistics
from chatrwkv.errors import BadValue, GenerationError
from tests.checkpoints import Size
from tests.engine.generations import CASES, model_of
from tests.engine.native_library import library_at, native_and_meant
from tests.engine.topics import TOPICS
from tests.fakes import ByteTokenizer, loaded

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

    from chatrwkv.engine.model import LoadedModel

    Vectors = NDArray[np.float32]

SPROUT = paths.bundled_models() / "sprout"
TEXTS = ["one", "", "a longer text", "x" * 40]
SHIFTS = ("hidden", "att-shift", "ffn-shift")
KINDS = {"1": SHIFTS, "2": (*SHIFTS, "aa", "bb", "wkv"), "5": (*SHIFTS, "wkv")}


def made(name: str) -> LoadedModel:
    model: Any = model_of(name, Size(2, 64, 32, 257))
    return loaded(model, tokenizer=ByteTokenizer())


def all_of(model: LoadedModel, texts: list[str]) -> dict[str, Vectors]:
    parts = list(Embedder(model).read(texts))
    return {kind: np.concatenate([part[kind] for part in parts]) for kind in parts[0]}


def state_after(model: LoadedModel, text: str) -> dict[str, NDArray[np.float64]]:
    scratch = model.model.blank().thaw()
    model.model.scan([[0, *model.tokenizer.encode(text)]], scratch)
    return {name: tensor[:, 0].double().numpy() for name, tensor in scratch.tensors.items()}


@pytest.mark.parametrize("name", CASES)
def test_kinds_are_those_of_the_generation_and_never_the_exponent(name: str):
    generation = name[0]
    family = "2" if generation in "234" else "5" if generation in "5678" else "1"
    found = all_of(made(name), TEXTS)
    assert tuple(found) == KINDS[family]
    assert all(np.isfinite(vectors).all() for vectors in found.values())
    assert {kind: vectors.shape for kind, vectors in found.items()} == {
        kind: (len(TEXTS), 64 if kind == HIDDEN else 128) for kind in found
    }


@pytest.mark.parametrize("name", CASES)
def test_hidden_is_the_mean_of_what_the_head_reads(name: str):
    """Times the head it must give the logits; the oldest heads add copies of the past to that."""
    model = made(name)
    network: Any = model.model
    weights = getattr(network.weights, "base", network.weights)
    if any(getattr(weights, copying, None) is not None for copying in ("head_q", "copy_head")):
        pytest.skip("logits are more than the head times the hidden vector")
    ids = [0, *model.tokenizer.encode("what is it")]
    (logits,) = model.model.scan([ids], model.model.blank().thaw(), all_logits=True)
    hidden = torch.from_numpy(all_of(model, ["what is it"])[HIDDEN])
    assert torch.allclose(hidden @ weights.head.T, logits.mean(0)[None], atol=1e-4)


@pytest.mark.parametrize("name", CASES)
def test_text_has_the_same_vectors_alone_and_among_others(name: str):
    model = made(name)
    texts = [f"{'word ' * (i % 5)}{i}" for i in range(BATCH + 3)]
    together = all_of(model, texts)
    for i in (0, 4, BATCH - 1, BATCH + 2):
        for kind, vectors in all_of(model, [texts[i]]).items():
            assert np.allclose(together[kind][i], vectors[0], atol=1e-4), kind


@pytest.mark.parametrize("name", ["1", "2 HeadQK", "4b", "7", "7b"])
def test_layers_in_several_places_give_the_same_vectors(name: str):
    whole = made(name)
    network: Any = Split(model_of(name, Size(2, 64, 32, 257)), parse_strategy("cpu fp32 *1 -> cpu fp32", 2))
    split, expected = all_of(loaded(network, tokenizer=ByteTokenizer()), TEXTS), all_of(whole, TEXTS)
    assert split.keys() == expected.keys()
    assert all(np.allclose(split[kind], expected[kind], atol=1e-4) for kind in expected)


def test_native_model_gives_the_vectors_of_the_weights_it_packed(pytestconfig: pytest.Config):
    library = library_at(pytestconfig, "portable")
    native, meant = native_and_meant(library, Size(2, 64, 32, 257), "bf16")
    models: list[Any] = [native, meant]
    found, expected = (all_of(loaded(model, tokenizer=ByteTokenizer()), TEXTS) for model in models)
    assert all(np.allclose(found[kind], expected[kind], atol=1e-4) for kind in expected)


def test_text_longer_than_a_pass_is_read_whole():
    model = made("7")
    text = "many words " * 60
    state = state_after(model, text)
    found = all_of(model, [text, "short"])
    assert np.allclose(found["att-shift"][0], state["att_shift"].reshape(-1), atol=1e-4)


@pytest.mark.parametrize("name", ["2", "3", "4", "4a", "4b"])
def test_read_out_of_sums_is_their_quotient(name: str):
    model = made(name)
    state, found = state_after(model, "some text"), all_of(model, ["some text"])
    assert np.allclose(found["aa"][0], state["aa"].reshape(-1), atol=1e-5)
    assert np.allclose(found["bb"][0], state["bb"].reshape(-1), atol=1e-5)
    assert np.allclose(found["wkv"][0], (state["aa"] / state["bb"]).reshape(-1), atol=1e-4)


@pytest.mark.parametrize("name", ["5.0", "5.1", "5.2", "6", "7", "7a", "7b", "8-rc00", "8-rc00-hybrid"])
def test_read_out_of_matrices_is_by_the_last_receptance(name: str):
    model = made(name)
    state, found = state_after(model, "some text"), all_of(model, ["some text"])
    network: Any = model.model
    expected = []
    for i, layer in enumerate(network.weights.layers):
        receptance = getattr(layer, "base", layer).att.receptance.double().numpy()
        r = (receptance @ state["att_shift"][i]).reshape(2, 32)
        expected.append(np.einsum("hij,hj->hi", state["wkv"][i], r).reshape(-1))
    assert np.allclose(found["wkv"][0], np.concatenate(expected), atol=1e-4)


def test_normalised_channels_have_mean_zero_and_deviation_one():
    model, texts = made("7"), [f"text {i} {'a b c '[i % 6 :]}" for i in range(40)]
    stats = fit(model, texts)
    for kind, vectors in all_of(model, texts).items():
        normal = stats.normalised(kind, vectors).astype(np.float64)
        assert np.abs(normal.mean(0)).max() < 1e-3, kind
        moving = stats.deviation[kind] > 1e-4
        assert np.abs(normal.std(0)[moving] - 1).max() < 1e-2, kind


def test_channel_that_never_changes_says_nothing():
    mean = np.array([1.0, 2.0], np.float32)
    stats = Statistics("", 9, {"wkv": mean}, {"wkv": np.array([0.0, 0.5], np.float32)})
    assert stats.normalised("wkv", np.array([[1.5, 3.0]], np.float32)).tolist() == [[0.0, 2.0]]


def test_statistics_come_back_from_their_file(tmp_path: Path):
    model = made("4")
    stats = fit(model, ["one", "two", "three"])
    stats.save(tmp_path / "a.embed")
    back = load_statistics(tmp_path / "a.embed", model)
    assert (back.fingerprint, back.n_texts) == (stats.fingerprint, 3)
    for kind in stats.mean:
        assert np.array_equal(back.mean[kind], stats.mean[kind])
        assert np.array_equal(back.deviation[kind], stats.deviation[kind])


def test_statistics_of_another_model_or_none_are_refused(tmp_path: Path):
    path = tmp_path / "a.embed"
    fit(loaded(model_of("7", Size(2, 64, 32, 257)), tokenizer=ByteTokenizer()), ["a", "b"]).save(path)
    other = load_model(SPROUT, device="cpu")
    with pytest.raises(BadValue, match="another model than sprout"):
        load_statistics(path, other)
    save_file({"x": np.zeros(2, np.float32)}, path)
    with pytest.raises(BadValue, match="holds no embedding statistics"):
        load_statistics(path, other)
    path.write_bytes(b"\xff" * 40)
    with pytest.raises(BadValue, match="holds no embedding statistics"):
        load_statistics(path, other)


def test_wrong_wishes_are_refused():
    model = made("7")
    with pytest.raises(BadValue, match="has no 'aa'"):
        Embedder(model).check("aa")
    with pytest.raises(BadValue, match="at least two"):
        fit(model, ["one"])
    with pytest.raises(GenerationError, match="Stopped"):
        list(Embedder(model).read(["one"], lambda: True))


def likeness_of_topics(vectors: Vectors) -> float:
    """How often two sentences of one topic are more alike than two of different ones; 0.5 is chance."""
    topic = np.repeat(np.arange(len(TOPICS)), [len(texts) for texts in TOPICS.values()])
    unit = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    first, second = np.triu_indices(len(topic), 1)
    likeness, is_same = (unit @ unit.T)[first, second], (topic[:, None] == topic)[first, second]
    return float((likeness[is_same][:, None] > likeness[~is_same]).mean())


def test_normalised_vectors_of_the_state_tell_topics_apart_better_than_raw_ones():
    """With the statistics that ship: 0.69 to 0.76 for the read-out, 0.57 to 0.59 and 0.61 to 0.64 for the shifts.

    The hidden vector, which a norm has just left, is an exception in so small a model: 0.79 raw, 0.75 after.
    """
    model = load_model(SPROUT, device="cpu")
    stats = load_statistics(SPROUT / "model.embed", model)
    assert stats.n_texts > 1000
    found = all_of(model, [text for texts in TOPICS.values() for text in texts])
    raw = {kind: likeness_of_topics(vectors) for kind, vectors in found.items()}
    normal = {kind: likeness_of_topics(stats.normalised(kind, vectors)) for kind, vectors in found.items()}
    for kind in ("wkv", "att-shift", "ffn-shift"):
        assert normal[kind] > raw[kind]
    assert normal["wkv"] > raw["wkv"] + 0.03
    assert min(normal.values()) > 0.55
    assert normal["hidden"] > 0.7
