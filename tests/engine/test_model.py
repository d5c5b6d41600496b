"""Loading: what is refused before the weights are read, what is checked while they are."""

from __future__ import annotations

import subprocess
import sys
from typing import Any

import pytest
import torch

from chatrwkv.engine import model as loading
from chatrwkv.engine import reading
from chatrwkv.engine.model import load_model
from chatrwkv.engine.placement import choose_device, choose_dtype
from chatrwkv.engine.reading import LoadCancelled
from chatrwkv.engine.spec import Generation
from chatrwkv.engine.state import Snapshot, State
from chatrwkv.errors import (
    BadValue,
    ModelError,
    ModelFormatError,
    ModelNotFound,
    ModelTooLarge,
    ModelUnsupported,
    StateMismatch,
)
from tests import checkpoints
from tests.checkpoints import Size
from tests.engine.generations import CASES


def vocabulary(n):
    """A World-format file of `n` ids: the 256 bytes, then words."""
    rows = [f"{i + 1} {bytes([i])!r} 1" for i in range(256)]
    rows += [f"{i} 'word{i}' {len(f'word{i}')}" for i in range(257, n)]
    return "\n".join(rows) + "\n"


@pytest.fixture
def tensors():
    return checkpoints.rwkv7(Size(2, 64, 64, 300))


@pytest.fixture
def folder(tmp_path, tensors):
    torch.save(tensors, tmp_path / "rwkv7-g1-tiny.pth")
    (tmp_path / "vocab.txt").write_text(vocabulary(290))
    return tmp_path


def test_a_file_and_its_folder_load_the_same_model(folder):
    """The models folder lists both kinds."""
    one, two = load_model(folder / "rwkv7-g1-tiny.pth"), load_model(folder)
    assert one.info.fingerprint == two.info.fingerprint
    assert (one.name, two.name) == ("rwkv7-g1-tiny", folder.name)
    assert one.info.card_family == "g1"
    assert (one.device, one.dtype, one.info.generation) == ("cpu", "fp32", "7")
    assert one.info.state_bytes == one.model.blank().n_bytes
    assert one.banned == frozenset(range(290, 300))
    assert one.tokenizer.encode("word257") == [257]


def test_the_vocabulary_named_like_the_model_wins(folder):
    """Two models in one folder may have vocabularies of their own."""
    (folder / "rwkv7-g1-tiny.vocab.txt").write_text(vocabulary(300))
    assert load_model(folder / "rwkv7-g1-tiny.pth").banned == frozenset()


def test_progress_counts_every_byte_and_ends_full(folder, tensors):
    """A bar that stops at 97 % looks like a hang."""
    seen = []
    load_model(folder, progress=lambda done, total: seen.append((done, total)))
    assert seen[-1][0] == seen[-1][1] == sum(t.nbytes for t in tensors.values())
    assert seen == sorted(seen)


def test_a_load_can_be_cancelled(folder):
    """A model of 15 GB chosen by mistake."""
    calls = iter(range(100))
    with pytest.raises(LoadCancelled):
        load_model(folder, cancelled=lambda: next(calls) == 5)


@pytest.mark.parametrize("value", [float("nan"), float("inf"), float("-inf")])
def test_a_value_that_is_no_number_is_found_at_load_with_its_tensor(folder, tensors, value):
    """One NaN makes every logit NaN, which would surface as a sampling error far from its cause."""
    tensors["blocks.1.ffn.key.weight"][3, 5] = value
    torch.save(tensors, folder / "rwkv7-g1-tiny.pth")
    with pytest.raises(ModelFormatError, match=r"blocks\.1\.ffn\.key\.weight.*NaN or infinite"):
        load_model(folder)


def test_every_missing_or_misshapen_tensor_is_named_before_any_is_read(folder, tensors):
    for name in [n for n in tensors if n.startswith(("blocks.1", "ln_out", "emb", "head", "blocks.0.ln0"))]:
        for change in (None, torch.zeros(3, 7)):
            broken = {n: t for n, t in tensors.items() if n != name}
            if change is not None:
                broken[name] = change
            torch.save(broken, folder / "rwkv7-g1-tiny.pth")
            with pytest.raises(ModelError) as caught:
                load_model(folder, progress=lambda done, total: pytest.fail("a tensor was read"))
            detected_elsewhere = name in {"head.weight", "blocks.1.att.key.weight"}
            assert name in caught.value.message or detected_elsewhere, name


def test_refusing_a_large_file_costs_no_memory(tmp_path):
    """200 MB of weights with one tensor missing: nothing of it may be copied."""
    tensors = checkpoints.rwkv7(Size(2, 512, 64, 45_000))
    del tensors["blocks.1.att.r_k"]
    torch.save(tensors, tmp_path / "a.pth")
    code = (
        "import resource, pathlib, chatrwkv.engine.model as m, chatrwkv.engine.models.rwkv7\n"
        "from chatrwkv.errors import ModelFormatError\n"
        "before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss\n"
        f"try: m.load_model(pathlib.Path({str(tmp_path / 'a.pth')!r}))\n"
        "except ModelFormatError as error: assert 'blocks.1.att.r_k' in error.message\n"
        "print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)"
    )
    done = subprocess.run([sys.executable, "-c", code], check=True, timeout=60, capture_output=True)
    unit = 1 if sys.platform == "darwin" else 1024
    assert int(done.stdout) * unit < 100e6


