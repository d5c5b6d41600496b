"""Every generation against its equations in float64, against the `rwkv` package, and against itself."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest
import torch

from chatrwkv.engine.state import Scratch
from tests import checkpoints
from tests.checkpoints import Size
from tests.engine.generations import (
    CASES,
    canonical,
    ids_of,
    model_from,
    model_of,
    module_of,
    noisy_state,
    spec_of,
    state_error,
    step_all,
    weights_type,
    worst,
)
from tests.reference import witness

if TYPE_CHECKING:
    from pathlib import Path

T = 70
SIZES = {
    "heads of 16": Size(3, 48, 16, 50),
    "one head of 64": Size(2, 64, 64, 50),
    "two heads of 64": Size(2, 128, 64, 50),
    "a head of 128, narrow ffn": Size(2, 128, 128, 50, 96),
}
every_generation = pytest.mark.parametrize("name", CASES)
FEW = ("heads of 16", "a head of 128, narrow ffn")
PAIRS = [(name, size) for name, case in CASES.items() for size in (FEW if case.borrows else SIZES)]


def worst_state(a, b):
    a, b = canonical(a.tensors), canonical(b.tensors)
    return max(worst(a[key], b[key]) for key in a)


@pytest.mark.parametrize(("name", "size"), PAIRS)
def test_step_and_scan_follow_the_equations(name, size):
    """Guards every formula, order and constant, and the orientation of the state."""
    case = CASES[name]
    tensors = case.make(SIZES[size], seed=3)
    assert spec_of(tensors).generation is case.generation
    reference, model, ids = case.reference(tensors), model_from(tensors), ids_of(T)
    want = np.stack([reference.step(token_id) for token_id in ids])
    logit_range = float(want.max() - want.min())
    stepped, after_steps = step_all(model, ids)
    scratch = model.blank().thaw()
    scanned = model.scan([ids], scratch, all_logits=True)[0]
    assert worst(stepped, want) <= 1e-5 * logit_range
    assert worst(scanned, want) <= 1e-4
    for after in (scratch, after_steps):
        assert state_error(after, reference) <= 1e-5


@every_generation
def test_states_agree_after_300_tokens(name):
    """Errors must not add up over many chunks or steps."""
    tensors = CASES[name].make(Size(2, 64, 32, 50), seed=5)
    reference, model, ids = CASES[name].reference(tensors), model_from(tensors), ids_of(300)
    want = np.stack([reference.step(token_id) for token_id in ids])
    scratch = model.blank().thaw()
    scanned = torch.cat(
        [model.scan([ids[at : at + 128]], scratch, all_logits=True)[0] for at in (0, 128, 256)]
    )
    stepped, after_steps = step_all(model, ids)
    assert worst(scanned, want) <= 1e-4
    assert worst(stepped, want) <= 1e-4
    assert state_error(scratch, reference) <= 1e-4
    assert state_error(after_steps, reference) <= 1e-4


@pytest.mark.parametrize("is_v7", [False, True])
def test_the_package_agrees(is_v7, tmp_path: Path):
    """A reference written by the same hand can share a misreading; the package cannot."""
    nets = {
        f"{i}-{name}".replace(" ", "-"): case.make(
            Size(2, c, c // 2, 50), seed=i
        )  # the package cannot load one head of 5.0
        for name, case in CASES.items()
        for i, c in enumerate((64, 128))
        if (name == "7") == is_v7 and name[0] in "4567" and name[1:2] in ("", ".")
    }
    ids = ids_of(T)
    for name, said in witness.ask(tmp_path, nets, ids, is_v7=is_v7).items():
        model = model_from(nets[name])
        stepped, scratch = step_all(model, ids)
        scanned = model.scan([ids], model.blank().thaw(), all_logits=True)[0]
        assert worst(stepped, said.step) <= 1e-4, name
        assert worst(scanned, said.scan) <= 1e-4, name
        if "wkv" in scratch.tensors:
            matrix = np.stack(said.state[1::3])
            matrix = matrix if is_v7 else matrix.swapaxes(-1, -2)
            assert worst(scratch.tensors["wkv"][:, 0], matrix) <= 1e-4, name


def test_the_package_agrees_on_deep_embed(tmp_path: Path):
    """Its DeepEmbed mode is the only other code there is for 7a; it wants ranks of 32."""
    nets = {f"net-{c}": checkpoints.rwkv7a(Size(2, c, c // 2, 50), c, rank=32) for c in (64, 128)}
    ids = ids_of(T)
    for name, said in witness.ask(tmp_path, nets, ids, is_v7=True, is_deep_embed=True).items():
        model = model_from(nets[name])
        stepped, scratch = step_all(model, ids)
        assert worst(stepped, said.step) <= 1e-4, name
        assert worst(model.scan([ids], model.blank().thaw(), all_logits=True)[0], said.scan) <= 1e-4, name
        assert worst(scratch.tensors["wkv"][:, 0], np.stack(said.state[1::3])) <= 1e-4, name


def test_the_hybrid_has_no_use_for_ln0():
    """Its demo enters embedding rows as stored, even if the file has the tensors."""
    made, ids = CASES["8-rc00-hybrid"].make(), ids_of(T)
    with_ln0 = made | {f"blocks.0.ln0.{part}": torch.full((64,), 3.0) for part in ("weight", "bias")}
    one, two = (model_from(tensors) for tensors in (made, with_ln0))
    assert torch.equal(one.scan([ids], one.blank().thaw()), two.scan([ids], two.blank().thaw()))


@every_generation
def test_every_split_into_two_scans_is_one_scan(name):
    """A chunk border, a partial chunk or a shift that is lost between calls shows up at one of the splits."""
    model, ids = model_of(name), ids_of(T)
    whole_scratch = model.blank().thaw()
    whole = model.scan([ids], whole_scratch, all_logits=True)[0]
    for cut in range(1, T, 7 if CASES[name].borrows else 1):
        scratch = model.blank().thaw()
        first = model.scan([ids[:cut]], scratch, all_logits=True)[0]
        second = model.scan([ids[cut:]], scratch, all_logits=True)[0]
        assert worst(torch.cat([first, second]), whole) <= 2e-5, cut
        assert worst_state(scratch, whole_scratch) <= 5e-5, cut


@every_generation
def test_last_logits_are_the_last_of_all_logits(name):
    """Prefill asks for the last row only; with ragged rows the last column is padding."""
    model, rows = model_of(name), [ids_of(5), ids_of(70), ids_of(33)]
    last = model.scan(rows, Scratch.stack([model.blank()] * 3))
    every = model.scan(rows, Scratch.stack([model.blank()] * 3), all_logits=True)
    assert [len(row) for row in every] == [5, 70, 33]
    assert worst(last, torch.stack([row[-1] for row in every])) <= 1e-5


@every_generation
def test_ragged_rows_are_as_if_alone(name):
    """Padding must not decay, write or shift; a row must not see its neighbours."""
    model = model_of(name)
    rows = [ids_of(n, seed=n) for n in (1, 7, 32, 33, 70)]
    scratch = Scratch.stack([model.blank()] * len(rows))
    assert model.step([row[0] for row in rows], scratch).shape == (len(rows), 50)  # rows do not start blank
    every = model.scan(rows, scratch, all_logits=True)
    after = [scratch.freeze(i) for i in range(len(rows))]
    together = model.step([row[-1] for row in rows], scratch)
    for i, row in enumerate(rows):
        alone = model.blank().thaw()
        model.step([row[0]], alone)
        assert worst(model.scan([row], alone, all_logits=True)[0], every[i]) <= 1e-5
        assert worst_state(after[i].thaw(), alone) <= 1e-5
        assert worst(model.step([row[-1]], alone)[0], together[i]) <= 1e-5


@every_generation
def test_an_empty_row_is_refused(name):
    """A row without a token has no logits to return; silence would hand out another row's."""
    model = model_of(name)
    with pytest.raises(ValueError, match="needs a token"):
        model.scan([[1], []], Scratch.stack([model.blank()] * 2))


