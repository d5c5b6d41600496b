"""RWKV-7 against its equations in float64, against the `rwkv` package, and against itself."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest
import torch

from chatrwkv.engine.models import rwkv7
from chatrwkv.engine.models.rwkv7 import RWKV7, Weights7, forward
from chatrwkv.engine.spec import detect
from chatrwkv.engine.state import Scratch
from tests import checkpoints
from tests.checkpoints import Size
from tests.reference import witness
from tests.reference.rwkv7 import Reference7

if TYPE_CHECKING:
    from pathlib import Path

T = 70
SIZES = {
    "one head of 64": Size(2, 64, 64, 50),
    "two heads of 64": Size(2, 128, 64, 50),
    "heads of 16": Size(3, 48, 16, 50),
    "a head of 128, narrow ffn": Size(2, 128, 128, 50, 96),
}


def spec_of(tensors):
    return detect({name: tuple(tensor.shape) for name, tensor in tensors.items()})


def model_of(size=SIZES["two heads of 64"], **options):
    tensors = checkpoints.rwkv7(size, **options)
    return RWKV7(spec_of(tensors), tensors)


def ids_of(n=T, seed=1, n_vocab=50):
    return torch.randint(0, n_vocab, (n,), generator=torch.Generator().manual_seed(seed)).tolist()


def step_all(model, ids, scratch=None):
    scratch = scratch or model.blank().thaw()
    return torch.stack([model.step([token_id], scratch)[0] for token_id in ids]), scratch


def worst(a, b):
    return float((torch.as_tensor(a) - torch.as_tensor(b)).abs().max())


def worst_state(a, b):
    return max(worst(a.tensors[name], b.tensors[name]) for name in a.tensors)


@pytest.mark.parametrize("name", SIZES)
def test_step_and_scan_follow_the_equations(name):
    """Guards every formula: kk before k_a, bonus after all changes, mixes, eps, orientation of S."""
    size = SIZES[name]
    tensors = checkpoints.rwkv7(size, seed=3, v_in_block_0=size.n_layer == 3)
    reference, model, ids = Reference7(tensors), RWKV7(spec_of(tensors), tensors), ids_of()
    want = np.stack([reference.step(token_id) for token_id in ids])
    stepped, after_steps = step_all(model, ids)
    scratch = model.blank().thaw()
    scanned = model.scan([ids], scratch, all_logits=True)[0]
    assert worst(stepped, want) <= 1e-4
    assert worst(scanned, want) <= 1e-4
    for after in (scratch, after_steps):
        assert worst(after.tensors["wkv"][:, 0], np.stack([s[1] for s in reference.state])) <= 1e-4
        assert worst(after.tensors["att_shift"][:, 0], np.stack([s[0] for s in reference.state])) <= 1e-4
        assert worst(after.tensors["ffn_shift"][:, 0], np.stack([s[2] for s in reference.state])) <= 1e-4


def test_the_package_agrees(tmp_path: Path):
    """A reference written by the same hand can share a misreading; the package cannot."""
    nets = {
        f"net{i}": checkpoints.rwkv7(Size(2, c, 64, 50), seed=i, v_in_block_0=bool(i))
        for i, c in ((0, 64), (1, 128))
    }
    ids = ids_of()
    for name, said in witness.ask(tmp_path, nets, ids, is_v7=True).items():
        model = RWKV7(spec_of(nets[name]), nets[name])
        stepped, scratch = step_all(model, ids)
        scanned = model.scan([ids], model.blank().thaw(), all_logits=True)[0]
        assert worst(stepped, said.step) <= 1e-4
        assert worst(scanned, said.scan) <= 1e-4
        assert worst(scratch.tensors["wkv"][:, 0], np.stack(said.state[1::3])) <= 1e-4


def test_every_split_into_two_scans_is_one_scan():
    """A chunk border, a partial chunk or a shift that is lost between calls shows up at one of the splits."""
    model, ids = model_of(), ids_of()
    whole_scratch = model.blank().thaw()
    whole = model.scan([ids], whole_scratch, all_logits=True)[0]
    for cut in range(1, T):
        scratch = model.blank().thaw()
        first = model.scan([ids[:cut]], scratch, all_logits=True)[0]
        second = model.scan([ids[cut:]], scratch, all_logits=True)[0]
        assert worst(torch.cat([first, second]), whole) <= 2e-5, cut
        assert worst_state(scratch, whole_scratch) <= 2e-5, cut


def test_last_logits_are_the_last_of_all_logits():
    """Prefill asks for the last row only; with ragged rows the last column is padding."""
    model, rows = model_of(), [ids_of(5), ids_of(70), ids_of(33)]
    last = model.scan(rows, Scratch.stack([model.blank()] * 3))
    every = model.scan(rows, Scratch.stack([model.blank()] * 3), all_logits=True)
    assert [len(row) for row in every] == [5, 70, 33]
    assert worst(last, torch.stack([row[-1] for row in every])) <= 1e-5


def test_ragged_rows_are_as_if_alone():
    """Padding must not decay, write or shift; a row must not see its neighbours."""
    model = model_of()
    rows = [ids_of(n, seed=n) for n in (1, 7, 32, 33, 70)]
    scratch = Scratch.stack([model.blank()] * len(rows))
    step_all_rows = model.step([row[0] for row in rows], scratch)  # rows do not start blank
    assert step_all_rows.shape == (len(rows), 50)
    every = model.scan(rows, scratch, all_logits=True)
    together = model.step([row[-1] for row in rows], scratch)
    for i, row in enumerate(rows):
        alone = model.blank().thaw()
        model.step([row[0]], alone)
        assert worst(model.scan([row], alone, all_logits=True)[0], every[i]) <= 1e-5
        assert worst(model.step([row[-1]], alone)[0], together[i]) <= 1e-5
        assert worst_state(Scratch.stack([scratch.freeze(i)]), alone) <= 1e-5


def test_an_empty_row_is_refused():
    """A row without a token has no logits to return; silence would hand out another row's."""
    model = model_of()
    with pytest.raises(ValueError, match="needs a token"):
        model.scan([[1], []], Scratch.stack([model.blank()] * 2))


