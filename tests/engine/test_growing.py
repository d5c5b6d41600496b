"""States that grow with the context: rows of any length share a scratch, and every cut gives the same."""

from __future__ import annotations

import weakref
from functools import partial

import numpy as np
import pytest
import torch

from chatrwkv.engine.model import _family, load_model
from chatrwkv.engine.options import default_options
from chatrwkv.engine.state import Scratch, Snapshot, State
from chatrwkv.engine.statefile import load_state, save_state
from chatrwkv.errors import GenerationError, ModelFormatError, StateMismatch
from tests import checkpoints
from tests.checkpoints import Size
from tests.engine.generations import CASES, ids_of, model_from, model_of, spec_of, step_all, worst
from tests.reference.rwkv1 import Reference1
from tests.reference.rwkv23 import Reference23

GROWING = [name for name in CASES if "n_past" in model_of(name).blank().tensors]
growing = pytest.mark.parametrize("name", GROWING)
short_v1 = partial(checkpoints.rwkv1, Size(2, 32, 16, 50), ctx_len=16, tiny_heads=2)


def worst_state(a: State, b: State) -> float:
    assert {n: t.shape for n, t in a.tensors.items()} == {n: t.shape for n, t in b.tensors.items()}
    errors = [
        worst(t, b.tensors[n]) / max(1.0, float(t.abs().max())) for n, t in a.tensors.items() if t.numel()
    ]
    return max(errors)


def test_these_generations_grow():
    """A list that is empty would make all tests below pass."""
    assert {CASES[name].generation.value for name in GROWING} == {"1", "2", "4b", "7b", "8-rc00-hybrid"}


@growing
def test_a_state_holds_what_was_read_and_no_more(name):
    """Forks share states, the vault counts their bytes: padding of other rows must stay behind."""
    model = model_of(name)
    scratch = Scratch.stack([model.blank()] * 3)
    model.scan([ids_of(3), ids_of(20), ids_of(9)], scratch)
    for row, n in enumerate((3, 20, 9)):
        tensors = scratch.freeze(row).tensors
        assert int(tensors["n_past"]) == n
        assert {tensor.shape[1] for key, tensor in tensors.items() if key.startswith("past_")} == {n}
    assert {t.shape[1] for key, t in model.blank().tensors.items() if key.startswith("past_")} == {0}


@growing
def test_rows_of_different_length_join_and_leave(name):
    """The scheduler packs a reply of a long chat with one of a new chat, and lets each go when it ends."""
    model, rows = model_of(name), [ids_of(n, seed=n) for n in (30, 2, 11)]
    alone = []
    for row in rows:
        scratch = model.blank().thaw()
        model.scan([row], scratch)
        alone.append(scratch.freeze(0))
    pack = Scratch.stack(alone[:2])
    pack.append(alone[2].thaw())
    model.step([1, 2, 3], pack)
    pack.drop([0])
    got = model.step([4, 5], pack)
    pack.append(alone[0].thaw())
    last = model.step([6, 7, 8], pack)
    fed = ((alone[1], [2, 4, 6]), (alone[2], [3, 5, 7]), (alone[0], [8]))
    for place, (state, ids) in enumerate(fed):
        want, scratch = step_all(model, ids, state.thaw())
        assert worst(last[place], want[-1]) <= 1e-5
        if place < 2:
            assert worst(got[place], want[1]) <= 1e-5
        assert worst_state(pack.freeze(place), scratch.freeze(0)) <= 1e-5


@growing
def test_any_cuts_into_scans_and_steps_give_the_same(name):
    """A place that is off by one, or a past that is written twice, shows at some cut."""
    model, ids = model_of(name), ids_of(60)
    scratch = model.blank().thaw()
    want = model.scan([ids], scratch, all_logits=True)[0]
    whole = scratch.freeze(0)
    generator = np.random.default_rng(3)
    for _ in range(6):
        rest, found, scratch = list(ids), [], model.blank().thaw()
        while rest:
            n = int(generator.integers(1, 14))
            piece, rest = rest[:n], rest[n:]
            if n < 4:
                found += [model.step([token_id], scratch) for token_id in piece]
            else:
                found += model.scan([piece], scratch, all_logits=True)
        assert worst(torch.cat(found), want) <= 2e-5
        assert worst_state(scratch.freeze(0), whole) <= 2e-5