@every_generation
def test_folding_ln0_changes_nothing_but_the_work(name):
    """Training runs unfolded, inference folded: the same numbers must come out."""
    tensors, module = CASES[name].make(), module_of(name)
    spec, ids = spec_of(tensors), torch.tensor([ids_of(T)])
    weights = weights_type(name).build(tensors, spec)
    blank = model_from(tensors).blank_rows(1)
    plain, _ = module.forward(weights, ids, blank)
    folded, _ = module.forward(weights.folded(), ids, blank)
    assert worst(plain, folded) <= 1e-5
    stored = tensors["tok_emb.weight" if name[0] == "1" else "emb.weight"]
    assert weights.emb.data_ptr() == stored.data_ptr()


@every_generation
def test_gradients_reach_every_weight_and_the_state(name):
    """A detach, an in-place write or a forgotten term would leave a weight untrained without a word."""
    made = CASES[name].make(Size(2, 32, 16, 20))
    tensors = {key: tensor.double().requires_grad_() for key, tensor in made.items()}
    spec, module, build = spec_of(tensors), module_of(name), weights_type(name).build
    state = {
        key: tensor.double().requires_grad_() if tensor.is_floating_point() else tensor
        for key, tensor in noisy_state(model_from(made), 2).items()
    }
    leaves = {key: leaf for key, leaf in (tensors | state).items() if leaf.requires_grad}
    leaves = {key: leaf for key, leaf in leaves.items() if not key.endswith("n_head")}  # a number of heads
    n = 9 if CASES[name].borrows else 40  # 32 tokens are a chunk
    ids, lengths = torch.tensor([ids_of(n, 1, 20), ids_of(n, 2, 20)]), torch.tensor([n, n - 4])

    def loss():
        logits, after = module.forward(build(tensors, spec), ids, state, lengths)
        return logits[:, : n - 4].square().mean() + sum(
            t.square().mean() for t in after.values() if t.is_floating_point()
        )

    loss().backward()
    grads = {}
    for key, leaf in leaves.items():
        assert leaf.grad is not None, key
        assert leaf.grad.abs().max() > 0, key
        assert torch.isfinite(leaf.grad).all(), key
        grads[key] = leaf.grad
    for group in [leaves] if CASES[name].borrows else [{key: leaf} for key, leaf in leaves.items()]:
        noise = torch.Generator().manual_seed(4)
        moves = {key: torch.randn(leaf.shape, generator=noise).double() for key, leaf in group.items()}
        slope = sum(float((move * grads[key]).sum()) for key, move in moves.items())
        values = []
        for step in (1e-5, -2e-5):
            for key, move in moves.items():
                leaves[key].detach().add_(move, alpha=step)
            values.append(float(loss().detach()))
        for key, move in moves.items():
            leaves[key].detach().add_(move, alpha=1e-5)
        numerical = (values[0] - values[1]) / 2e-5
        assert numerical == pytest.approx(slope, rel=1e-4, abs=1e-6), list(group)[:3]


