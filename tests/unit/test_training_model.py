"""The trainer's fast forward, its kernel, its optimiser and its exact resume, on tiny shapes."""

import dataclasses
import random
from contextlib import nullcontext

import numpy as np
import pytest
import torch

from chatrwkv.engine import detect, load_model
from chatrwkv.engine.models import rwkv7
from training import corpus, data, export, fast7, generations, native, plot, train, vocab
from training.init import Shape, initial_weights
from training.optim import Optimiser, is_block_matrix, orthogonalise

SHAPE = Shape(n_layer=2, n_embd=64, n_vocab=300)
SETTINGS = train.Settings(rows=2, steps=6, warm_up=2, half=False, compiled=False, shape=SHAPE)


def lively(seed=3):
    """Weights in which nothing is zero, as after training."""
    weights = initial_weights(SHAPE, seed)
    generator = torch.Generator().manual_seed(seed)
    return {n: t + 0.1 * torch.randn(t.shape, generator=generator) for n, t in weights.items()}


def random_rows(n=8, seed=0, length=64):
    rng = np.random.default_rng(seed)
    return {
        "ids": rng.integers(1, 300, (n, length)).astype(np.uint16),
        "targets": rng.integers(0, 300, (n, length)).astype(np.uint16),
        "roles": rng.integers(0, 4, (n, length)).astype(np.uint8),
        "starts": (rng.random((n, length)) < 0.1).astype(np.uint8),
    }


def engine_logits(weights, token_ids):
    spec = detect({name: tuple(t.shape) for name, t in weights.items()})
    built = rwkv7.Weights7.build(weights, spec)
    return rwkv7.forward(built, token_ids, rwkv7.blank(spec, token_ids.shape[0]))[0]


def logits_of(weights, token_ids, starts, **options):
    return fast7.forward(weights, token_ids, starts, **options) @ weights["head.weight"].T


def test_fast_forward_equals_the_engine():
    """What is trained must be what runs."""
    weights = lively()
    ids = torch.randint(1, 300, (2, 96), generator=torch.Generator().manual_seed(1))
    fast = logits_of(weights, ids, torch.zeros_like(ids))
    assert torch.allclose(fast, engine_logits(weights, ids), atol=1e-4)


def test_packed_documents_see_nothing_of_each_other():
    """Each document of a row gives the logits that the engine gives for it alone."""
    weights = lively()
    ids = torch.randint(1, 300, (1, 96), generator=torch.Generator().manual_seed(2))
    starts = torch.zeros_like(ids)
    starts[0, [0, 5, 37, 64]] = 1
    packed = logits_of(weights, ids, starts)
    for begin, end in ((0, 5), (5, 37), (37, 64), (64, 96)):
        alone = engine_logits(weights, ids[:, begin:end])
        assert torch.allclose(packed[:, begin:end], alone, atol=1e-4)


@pytest.mark.skipif(not native.AVAILABLE, reason="needs a C++ compiler")
def test_kernel_and_chunked_form_agree_in_value_and_gradient():
    """The gradient is written by hand; the chunked form's comes from autograd."""
    generator = torch.Generator().manual_seed(4)
    shape = (2, 96, 2, 64)
    r, k, v, a = (torch.randn(shape, generator=generator) for _ in range(4))
    decay, rate = (torch.rand(shape, generator=generator) for _ in range(2))
    a = torch.nn.functional.normalize(a, dim=-1)
    parts = torch.stack([r, torch.exp(-0.606531 * decay), k, v, -a, a * rate]).requires_grad_()
    starts = (torch.rand(2, 96, generator=generator) < 0.06).long()
    starts[:, 0] = 1
    y, chunked = native.wkv7(parts, starts)[0], fast7.wkv(parts, fast7.make_masks(starts))
    assert torch.allclose(y, chunked, atol=1e-4)
    weight = torch.randn(shape, generator=generator)
    grads = [torch.autograd.grad((out * weight).sum(), parts)[0] for out in (y, chunked)]
    assert torch.allclose(grads[0], grads[1], atol=1e-3)


