"""A checkpoint of any generation with one tensor missing or misshapen is refused by that tensor's name."""

from __future__ import annotations

import json
import math
import struct
import subprocess
import sys

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


PROBE = """
import resource, sys
from pathlib import Path
from chatrwkv.engine.model import load_model
from chatrwkv.errors import ModelError

def peak():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (1 << 20 if sys.platform == "darwin" else 1 << 10)

def message(path):
    try:
        load_model(path)
    except ModelError as error:
        return error.message

files = sorted(Path(sys.argv[1]).iterdir())
message(files[0])  # the modules of a family
before = peak()
for path in files:
    print(path.name, message(path), sep=": ")
print(f"{peak() - before:.0f}")
"""


def sparse(path, shapes, *, cut=0):
    """A safetensors file of bf16 whose data are a hole."""
    table, at = {}, 0
    for name, shape in shapes.items():
        end = at + 2 * math.prod(shape)
        table[name] = {"dtype": "BF16", "shape": shape, "data_offsets": [at, end]}
        at = end
    header = json.dumps(table).encode()
    with path.open("wb") as file:
        file.write(struct.pack("<Q", len(header)) + header)
        file.truncate(8 + len(header) + at - cut)


def test_huge_files_are_refused_without_reading_them(tmp_path):
    """Each of half a GB or more, refused in a process that may not grow by 100 MB over all of them."""
    for name, case in CASES.items():
        shapes = {n: list(t.shape) for n, t in case.make().items() if not n.endswith("n_head")}
        huge = {n: [1 << 22 if size == 50 else size for size in shape] for n, shape in shapes.items()}
        lost, at = max(huge), name.replace(" ", "-")
        sparse(tmp_path / f"{at}-missing", {n: s for n, s in huge.items() if n != lost})
        sparse(tmp_path / f"{at}-shape", huge | {lost: [3, 7]})
        sparse(tmp_path / f"{at}-cut", huge, cut=1)
        assert (tmp_path / f"{at}-cut").stat().st_size > 5e8
    program = [sys.executable, "-c", PROBE, str(tmp_path)]
    *said, growth = subprocess.run(program, check=True, capture_output=True, text=True).stdout.splitlines()
    assert len(said) == 3 * len(CASES)
    assert all("The tensor '" in line or "ends inside the tensor '" in line for line in said), said
    assert int(growth) < 100


@pytest.mark.parametrize("name", ["4", "4a", "4b"])
@pytest.mark.parametrize("extra", ["head_q.weight", "blocks.0.ffnPre.key.weight"])
def test_what_v4_would_leave_out_is_refused(name, extra):
    """The file would load without its copy head, and answer wrongly."""
    said = complaint(SHAPES[name] | {extra: torch.zeros(8, 64)})
    assert said is not None
    assert extra in said


def test_nan_is_found_while_loading_with_the_name_of_its_tensor(tmp_path):
    """In any generation, in any kind of tensor: matrix, table, mix, norm; also where layers are streamed."""
    ways = ("cpu", "cpu fp32 *1+", "cpu bf16i8", "cpu fp32 *1 -> cpu fp16")
    for name, case in CASES.items():
        made = case.make(Size(2, 32, 16, 256))
        for at, broken in enumerate(sorted(made)[:: len(made) // 4]):
            damaged = {n: t.clone() for n, t in made.items()}
            damaged[broken].view(-1)[-1] = torch.nan if at % 2 else torch.inf
            torch.save(damaged, tmp_path / "a.pth")
            with pytest.raises(ModelFormatError, match="NaN or infinite") as caught:
                load_model(tmp_path / "a.pth", device=ways[at % len(ways)])
            assert repr(broken) in caught.value.message, name