def test_folding_ln0_changes_nothing_but_the_work():
    """Training runs unfolded, inference folded: the same numbers must come out."""
    tensors = checkpoints.rwkv7()
    spec, ids = spec_of(tensors), torch.tensor([ids_of()])
    weights = Weights7.build(tensors, spec)
    plain, _ = forward(weights, ids, rwkv7.blank(spec, 1))
    folded, _ = forward(weights.folded(), ids, rwkv7.blank(spec, 1))
    assert worst(plain, folded) <= 1e-5
    assert weights.emb.data_ptr() == tensors["emb.weight"].data_ptr()


def test_gradients_reach_every_weight_and_the_state():
    """A detach, an in-place write or a forgotten term would leave a weight untrained without a word."""
    tensors = {
        name: t.double().requires_grad_() for name, t in checkpoints.rwkv7(Size(2, 32, 16, 20)).items()
    }
    spec = spec_of(tensors)
    state = {name: t.double().normal_().requires_grad_() for name, t in rwkv7.blank(spec, 2).items()}
    ids = torch.tensor([ids_of(40, 1, 20), ids_of(40, 2, 20)])
    lengths = torch.tensor([40, 23])

    def loss():
        logits, after = forward(Weights7.build(tensors, spec), ids, state, lengths)
        return logits[:, :23].square().mean() + sum(t.square().mean() for t in after.values())

    loss().backward()
    for name, leaf in (tensors | state).items():
        assert leaf.grad is not None, name
        assert leaf.grad.abs().max() > 0, name
        assert torch.isfinite(leaf.grad).all(), name
        at = int(leaf.grad.abs().argmax())
        flat, step = leaf.detach().view(-1), 1e-5
        before = float(flat[at])
        values = []
        for moved in (before + step, before - step):
            flat[at] = moved
            values.append(float(loss().detach()))
        flat[at] = before
        numerical = (values[0] - values[1]) / (2 * step)
        assert numerical == pytest.approx(float(leaf.grad.view(-1)[at]), rel=1e-5, abs=1e-9), name


def test_forward_writes_to_nothing_it_was_given():
    """The trainer keeps the state of the last batch; the vault shares one state among forks."""
    tensors = checkpoints.rwkv7()
    spec, ids = spec_of(tensors), torch.tensor([ids_of()])
    state = {name: t.normal_() for name, t in rwkv7.blank(spec, 1).items()}
    copies = {name: t.clone() for name, t in (tensors | state).items()}
    forward(Weights7.build(tensors, spec), ids, state)
    assert all(torch.equal(t, copies[name]) for name, t in (tensors | state).items())


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_low_precision_stays_near(dtype):
    """bf16 keeps 8 bits: logits of size 4 within 0.15, state within 3 %; fp16 ten times closer."""
    tensors = checkpoints.rwkv7(SIZES["two heads of 64"])
    spec, ids = spec_of(tensors), ids_of()
    low = {n: t.to(dtype) if sum(s != 1 for s in t.shape) > 1 else t for n, t in tensors.items()}
    exact, rough = RWKV7(spec, tensors), RWKV7(spec, low)
    a, b = exact.blank().thaw(), rough.blank().thaw()
    want, got = exact.scan([ids], a, all_logits=True)[0], rough.scan([ids], b, all_logits=True)[0]
    assert got.dtype == torch.float32
    assert b.tensors["wkv"].dtype == torch.float32
    limit = 0.15 if dtype == torch.bfloat16 else 0.015
    assert worst(got, want) <= limit
    assert worst(step_all(rough, ids)[0], want) <= limit


def test_a_long_context_does_not_drift():
    """Errors of the chunked form must not add up over many chunks: 2,000 tokens against the token loop."""
    model = model_of(Size(2, 64, 64, 50), seed=5)
    ids = ids_of(2000)
    a, b = model.blank().thaw(), model.blank().thaw()
    for at in range(0, 2000, 256):
        logits = model.scan([ids[at : at + 256]], a)
    stepped, _ = step_all(model, ids, b)
    assert worst(logits[0], stepped[-1]) <= 1e-4
    assert worst_state(a, b) <= 1e-4