def test_resume_from_a_file_is_bit_equal(tmp_path):
    """Six steps are three and three more; a forgotten momentum or a shifted position shows in the last bits."""
    rows = random_rows()
    whole, first, second = (train.Trainer(SETTINGS) for _ in range(3))
    losses = [whole.update(rows) for _ in range(6)]
    again = [first.update(rows) for _ in range(3)]
    first.save(tmp_path / "last.pt")
    second.load(tmp_path / "last.pt")
    again += [second.update(rows) for _ in range(3)]
    assert again == losses
    for name, tensor in whole.weights.items():
        assert torch.equal(tensor, second.weights[name]), name


def test_stopped_run_goes_on_and_ends_as_an_unbroken_one(tmp_path):
    """The command itself, stopped in the middle, with its log and curve."""
    rows, tests = random_rows(), {"own": random_rows(2, 1)}
    train.Run(train.Trainer(SETTINGS), rows, tests, tmp_path / "a").go(1, 2, 2)
    half = train.Trainer(dataclasses.replace(SETTINGS, steps=4))
    train.Run(half, rows, tests, tmp_path / "b").go(1, 2, 2)
    rest = train.Trainer(SETTINGS)
    rest.load(tmp_path / "b" / "last.pt")
    train.Run(rest, rows, tests, tmp_path / "b").go(1, 2, 2)
    a, b = (torch.load(tmp_path / name / "last.pt", weights_only=True) for name in ("a", "b"))
    assert all(torch.equal(a["weights"][name], b["weights"][name]) for name in a["weights"])
    assert a["curve"] == b["curve"]
    assert "tok/s" in (tmp_path / "b" / "log.txt").read_text()
    assert "<polyline" in (tmp_path / "b" / "loss.svg").read_text()


def test_loss_falls_on_a_repeated_row():
    """A sign error in an update raises it."""
    settings = dataclasses.replace(SETTINGS, lr=5e-3, steps=30)
    trainer, rows = train.Trainer(settings), random_rows(2)
    losses = [trainer.update(rows) for _ in range(30)]
    assert losses[-1] < 0.8 * losses[0]


@pytest.mark.parametrize(
    ("generation", "fast"),
    [("7", True), *((g, False) for g in generations.RECIPES if g != "1")],  # v1 asks how long its past is
)
def test_a_step_makes_every_tensor_where_the_weights_are(generation, fast, monkeypatch):
    """The meta device stands for a GPU: a tensor that is made on the CPU and meets its own is an error."""
    monkeypatch.setattr(torch, "autocast", lambda *_, **__: nullcontext())  # there is none for it
    shape = dataclasses.replace(SHAPE, n_layer=3, n_embd=128, n_context=64)
    settings = dataclasses.replace(
        SETTINGS, generation=generation, fast=fast, shape=shape, device="meta", muon=False
    )
    trainer = train.Trainer(settings)
    ids, targets, _, starts = trainer._batch(random_rows(), 0)
    losses = trainer.losses(ids, targets, starts)
    losses.sum().backward()
    assert losses.is_meta
    grads = [t.grad for t in trainer.weights.values() if t.grad is not None]
    assert len(grads) > len(trainer.weights) / 2
    assert all(grad.is_meta for grad in grads)


def test_rate_warms_up_and_falls_to_its_end():
    """The last steps at a high rate undo the anneal."""
    settings = train.Settings(steps=100, warm_up=10, lr=1.0, lr_final=0.1, schedule="cosine")
    assert settings.rate(0) == pytest.approx(0.01)
    assert settings.rate(10) == pytest.approx(1.0)
    assert settings.rate(55) == pytest.approx(0.55)
    assert settings.rate(100) == pytest.approx(0.1)
    assert train.Settings(steps=100, warm_up=0, lr=0.5).rate(99) == 0.5


def test_orthogonalised_updates_are_nearly_orthogonal():
    """Muon's step has singular values around 1 whatever the gradient's are."""
    m = torch.randn(64, 32, generator=torch.Generator().manual_seed(1)) * 1e-3
    values = torch.linalg.svdvals(orthogonalise(m))
    assert values.min() > 0.5
    assert values.max() < 1.4


