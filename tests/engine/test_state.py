"""States are values: nothing that a fork, a copy or a row does can be seen from another."""

from __future__ import annotations

import copy
import pickle

import pytest
import torch

from chatrwkv.engine.models.rwkv7 import RWKV7
from chatrwkv.engine.spec import detect
from chatrwkv.engine.state import Scratch, Snapshot, State
from tests import checkpoints


@pytest.fixture(scope="module")
def model():
    tensors = checkpoints.rwkv7()
    return RWKV7(detect({name: tuple(t.shape) for name, t in tensors.items()}), tensors)


@pytest.fixture
def parent(model):
    scratch = model.blank().thaw()
    model.scan([[3, 1, 4, 1, 5]], scratch)
    return scratch.freeze(0)


def test_a_hundred_forks_leave_the_parent_untouched(model, parent):
    """A thaw that shares memory would let one fork's tokens leak into the parent and into every other."""
    before = parent.digest()
    first: dict[int, tuple[torch.Tensor, int]] = {}
    for fork in range(100):
        scratch = parent.thaw()
        logits = model.step([fork % 50], scratch)
        model.scan([[fork % 7, 2]], scratch)
        alone = first.setdefault(fork % 50, (logits.clone(), fork))
        assert torch.equal(alone[0], logits)
    assert parent.digest() == before


def test_freeze_is_a_copy(model, parent):
    """With one row, `contiguous` would return the scratch's own memory."""
    scratch = parent.thaw()
    frozen = scratch.freeze(0)
    before = frozen.digest()
    model.step([1], scratch)
    assert frozen.digest() == before
    assert scratch.freeze(0).digest() != before


def test_deepcopy_and_pickle_give_independent_states(parent):
    """`copy.deepcopy(state)` is how scripts fork; a mapping proxy alone would refuse both."""
    for twin in (copy.deepcopy(parent), pickle.loads(pickle.dumps(parent))):
        assert twin.digest() == parent.digest()
        twin.tensors["wkv"].add_(1)
        assert twin.digest() != parent.digest()
    snapshot = Snapshot(parent, torch.zeros(50), 5, "00" * 32, "f")
    twin = copy.deepcopy(snapshot)
    twin.state.tensors["wkv"].zero_()
    assert parent.tensors["wkv"].abs().max() > 0


def test_a_state_cannot_be_rebound(parent):
    """A fork is a second reference, so nobody may hang another tensor into it."""
    with pytest.raises(TypeError):
        parent.tensors["wkv"] = torch.zeros(1)
    with pytest.raises(AttributeError):
        parent.tensors = {}


def test_digest_sees_every_value_name_and_shape(parent):
    """The digest stands for the state in tests and in the vault."""
    tensors = dict(parent.tensors)
    changed = {name: tensor.clone() for name, tensor in tensors.items()}
    changed["ffn_shift"][-1, -1] = torch.nextafter(changed["ffn_shift"][-1, -1], torch.tensor(9.0))
    renamed = {f"{name}_": tensor for name, tensor in tensors.items()}
    reshaped = {name: tensor[None] for name, tensor in tensors.items()}
    digests = {State(t).digest() for t in (tensors, changed, renamed, reshaped)}
    assert len(digests) == 4


def test_rows_leave_and_join_without_touching_the_others(model, parent):
    """The scheduler drops and appends rows between steps; a slip of one row is another's reply."""
    states = []
    for token_id in range(5):
        scratch = parent.thaw()
        model.step([token_id], scratch)
        states.append(scratch.freeze(0))
    digests = [state.digest() for state in states]
    scratch = Scratch.stack(states[:4])
    scratch.drop([1, 3])
    scratch.append(Scratch.stack(states[4:]))
    assert scratch.n_rows == 3
    assert [scratch.freeze(row).digest() for row in range(3)] == [digests[0], digests[2], digests[4]]
    scratch.drop([0, 1, 2])
    assert scratch.n_rows == 0


def test_sizes_are_those_of_the_tensors(model, parent):
    """The vault keeps its budget by this number."""
    n_layer, n_embd, n = 2, 64, 64
    assert parent.n_bytes == 4 * n_layer * (2 * n_embd + n_embd * n)
    assert Snapshot(parent, torch.zeros(50), 5, "00" * 32, "f").n_bytes == parent.n_bytes + 200


def test_a_scratch_made_in_inference_mode_works_outside(model):
    """The engine thread enters inference mode; a task such as tuning steps outside of it."""
    with torch.inference_mode():
        scratch = model.blank().thaw()
        model.step([1], scratch)
    model.step([2], scratch)
    model.scan([[3, 4]], scratch)
    assert scratch.freeze(0).digest()