@growing
def test_a_grown_state_survives_its_file_and_is_adopted(name, tmp_path):
    """The check of shapes must let the past have any length, and only one that fits together."""
    torch.save(CASES[name].make(Size(2, 64, 32, 256)), tmp_path / "a.pth")
    loaded = load_model(tmp_path / "a.pth")
    scratch = loaded.model.blank().thaw()
    logits = loaded.model.scan([[7, 8, 9, 9]], scratch)
    assert isinstance(logits, torch.Tensor)
    one = Snapshot(scratch.freeze(0), logits[0], 4, "00" * 32, loaded.info.fingerprint)
    save_state(tmp_path / "a.rwkvstate", one, {})
    two = loaded.adopt(load_state(tmp_path / "a.rwkvstate")[0])
    assert two.state.digest() == one.state.digest()
    blank = Snapshot(loaded.model.blank(), logits[0], 0, "00" * 32, loaded.info.fingerprint)
    assert loaded.adopt(blank) is blank
    past = next(key for key in one.state.tensors if key.startswith("past_"))
    broken = [
        {"n_past": torch.tensor([5])},
        {"n_past": torch.tensor([-4])},
        {past: one.state.tensors[past][:, :3]},
    ]
    if "past_ids" in one.state.tensors:
        broken += [{"past_ids": torch.full((1, 4), 256)}, {"past_ids": torch.zeros(1, 4)}]
    for change in broken:
        state = State(dict(one.state.tensors) | change)
        with pytest.raises(StateMismatch):
            loaded.adopt(Snapshot(state, one.logits, 4, one.chain, one.fingerprint))


def test_the_copy_head_forgets_what_is_out_of_its_reach():
    """HeadQK looks at the last ctx_len tokens; the state must not grow beyond them, nor a cut change it."""
    from chatrwkv.engine.models.rwkv23 import RWKV23

    tensors = checkpoints.rwkv23(Size(2, 32, 16, 50), is_v2=True, copy_width=16)
    spec, ids = spec_of(tensors), ids_of(40)
    model = RWKV23(spec, tensors, default_options(spec) | {"ctx_len": 7})
    reference = Reference23(tensors, ctx_len=7)
    want = np.stack([reference.step(token_id) for token_id in ids])
    assert worst(model.scan([ids], model.blank().thaw(), all_logits=True)[0], want) <= 1e-4
    rows = Scratch.stack([model.blank()] * 2)
    model.scan([ids[:3], ids[:25]], rows)
    logits = model.scan([ids[3:40], ids[25:30]], rows, all_logits=True)
    assert worst(logits[0], want[3:]) <= 1e-4
    assert worst(logits[1], want[25:30]) <= 1e-4
    assert rows.freeze(1).tensors["past_key"].shape == (1, 7, 16)
    assert rows.freeze(1).tensors["past_ids"][0].tolist() == ids[23:30]


@pytest.mark.parametrize("cut", [1, 7, 15, 16, 17, 24, 40])
def test_a_full_v1_reads_the_last_half_again_whatever_the_cut(cut):
    """Its tables end at ctx_len; the answer must not depend on how a prompt was cut into pieces."""
    tensors, ids = short_v1(), ids_of(50)
    reference, model = Reference1(tensors), model_from(tensors)
    want = np.stack([reference.step(token_id) for token_id in ids])
    scratch = model.blank().thaw()
    first = model.scan([ids[:cut]], scratch, all_logits=True)[0]
    second = model.scan([ids[cut:]], scratch, all_logits=True)[0]
    assert worst(torch.cat([first, second]), want) <= 1e-4
    assert worst(step_all(model, ids)[0], want) <= 1e-4
    assert int(scratch.tensors["n_past"]) == len(reference.ids)