def test_muon_takes_the_blocks_linear_weights_only():
    """Embedding, head, low ranks and vectors belong to AdamW."""
    taken = {name for name, t in initial_weights(SHAPE, 1).items() if is_block_matrix(name, t)}
    assert len(taken) == 6 * SHAPE.n_layer
    assert all(name.startswith("blocks.") and name.endswith(".weight") for name in taken)


def test_optimiser_state_survives_a_round_trip():
    """Either optimiser's memory lost on resume would show as a jump of the loss."""
    weights = {n: t.requires_grad_() for n, t in initial_weights(SHAPE, 1).items()}
    optimiser = Optimiser(weights, weight_decay=0.1)
    for t in weights.values():
        t.grad = torch.ones_like(t)
    optimiser.step(1e-3)
    other = Optimiser(weights, weight_decay=0.1)
    other.load_state_dict(optimiser.state_dict())
    left, right = optimiser.state_dict(), other.state_dict()
    assert all(torch.equal(left["momentum"][n], right["momentum"][n]) for n in left["momentum"])
    assert left["adam"]["state"].keys() == right["adam"]["state"].keys()


def test_exported_model_gives_the_trainers_logits(tmp_path):
    """Export, load with the engine, compare with the trainer's forward on the rounded weights."""
    vocab.write(tmp_path / "vocab.txt", vocab.train_entries(["User: hi there\n\n"] * 3, 299))
    weights = lively()
    export.write_model(tmp_path / "tiny", weights, tmp_path / "vocab.txt")
    loaded = load_model(tmp_path / "tiny", device="cpu", dtype="fp32")
    ids = loaded.tokenizer.encode("User: hi there\n\nAssistant:" + "x" * 40)[:32]
    assert len(ids) == 32
    found = loaded.model.scan([ids], loaded.model.blank().thaw(), all_logits=True)[0]
    read = {name: t.float() for name, t in export.read_model(tmp_path / "tiny").items()}
    expected = logits_of(read, torch.tensor([ids]), torch.zeros(1, 32, dtype=torch.long))[0]
    assert torch.allclose(found, expected, atol=1e-3)


def test_too_large_a_model_is_refused(tmp_path, monkeypatch):
    """Weights stay in the history of the repository for ever."""
    monkeypatch.setattr(export, "MAX_BYTES", 1000)
    (tmp_path / "vocab.txt").write_text("1 'a' 1\n")
    with pytest.raises(ValueError, match="at most 1000"):
        export.write_model(tmp_path / "big", lively(), tmp_path / "vocab.txt")


def test_rows_are_read_in_order_and_from_the_front_again():
    """The position of a run is its step alone."""
    rows = random_rows(5)
    ids = [train.batch(rows, step, 2)[0] for step in range(3)]
    read = torch.cat(ids)
    assert torch.equal(read[5], torch.from_numpy(rows["ids"][0].astype(np.int64)))
    assert torch.equal(read[4], torch.from_numpy(rows["ids"][4].astype(np.int64)))


def test_prepared_rows_train(tmp_path):
    """From hand-written text to a step, without any outside source."""
    path = tmp_path / "vocab.txt"
    vocab.write(path, vocab.train_entries(["User: hi\n\nAssistant: Hello there.\n\n"] * 3, 299))
    vocabulary = vocab.Vocabulary(path)
    packer = data.Packer(random.Random(1))
    for i in range(6):
        document = corpus.conversation("own", [("user", f"hi {i}"), ("assistant", "Hello there.")])
        packer.add(data.encode(document, vocabulary))
    data.save(tmp_path, "train", packer.finish(), random.Random(2))
    trainer = train.Trainer(SETTINGS)
    assert trainer.update(train.load_rows(tmp_path / "train.npz")) > 0


def test_empty_curve_draws_nothing(tmp_path):
    """A run stopped before its first test has no curve."""
    plot.write_curve(tmp_path / "loss.svg", [])
    assert not (tmp_path / "loss.svg").exists()


def test_loading_the_kernel_leaves_the_arithmetic_of_the_process_alone() -> None:
    """`-ffast-math` links code that flushes subnormal numbers to zero, for everybody in the process."""
    native.library()
    assert torch.tensor([1e-40]).mul(0.5).item() > 0
