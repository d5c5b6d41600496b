"""State tuning: it learns, it writes what others read, it stops and goes on, the weights stay."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Any

import pytest
import torch

from chatrwkv.engine import Lesson, Tuned, TuneRecipe, load_model, progress_file, tune
from chatrwkv.engine.layouts import from_buffer, from_tuned
from chatrwkv.engine.model import in_float32
from chatrwkv.engine.spec import Generation
from chatrwkv.errors import BadValue, NumericalError, StateError
from tests import checkpoints
from tests.checkpoints import Size

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from chatrwkv.engine import LoadedModel, State

SIZE = Size(2, 64, 32, 256)
LESSONS = [Lesson(((f"question {i}?", False), (" abc abc abc.", True))) for i in range(6)]
SHORT = TuneRecipe(repeats=4, warm_up=2)


def small(folder: Path, make: Callable[..., dict[str, torch.Tensor]] = checkpoints.rwkv7) -> LoadedModel:
    """A random model of bytes, loaded from a file."""
    path = folder / "small.pth"
    torch.save({name: tensor.float() for name, tensor in make(SIZE, 0).items()}, path)
    return load_model(path, device="cpu", dtype="fp32")


def tuned(
    loaded: LoadedModel, path: Path, *, stop_after: int | None = None, recipe: TuneRecipe = SHORT, **more: Any
) -> tuple[Tuned, list[str]]:
    """Run to the end, or until so many steps are made; and what was told."""
    told: list[str] = []
    steps: list[int] = [0]

    def progress(done: int, _total: int, what: str) -> None:
        steps[0] = done
        told.append(what)

    run = tune(
        loaded,
        lambda: stop_after is not None and steps[0] >= stop_after,
        progress,
        **{"lessons": LESSONS, "path": path, "recipe": recipe, **more},
    )
    try:
        while True:
            next(run)
    except StopIteration as end:
        return end.value, told


def loss_after(loaded: LoadedModel, start: State, text: str, reply: str) -> float:
    """Nats a token of a reply, read by the model's ordinary scan."""
    ids, n = loaded.tokenizer.encode(text), len(loaded.tokenizer.encode(reply))
    ids = [*ids, *loaded.tokenizer.encode(reply)]
    logits = loaded.model.scan([ids], start.thaw(), all_logits=True)[0].float()
    return float(torch.nn.functional.cross_entropy(logits[-n - 1 : -1], torch.tensor(ids[-n:])))


@pytest.mark.parametrize(
    ("make", "share"),
    [
        (checkpoints.rwkv4, 0.98),  # a vector holds less, and decays at once in a random model
        (checkpoints.rwkv5, 0.8),
        (checkpoints.rwkv6, 0.8),
        (checkpoints.rwkv7, 0.8),
    ],
)
def test_a_tuned_state_makes_the_lessons_likelier(tmp_path, make, share):
    loaded = small(tmp_path, make)
    result, told = tuned(loaded, tmp_path / "p.pth")
    assert (result.n_lessons, result.n_held_out) == (5, 1)
    assert result.n_steps == 20
    assert result.after < share * result.before
    assert result.is_complete
    assert told[-1].startswith("tuning: loss ")


def test_the_written_file_is_the_published_layout_in_the_published_orientation(tmp_path):
    """Read through `layouts`, the matrix of every head gives the loss that the tuning reported."""
    loaded = small(tmp_path)
    held_out = [Lesson((("another?", False), (" abc abc abc.", True)))]
    result, _ = tuned(loaded, tmp_path / "p.pth", held_out=held_out)
    content = torch.load(tmp_path / "p.pth", weights_only=True)
    assert list(content) == ["blocks.0.att.time_state", "blocks.1.att.time_state"]
    assert all(t.shape == (2, 32, 32) and t.dtype == torch.bfloat16 for t in content.values())
    first = content["blocks.0.att.time_state"].float()
    assert not torch.allclose(first, first.mT, atol=0.1)
    state = from_tuned(content, loaded.model.blank())
    assert loss_after(loaded, state, "another?", " abc abc abc.") == pytest.approx(result.after, rel=0.02)
    turned = from_tuned(content, loaded.model.blank(), transposed=True)
    assert loss_after(loaded, turned, "another?", " abc abc abc.") > 1.1 * result.after


def test_a_state_of_vectors_is_written_as_the_rows_of_v4(tmp_path):
    loaded = small(tmp_path, checkpoints.rwkv4)
    held_out = [Lesson((("another?", False), (" abc abc abc.", True)))]
    result, _ = tuned(loaded, tmp_path / "p.pth", held_out=held_out)
    rows = torch.load(tmp_path / "p.pth", weights_only=True)
    assert rows.shape == (10, 64)
    assert rows[3::5].min() >= 0  # bb, a denominator
    state = from_buffer(rows, loaded.model.blank(), Generation.V4)
    assert loss_after(loaded, state, "another?", " abc abc abc.") == pytest.approx(result.after, rel=1e-3)


