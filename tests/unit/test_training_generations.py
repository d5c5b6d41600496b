"""The trainer of every generation: it learns, and its parallel form says what the recurrent form says."""

from __future__ import annotations

import dataclasses
import random

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from chatrwkv.engine import Scratch, detect
from chatrwkv.engine.model import _family
from training import data, generations, train
from training.init import Shape

SHAPE = Shape(n_layer=3, n_embd=64, n_vocab=60, head_size=32, n_context=32)
SETTINGS = train.Settings(rows=2, steps=12, warm_up=2, lr=5e-3, half=False, compiled=False, shape=SHAPE)
EVERY = sorted(generations.RECIPES)


def rows_of(n: int = 2, seed: int = 0) -> dict[str, np.ndarray]:
    draw = np.random.default_rng(seed)
    return {
        "ids": draw.integers(1, 60, (n, 32)).astype(np.uint16),
        "targets": draw.integers(0, 60, (n, 32)).astype(np.uint16),
        "roles": np.full((n, 32), 2, dtype=np.uint8),
        "starts": np.zeros((n, 32), dtype=np.uint8),
    }


def trained(generation: str) -> tuple[train.Trainer, list[float], dict[str, np.ndarray]]:
    settings = dataclasses.replace(SETTINGS, generation=generation, fast=False)
    trainer, rows = train.Trainer(settings), rows_of()
    return trainer, [trainer.update(rows) for _ in range(settings.steps)], rows


@pytest.mark.parametrize("generation", EVERY)
def test_parallel_form_trains_to_the_loss_that_the_recurrent_form_reports(generation):
    """What is trained must be what runs, token by token, with the weights that training left."""
    trainer, losses, rows = trained(generation)
    assert losses[-1] < losses[0] - 0.1
    weights = {name: t.detach() for name, t in trainer.weights.items()}
    ids, targets, _, starts = train.batch(rows, 0, 2)
    parallel = float(trainer.losses(ids, targets, starts).detach().mean())
    spec = detect({name: tuple(t.shape) for name, t in weights.items()})
    model = _family(spec.generation)(spec, weights)
    scratch = Scratch.stack([model.blank(), model.blank()])
    logits = torch.stack([model.step(column, scratch).clone() for column in ids.T.tolist()], 1)
    recurrent = float(F.cross_entropy(logits.flatten(0, 1), targets.flatten()))
    assert recurrent == pytest.approx(parallel, abs=1e-4)


@pytest.mark.parametrize("generation", ["1", "4", "6"])
def test_a_run_resumes_bit_for_bit(tmp_path, generation):
    """Twelve steps are six and six, in every generation."""
    whole, losses, rows = trained(generation)
    settings = dataclasses.replace(SETTINGS, generation=generation, fast=False)
    first, second = train.Trainer(settings), train.Trainer(settings)
    again = [first.update(rows) for _ in range(6)]
    first.save(tmp_path / "last.pt")
    second.load(tmp_path / "last.pt")
    again += [second.update(rows) for _ in range(6)]
    assert again == losses
    assert all(torch.equal(t, second.weights[name]) for name, t in whole.weights.items())


def test_the_fast_form_of_v7_is_the_pure_one():
    """The built-in model and the museum's v7 are trained by the same function."""
    fast, pure = (train.Trainer(dataclasses.replace(SETTINGS, fast=fast)) for fast in (True, False))
    ids, targets, _, starts = train.batch(rows_of(), 0, 2)
    assert torch.allclose(fast.losses(ids, targets, starts), pure.losses(ids, targets, starts), atol=1e-4)


def test_chained_rows_start_once_and_keep_every_document_behind_an_id_0():
    """A trainer that cannot blank the state inside of a row must not be told to."""
    packer = data.Packer(random.Random(3), 32, chained=True)
    for n in range(40):
        ids = [n % 50 + 1] * (5 + n % 4)
        packer.add(data.Encoded(ids, [*ids[1:], 0], [2] * len(ids)))
    rows = packer.finish().arrays()
    assert rows["ids"].shape[1] == 32
    assert 0 < int((rows["ids"][:, 0] == 0).sum()) < len(rows["ids"])
    for ids, targets, roles in zip(rows["ids"], rows["targets"], rows["roles"], strict=True):
        borders = [i for i in range(1, 32) if ids[i] and ids[i - 1] and ids[i] != ids[i - 1]]
        assert not borders
        real = roles == 2
        assert all(targets[i] in (ids[i], 0) for i in range(32) if real[i])