@every_generation
def test_forward_writes_to_nothing_it_was_given(name):
    """The trainer keeps the state of the last batch; the vault shares one state among forks."""
    tensors, module = CASES[name].make(), module_of(name)
    spec, ids = spec_of(tensors), torch.tensor([ids_of(T)])
    state = noisy_state(model_from(tensors))
    copies = {key: tensor.clone() for key, tensor in (tensors | state).items()}
    module.forward(weights_type(name).build(tensors, spec), ids, state)
    assert all(torch.equal(tensor, copies[key]) for key, tensor in (tensors | state).items())


@every_generation
def test_forks_leave_the_parent_untouched(name):
    """`step` writes in place; it may reach the scratch only."""
    model = model_of(name)
    scratch = model.blank().thaw()
    model.scan([ids_of(9)], scratch)
    parent = scratch.freeze(0)
    before = parent.digest()
    for token_id in range(10):
        fork = parent.thaw()
        model.step([token_id], fork)
        model.scan([[token_id, 3]], fork)
    assert parent.digest() == before


@every_generation
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_low_precision_stays_near(name, dtype):
    """bf16 keeps 8 bits: logits of size 4 within 0.25; fp16 eight times closer. States stay float32."""
    from chatrwkv.engine.weights import prepare

    tensors, ids = CASES[name].make(Size(2, 128, 64, 50)), ids_of(T)
    low = {key: prepare(key, tensor, torch.device("cpu"), dtype) for key, tensor in tensors.items()}
    exact, rough = model_from(tensors), model_from(low)
    scratch = rough.blank().thaw()
    want = exact.scan([ids], exact.blank().thaw(), all_logits=True)[0]
    got = rough.scan([ids], scratch, all_logits=True)[0]
    assert got.dtype == torch.float32
    assert {t.dtype for t in scratch.tensors.values() if t.is_floating_point()} == {torch.float32}
    limit = 0.25 if dtype == torch.bfloat16 else 0.03
    assert worst(got, want) <= limit
    assert worst(step_all(rough, ids)[0], want) <= limit


@every_generation
def test_the_layout_for_decode_keeps_the_numbers(name):
    """`prepare` turns matrices over in memory; their shape and meaning must stay."""
    from chatrwkv.engine.weights import prepare

    tensors, ids = CASES[name].make(), ids_of(T)
    laid = {key: prepare(key, tensor, torch.device("cpu"), torch.float32) for key, tensor in tensors.items()}
    assert all(torch.equal(laid[key], tensor) for key, tensor in tensors.items())
    assert not laid["head.weight"].is_contiguous() or laid["head.weight"].shape[0] < 64
    assert worst(step_all(model_from(laid), ids)[0], step_all(model_from(tensors), ids)[0]) <= 1e-5