def test_integer_weights_are_refused_by_name(folder, tensors):
    """Quantised files look like checkpoints until the values are used."""
    tensors["blocks.0.att.key.weight"] = tensors["blocks.0.att.key.weight"].to(torch.uint8)
    torch.save(tensors, folder / "rwkv7-g1-tiny.pth")
    with pytest.raises(ModelFormatError, match=r"blocks\.0\.att\.key\.weight.*uint8"):
        load_model(folder)


def test_what_does_not_fit_is_refused_with_both_numbers(folder, monkeypatch):
    """The kernel would kill the program, with every open chat, instead."""
    monkeypatch.setattr(reading, "free_bytes", lambda device: 100_000_000)
    with pytest.raises(ModelTooLarge, match=r"needs 2\d\d MB in fp32 on cpu, but 100 MB are free") as caught:
        load_model(folder)
    assert "bf16" in caught.value.hint


def test_bf16_halves_the_matrices_only(folder):
    """Vectors and states stay float32: the decay alone would lose the long memory."""
    model: Any = load_model(folder, dtype="bf16").model
    assert model.weights.head.dtype == torch.bfloat16
    assert model.weights.layers[0].att.k_k.dtype == torch.float32
    assert model.blank().tensors["wkv"].dtype == torch.float32


def test_the_loaded_weights_outlive_the_file(folder):
    """A view of the mapped file would crash the process when the file is replaced or truncated."""
    loaded = load_model(folder)
    want = loaded.model.step([1], loaded.model.blank().thaw())
    with (folder / "rwkv7-g1-tiny.pth").open("r+b") as file:
        file.truncate(0)
    assert torch.equal(loaded.model.step([1], loaded.model.blank().thaw()), want)


def test_a_generation_without_code_is_refused_by_name(folder, monkeypatch):
    """The user learns what the file is, not that a key is missing."""
    torch.save(checkpoints.rwkv7a(Size(2, 64, 64, 300)), folder / "rwkv7-g1-tiny.pth")
    monkeypatch.delitem(loading._FAMILIES, Generation.V7A)
    with pytest.raises(ModelUnsupported, match="RWKV-7a model, which is not supported yet") as caught:
        load_model(folder)
    assert "RWKV-5.2" in caught.value.hint


def test_every_supported_generation_loads(folder):
    """The registry names modules and classes by string; a slip shows only here."""
    for name, case in CASES.items():
        torch.save(case.make(Size(2, 64, 32, 300)), folder / "rwkv7-g1-tiny.pth")
        loaded = load_model(folder)
        assert loaded.info.generation == case.generation.value, name
        assert loaded.model.step([5], loaded.model.blank().thaw()).shape == (1, 300)


def test_a_vocabulary_that_does_not_fit_is_refused(folder):
    """Ids beyond the head would fail in the middle of a prompt."""
    (folder / "vocab.txt").unlink()
    with pytest.raises(ModelUnsupported, match="vocabulary of 300"):
        load_model(folder)
    (folder / "vocab.txt").write_text(vocabulary(301))
    with pytest.raises(ModelFormatError, match="301 ids, the model only 300"):
        load_model(folder)


def test_a_folder_with_no_or_two_models_is_refused(tmp_path, folder):
    """Which of two is meant cannot be guessed."""
    torch.save({}, folder / "other.pth")
    with pytest.raises(ModelNotFound, match="2 models"):
        load_model(folder)
    (tmp_path / "empty").mkdir()
    with pytest.raises(ModelNotFound, match="no model"):
        load_model(tmp_path / "empty")


def test_device_and_precision_are_checked_before_anything_is_read():
    """`--device cdua` must not load fifteen gigabytes first."""
    cpu = torch.device("cpu")
    assert choose_dtype("auto", cpu, 190_000_000) == "fp32"
    assert choose_dtype("auto", cpu, 1_500_000_000) == "bf16"
    assert choose_dtype("auto", torch.device("cuda"), 1) == "fp16"
    for device in ("cdua", "cuda:99", "cuda:x", "mps"):
        with pytest.raises(BadValue):
            choose_device(device)
    with pytest.raises(BadValue):
        choose_dtype("fp8", cpu, 1)


def test_only_a_state_that_fits_is_adopted(folder):
    """A state of another shape would fail in the middle of a reply."""
    loaded = load_model(folder)
    blank = loaded.model.blank()
    good = Snapshot(blank, torch.zeros(300), 0, "00" * 32, loaded.info.fingerprint)
    assert loaded.adopt(good) is good
    broken = {name: t.clone() for name, t in blank.tensors.items()}
    broken["wkv"][0, 0, 0, 0] = float("nan")
    for state, n_vocab, fingerprint in (
        (blank, 300, "f" * 64),
        (blank, 299, good.fingerprint),
        (State({"wkv": blank.tensors["wkv"]}), 300, good.fingerprint),
        (State(broken), 300, good.fingerprint),
    ):
        with pytest.raises(StateMismatch):
            loaded.adopt(Snapshot(state, torch.zeros(n_vocab), 0, "00" * 32, fingerprint))
