"""Settings that leave no trace in a checkpoint, from the file beside it."""

from __future__ import annotations

import json

import pytest
import torch

from chatrwkv.cli import main
from chatrwkv.engine.model import load_model
from chatrwkv.engine.options import read_options
from chatrwkv.engine.spec import detect
from chatrwkv.errors import BadValue, UnknownKey
from tests import checkpoints
from tests.checkpoints import Size
from tests.reference.rwkv5 import Reference6
from tests.reference.rwkv23 import Reference23


@pytest.fixture
def tensors():
    return checkpoints.rwkv23(Size(2, 32, 16, 256), is_v2=True, one_mix=True, copy_width=16)


@pytest.fixture
def file(tmp_path, tensors):
    torch.save(tensors, tmp_path / "early.pth")
    return tmp_path / "early.pth"


def logits_of(model, ids):
    scratch = model.blank().thaw()
    return model.scan([ids], scratch, all_logits=True)[0]


def test_a_constant_beside_the_file_reaches_the_equations(file, tensors):
    """K_EPS and the reach of the copy head decide the first tokens and the long context."""
    file.with_suffix(".toml").write_text("k_eps = 1e-4\nctx_len = 5\n")
    loaded, ids = load_model(file), [5, 9, 9, 5, 200, 31, 5, 9]
    assert loaded.info.options == {"tokenizer": "auto", "k_eps": "0.0001", "ctx_len": "5"}
    reference = Reference23(tensors, k_eps=1e-4, ctx_len=5)
    want = torch.tensor([reference.step(token_id).tolist() for token_id in ids])
    assert (logits_of(loaded.model, ids) - want).abs().max() <= 1e-4
    file.with_suffix(".toml").unlink()
    assert (logits_of(load_model(file).model, ids) - want).abs().max() > 1e-3


def test_the_k_clamp_of_6_0_reaches_its_equations(tmp_path):
    """Weights trained with the fix against spikes say nonsense without it, and the other way round."""
    tensors = checkpoints.rwkv6(Size(2, 64, 32, 256))
    torch.save(tensors, tmp_path / "fixed.pth")
    (tmp_path / "fixed.toml").write_text("k_clamp = true\n")
    loaded, ids = load_model(tmp_path / "fixed.pth"), [5, 9, 9, 5, 200, 31, 5, 9]
    assert loaded.info.options["k_clamp"] == "true"
    reference, other = Reference6(tensors, k_clamp=True), Reference6(tensors)
    want = torch.tensor([reference.step(token_id).tolist() for token_id in ids])
    assert (logits_of(loaded.model, ids) - want).abs().max() <= 1e-4
    assert abs(other.step(5)[0] - float(want[0, 0])) > 1e-3


def test_another_constant_is_another_model_to_its_states(file):
    """A state read with one constant would go on with another, and nobody would see why."""
    usual = load_model(file).info.fingerprint
    file.with_suffix(".toml").write_text("ctx_len = 1024\n")
    assert load_model(file).info.fingerprint == usual
    file.with_suffix(".toml").write_text("ctx_len = 77\n")
    assert load_model(file).info.fingerprint != usual


def test_the_tokenizer_can_be_chosen(file):
    """256 ids are bytes by the rule; a vocabulary of characters may have as many."""
    assert load_model(file).tokenizer.encode("a") == [97]
    file.with_suffix(".toml").write_text('tokenizer = "characters"\n')
    (file.parent / "vocab.json").write_text('{"1": "a", "2": "b"}')
    assert load_model(file).tokenizer.encode("ab") == [1, 2]


@pytest.mark.parametrize(
    ("text", "error", "said"),
    [
        ("k_clamp = true", UnknownKey, "'k_clamp'.*RWKV-2"),
        ("k_eps = 1", BadValue, "k_eps to 1"),
        ("k_eps = nan", BadValue, "k_eps to nan"),
        ("ctx_len = true", BadValue, "ctx_len to True"),
        ("ctx_len = [", BadValue, "cannot be read"),
        ('tokenizer = ["x"]', BadValue, "tokenizer"),
        ('tokenizer = "gpt"', BadValue, "gpt"),
    ],
)
def test_what_cannot_be_used_is_refused_by_name(file, text, error, said):
    """A misspelt option that is ignored would be looked for in the model for hours."""
    file.with_suffix(".toml").write_text(text)
    with pytest.raises(error, match=said) as caught:
        load_model(file)
    assert caught.value.hint


def test_the_usual_eps_depends_on_the_vocabulary(tmp_path):
    """1e-16 for characters, 1e-8 for the Pile; v3 is Pile."""
    for is_v2, n_vocab, want in ((True, 300, 1e-16), (True, 50277, 1e-8), (False, 300, 1e-8)):
        made = checkpoints.rwkv23(Size(2, 8, 8, n_vocab), is_v2=is_v2)
        spec = detect({name: tuple(tensor.shape) for name, tensor in made.items()})
        assert read_options(tmp_path / "x.pth", spec)["k_eps"] == want


def test_models_info_shows_the_options_and_the_context(file, capsys):
    """Whoever wonders why a model talks differently looks there first."""
    file.with_suffix(".toml").write_text("k_eps = 1e-9\n")
    assert main(["models", "info", str(file), "--json"]) == 0
    said = json.loads(capsys.readouterr().out)
    assert said["options"] == {"tokenizer": "auto", "k_eps": "1e-09", "ctx_len": "1024"}
    assert said["fingerprint"] == load_model(file).info.fingerprint
    torch.save(checkpoints.rwkv1(Size(2, 32, 16, 256), ctx_len=16), file)
    file.with_suffix(".toml").write_text('activation = "gelu"\n')
    assert main(["models", "info", str(file)]) == 0
    said = capsys.readouterr().out
    assert "activation gelu, k_clamp both" in said
    assert "16" in next(line for line in said.splitlines() if line.startswith("context"))
