"""A checkpoint of any generation with one tensor missing or misshapen is refused by that tensor's name."""

from __future__ import annotations

import pytest
import torch

from chatrwkv.engine.model import _family, load_model
from chatrwkv.engine.spec import detect
from chatrwkv.errors import ModelError, ModelFormatError
from tests.checkpoints import Size
from tests.engine.generations import CASES

SHAPES = {name: case.make() for name, case in CASES.items()}


def complaint(tensors):
    """The message that loading would give, before a value is read; None if nothing is wrong."""
    try:
        spec = detect({name: tuple(tensor.shape) for name, tensor in tensors.items()})
        _family(spec.generation).check(tensors, spec)
    except ModelError as error:
        return error.message
    return None


@pytest.mark.parametrize("name", CASES)
def test_the_whole_file_is_accepted(name):
    """Or the tests below prove nothing."""
    assert complaint(SHAPES[name]) is None


@pytest.mark.parametrize("name", CASES)
def test_each_missing_tensor_is_named(name):
    """Not another one, because the file was taken for another generation."""
    for lost in SHAPES[name]:
        if lost.endswith(("time_out", "tiny_att.n_head")):
            continue  # early v1 files have none
        said = complaint({n: t for n, t in SHAPES[name].items() if n != lost})
        assert said is not None, lost
        # one thing in two spellings: without it no one can tell which it was
        assert lost in said.replace("time_first", "time_faaaa") or lost in said, (lost, said)


@pytest.mark.parametrize("name", CASES)
def test_each_misshapen_tensor_is_named(name):
    """Cut or broadcast it would run, and say nonsense."""
    for broken, tensor in SHAPES[name].items():
        said = complaint(SHAPES[name] | {broken: tensor.new_zeros(3, 7)})
        assert said is not None, broken
        assert broken in said, (broken, said)


@pytest.mark.parametrize("name", ["4", "4a", "4b"])
@pytest.mark.parametrize("extra", ["head_q.weight", "blocks.0.ffnPre.key.weight"])
def test_what_v4_would_leave_out_is_refused(name, extra):
    """The file would load without its copy head, and answer wrongly."""
    said = complaint(SHAPES[name] | {extra: torch.zeros(8, 64)})
    assert said is not None
    assert extra in said


def test_nan_is_found_while_loading_with_the_name_of_its_tensor(tmp_path):
    """In any generation, in any kind of tensor: matrix, table, mix, norm."""
    for name, case in CASES.items():
        made = case.make(Size(2, 32, 16, 256))
        for at, broken in enumerate(sorted(made)[:: len(made) // 4]):
            damaged = {n: t.clone() for n, t in made.items()}
            damaged[broken].view(-1)[-1] = torch.nan if at % 2 else torch.inf
            torch.save(damaged, tmp_path / "a.pth")
            with pytest.raises(ModelFormatError, match="NaN or infinite") as caught:
                load_model(tmp_path / "a.pth")
            assert repr(broken) in caught.value.message, name
