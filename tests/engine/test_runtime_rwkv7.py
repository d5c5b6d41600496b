"""The runtime over a real RWKV-7 of random weights: what holds exactly for the fake holds here to rounding."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
import torch
from safetensors.torch import save_file

from chatrwkv.engine.model import load_model
from chatrwkv.engine.statefile import load_state, save_state
from chatrwkv.engine.worker import EngineThread
from tests.checkpoints import Size, rwkv7
from tests.engine.replying import HELLO, alone, ask, mind, read_slowly, together
from tests.fakes import WAIT_S

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from chatrwkv.engine.model import LoadedModel
    from chatrwkv.engine.state import Snapshot

N_VOCAB = 257


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder as models come in: weights, and the vocabulary of single bytes and some pairs."""
    folder = tmp_path_factory.mktemp("models") / "tiny"
    folder.mkdir()
    save_file(rwkv7(Size(2, 128, 64, N_VOCAB)), folder / "model.safetensors")
    lines = [f"{byte + 1} {bytes([byte])!r} 1" for byte in range(256)]
    (folder / "vocab.txt").write_text("\n".join(lines) + "\n", encoding="utf-8")
    return folder


@pytest.fixture(scope="module")
def made(path: Path) -> LoadedModel:
    return load_model(path, device="cpu", dtype="fp32")


@pytest.fixture
def engine(path: Path) -> Iterator[EngineThread]:
    thread = EngineThread()
    thread.start()
    try:
        thread.load(path, device="cpu", dtype="fp32").result(WAIT_S)
        yield thread
    finally:
        thread.close(WAIT_S)


def assert_close(a: Snapshot | None, b: Snapshot | None) -> None:
    assert a is not None
    assert b is not None
    assert (a.chain, a.n_tokens, a.fingerprint) == (b.chain, b.n_tokens, b.fingerprint)
    for name, tensor in a.state.tensors.items():
        torch.testing.assert_close(tensor, b.state.tensors[name], rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(a.logits, b.logits, rtol=1e-4, atol=1e-4)


def test_forks_in_a_batch_equal_themselves_alone_and_spare_the_parent(made: LoadedModel):
    """R13 with real arithmetic: a view instead of a copy would let one fork write into another."""
    root = read_slowly(made, made.tokenizer.encode(HELLO))
    before = mind(root)
    forks = [ask(f" {i}" * (i % 4), on=root, seed=i, max_tokens=6 + i % 5) for i in range(20)]
    batch = together(made, forks)
    assert mind(root) == before
    for fork, outlet in zip(forks, batch, strict=True):
        other = alone(made, fork)
        assert outlet.finished.token_ids == other.finished.token_ids
        assert_close(outlet.finished.snapshot, other.finished.snapshot)
    assert mind(root) == before


@pytest.mark.parametrize("cancel_at", [None, 7])
def test_kept_state_is_that_of_reading_the_kept_tokens(made: LoadedModel, cancel_at: int | None):
    outlet = alone(made, ask(max_tokens=15), cancel_at)
    ids = [*made.tokenizer.encode(HELLO), *outlet.finished.token_ids]
    assert_close(outlet.finished.snapshot, read_slowly(made, ids))


def test_state_after_a_stop_string_is_the_one_before_it(made: LoadedModel):
    """R28: a reply that is known to say a certain byte is asked again with it as the stop string."""
    free = alone(made, ask(max_tokens=15)).finished
    stop = free.text[6:8]
    at = free.text.index(stop)
    cut = alone(made, ask(max_tokens=15, stops=(stop,))).finished
    assert cut.text == free.text[:at]
    ids = [*made.tokenizer.encode(HELLO), *cut.token_ids]
    assert_close(cut.snapshot, read_slowly(made, ids))


def test_saved_state_goes_on_with_the_same_tokens_after_a_restart(
    engine: EngineThread, path: Path, tmp_path: Path
):
    """R15: nothing is prefilled, and the next tokens are those of the uninterrupted run."""
    whole = engine.submit(ask(max_tokens=30)).result(WAIT_S)
    first = engine.submit(ask(max_tokens=10)).result(WAIT_S)
    assert first.snapshot is not None
    save_state(tmp_path / "mind.rwkvstate", first.snapshot, {})
    second = EngineThread()
    second.start()
    try:
        info = second.load(path, device="cpu", dtype="fp32").result(WAIT_S)
        snapshot, _ = load_state(tmp_path / "mind.rwkvstate", fingerprint=info.fingerprint)
        request = ask("", on=snapshot, start_position=10, penalise=first.token_ids, max_tokens=20)
        rest = second.submit(request).result(WAIT_S)
    finally:
        second.close(WAIT_S)
    assert rest.stats.prompt_tokens == 0
    assert first.token_ids + rest.token_ids == whole.token_ids


def test_snapshots_made_in_inference_mode_can_be_used_outside_it(engine: EngineThread):
    """The interface thread saves, hashes and copies them; torch forbids some of it for its own reasons."""
    snapshot = engine.submit(ask(max_tokens=2)).result(WAIT_S).snapshot
    assert snapshot is not None
    assert snapshot.state.digest() == snapshot.state.digest()
    assert not any(tensor.requires_grad for tensor in snapshot.state.tensors.values())
    assert engine.submit(ask("", on=snapshot, max_tokens=2)).result(WAIT_S).token_ids


def test_task_may_train_through_the_model(engine: EngineThread):
    """Tasks run outside inference mode: a tensor made inside it could not be trained through."""

    def task(made: LoadedModel, *_: Any) -> bool:
        weight = torch.ones(2, requires_grad=True)
        (weight * 2).sum().backward()
        return weight.grad is not None and not torch.is_inference_mode_enabled()

    assert engine.call(task).result(WAIT_S)