def test_a_stopped_run_keeps_the_best_and_ends_as_an_unbroken_one(tmp_path):
    loaded = small(tmp_path)
    whole, _ = tuned(loaded, tmp_path / "a.pth")
    half, _ = tuned(loaded, tmp_path / "b.pth", stop_after=7)
    assert (half.n_steps, half.is_complete) == (7, False)
    assert progress_file(tmp_path / "b.pth").exists()
    assert torch.load(tmp_path / "b.pth", weights_only=True)
    rest, _ = tuned(loaded, tmp_path / "b.pth")
    assert rest.is_complete
    assert dataclasses.replace(rest, path=whole.path, seconds=0) == dataclasses.replace(whole, seconds=0)
    assert (tmp_path / "a.pth").stat().st_size == (tmp_path / "b.pth").stat().st_size
    a, b = (torch.load(tmp_path / name, weights_only=True) for name in ("a.pth", "b.pth"))
    assert all(torch.equal(a[name], b[name]) for name in a)
    assert not progress_file(tmp_path / "b.pth").exists()


def test_a_place_of_another_run_is_not_gone_on_from(tmp_path):
    loaded = small(tmp_path)
    tuned(loaded, tmp_path / "p.pth", stop_after=7)
    other, told = tuned(loaded, tmp_path / "p.pth", recipe=dataclasses.replace(SHORT, seed=2))
    assert "measuring" in told[0]
    assert other.n_steps == 20


def test_damaged_progress_is_begun_anew(tmp_path):
    progress_file(tmp_path / "p.pth").write_bytes(b"PK\x03\x04 and no more")
    result, told = tuned(small(tmp_path), tmp_path / "p.pth")
    assert "measuring" in told[0]
    assert result.is_complete


def test_weights_and_blank_state_are_the_same_afterwards(tmp_path):
    loaded = small(tmp_path)
    before = loss_after(loaded, loaded.model.blank(), "question 1?", " abc")
    tuned(loaded, tmp_path / "p.pth")
    assert loss_after(loaded, loaded.model.blank(), "question 1?", " abc") == before


def test_it_stops_early_when_it_gets_no_better(tmp_path):
    """What is held out says the opposite of the lessons."""
    held_out = [Lesson((("question?", False), ("XYZXYZXYZXYZ", True)))]
    recipe = TuneRecipe(repeats=20, warm_up=2, patience=2)
    result, _ = tuned(small(tmp_path), tmp_path / "p.pth", held_out=held_out, recipe=recipe)
    assert result.n_steps < 120
    assert result.is_complete


def test_a_model_in_bf16_is_tuned_in_float32(tmp_path):
    path = small(tmp_path).path
    loaded = load_model(path, device="cpu", dtype="bf16")
    assert in_float32(loaded).weights.head.dtype == torch.float32
    result, _ = tuned(loaded, tmp_path / "p.pth")
    assert result.after < 0.8 * result.before


def test_only_what_counts_is_learnt(tmp_path):
    """A lesson of questions alone teaches nothing."""
    with pytest.raises(BadValue, match="nothing to learn"):
        tuned(small(tmp_path), tmp_path / "p.pth", lessons=[Lesson((("question?", False),))])


def test_a_generation_that_keeps_its_past_is_refused(tmp_path):
    with pytest.raises(BadValue, match="RWKV-4b"):
        tuned(small(tmp_path, checkpoints.rwkv4b), tmp_path / "p.pth")


def test_a_rate_beyond_reason_is_told(tmp_path):
    with pytest.raises(NumericalError, match="smaller rate"):
        tuned(small(tmp_path), tmp_path / "p.pth", recipe=TuneRecipe(lr=1e30, lr_final=1e30, warm_up=1))


def test_a_folder_that_is_missing_is_told(tmp_path):
    with pytest.raises(StateError, match="cannot be written"):
        tuned(small(tmp_path), tmp_path / "nowhere" / "p.pth")


def test_the_recipe_is_the_authors():
    recipe = TuneRecipe()
    assert (recipe.lr, recipe.lr_final, recipe.warm_up, recipe.repeats) == (1.0, 0.01, 10, 4)
    assert recipe.rate(0, 80) == pytest.approx(0.01)
    assert recipe.rate(10, 80) == pytest.approx(1.0)
    assert recipe.rate(80, 80) == pytest.approx(0.01)