def test_rows_of_v1_become_full_one_by_one():
    """A row that starts again must leave its neighbours where they are."""
    tensors = short_v1()
    model, rows = model_from(tensors), [ids_of(n, seed=n) for n in (5, 16, 33, 20)]
    scratch = Scratch.stack([model.blank()] * 4)
    together = model.scan(rows, scratch, all_logits=True)
    next_ones = [model.step([token_id] * 4, scratch) for token_id in (3, 1, 4)]
    for row, ids in enumerate(rows):
        reference = Reference1(tensors)
        want = np.stack([reference.step(token_id) for token_id in [*ids, 3, 1, 4]])
        assert worst(together[row], want[: len(ids)]) <= 1e-4
        assert worst(torch.stack([logits[row] for logits in next_ones]), want[len(ids) :]) <= 1e-4


def test_the_pure_forward_of_v1_refuses_more_than_its_context():
    """The trainer must cut its samples; a table read beyond its end would be noise."""
    model = model_from(short_v1())
    with pytest.raises(GenerationError, match="context of this RWKV-1 model is 16 tokens, and 17") as caught:
        model.forward(torch.tensor([ids_of(17)]), model.blank_rows(1), None, all_logits=False)
    assert caught.value.hint


@pytest.mark.parametrize(
    ("option", "value", "changed"),
    [("activation", "gelu", True), ("k_clamp", "upper", False), ("k_clamp", "none", False)],
)
def test_the_options_of_v1_reach_its_equations(option, value, changed):
    """Early files need gelu, and keys without the clamps of later code."""
    from chatrwkv.engine.models.rwkv1 import RWKV1

    tensors, ids = short_v1(), ids_of(9)
    spec, usual = spec_of(tensors), model_from(tensors)
    other = RWKV1(spec, tensors, default_options(spec) | {option: value})
    one, two = (model.scan([ids], model.blank().thaw()) for model in (usual, other))
    assert (worst(one, two) > 1e-3) is changed  # no key here is beyond a clamp ...
    for name in tensors:
        if name.endswith("attn.key.bias"):
            tensors[name] += 40.0 if value == "none" else -70.0  # ... but these are
    usual, other = model_from(tensors), RWKV1(spec, tensors, default_options(spec) | {option: value})
    one, two = (model.scan([ids], model.blank().thaw()) for model in (usual, other))
    assert worst(one, two) > 1e-3


@pytest.mark.parametrize("told", [0.0, 5.0, 1.5, -1.0, float("nan"), 1e9])
def test_a_number_of_heads_that_cannot_be_is_refused(told):
    """It comes from an attribute of the pickled module, not from a shape."""
    tensors = short_v1()
    tensors["blocks.0.attn.tiny_att.n_head"] = torch.tensor([told])
    with pytest.raises(ModelFormatError, match=r"tiny_att\.n_head"):
        model_from(tensors)


def test_the_tables_of_7b_are_never_all_there_twice(monkeypatch):
    """They are half of the file: loading would need 1.6 GB more than the check of free memory asks for."""
    from chatrwkv.engine.models.rwkv8 import Table

    made = checkpoints.rwkv7b(Size(4, 32, 16, 50))
    spec = spec_of(made)
    rows = [weakref.ref(made[f"blocks.{i}.qkv.v_emb.weight"].untyped_storage()) for i in range(4)]
    alive = []
    plain = Table.folded

    def folded(self, emb):
        alive.append(sum(ref() is not None for ref in rows))
        return plain(self, emb)

    monkeypatch.setattr(Table, "folded", folded)
    _family(spec.generation)(spec, made)
    assert not made
    assert alive[0] == 4
    assert alive == sorted(alive, reverse=True)
    assert alive[-1] == 1
