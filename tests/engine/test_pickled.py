"""Pickled modules, as RWKV-1 was published: read without running what they name."""

from __future__ import annotations

import os
import zipfile
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import nn

from chatrwkv.engine.checkpoint import open_checkpoint
from chatrwkv.engine.model import load_model
from chatrwkv.errors import ModelFormatError, ModelUnsupported
from tests import checkpoints
from tests.checkpoints import Size
from tests.engine.generations import model_from


class Block(nn.Module):
    """A module of nothing but what is hung into it, and a config that the reader cannot know."""

    def __init__(self) -> None:
        super().__init__()
        self.config = SimpleNamespace(n_layer=2, words=["a", {"b": 1}])
        self.callback = os.path.join


class Trap:
    """Leaves a file behind if its pickle is run."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self):
        return Path.touch, (self.path,)


def module_of(tensors: dict[str, torch.Tensor]) -> Any:
    root = Block()
    for name, tensor in tensors.items():
        at: Any = root
        *parents, leaf = name.split(".")
        for parent in parents:
            if parent not in at._modules:
                at.add_module(parent, Block())
            at = at._modules[parent]
        if leaf == "n_head":
            at.n_head = int(tensor)
        else:
            at.register_parameter(leaf, nn.Parameter(tensor))
    root.register_buffer("copy_mask", torch.ones(4, 4))
    root.add_module("none", None)
    return root


@pytest.fixture
def tensors():
    return checkpoints.rwkv1(Size(2, 32, 16, 256), ctx_len=16, tiny_heads=2)


def test_a_pickled_v1_loads_and_runs_like_its_tensors(tmp_path, tensors):
    """The published files are `torch.save(model)`; n_head of tiny_att is nowhere but in the module."""
    torch.save(module_of(tensors), tmp_path / "wangwen.pth")
    loaded, plain = load_model(tmp_path / "wangwen.pth"), model_from(tensors)
    assert (loaded.info.generation, loaded.info.n_context) == ("1", 16)
    got: Any = loaded.model.scan([[3, 1, 4]], loaded.model.blank().thaw())
    assert torch.allclose(got, plain.scan([[3, 1, 4]], plain.blank().thaw()), atol=1e-6)


def test_nothing_in_the_file_is_run(tmp_path, tensors):
    """An attribute anywhere in the module may name any function of Python."""
    root, mark = module_of(tensors), tmp_path / "was-run"
    root.blocks.trap = Trap(mark)
    torch.save(root, tmp_path / "a.pth")
    assert open_checkpoint(tmp_path / "a.pth").tensors.keys() == tensors.keys()
    assert not mark.exists()
    with zipfile.ZipFile(tmp_path / "a.pth") as archive:
        table = archive.read(next(name for name in archive.namelist() if name.endswith("data.pkl")))
    assert b"touch" in table  # the trap is set


def test_another_module_is_refused_by_name(tmp_path):
    """It is not damaged, it is not ours."""
    torch.save(nn.Linear(3, 4), tmp_path / "a.pth")
    with pytest.raises(ModelUnsupported, match=r"torch\.nn.*Linear.*not an RWKV-1.*2 tensors") as caught:
        open_checkpoint(tmp_path / "a.pth")
    assert "run" in caught.value.hint


def test_an_attention_baseline_of_2021_is_refused_by_its_name(tmp_path):
    """It was saved by the same script as RWKV-1, and is one but for its attention."""
    torch.save(module_of({"blocks.0.attn.query.weight": torch.ones(4, 4)}), tmp_path / "a.pth")
    with pytest.raises(ModelUnsupported, match="attention baseline of 2021"):
        load_model(tmp_path / "a.pth")


def test_a_pickle_that_is_no_module_is_refused(tmp_path):
    """As before: it names something, and nothing is run."""
    mark = tmp_path / "was-run"
    torch.save({"emb.weight": torch.ones(2, 2), "x": Trap(mark)}, tmp_path / "a.pth")
    with pytest.raises(ModelFormatError, match="could run code"):
        open_checkpoint(tmp_path / "a.pth")
    assert not mark.exists()


def test_damage_anywhere_in_the_table_is_an_error_of_ours(tmp_path, tensors):
    """Bytes of the pickle are flipped: never another exception, never a tensor beyond the file."""
    torch.save(module_of(tensors), tmp_path / "a.pth")
    with zipfile.ZipFile(tmp_path / "a.pth") as archive:
        entries = {entry.filename: archive.read(entry) for entry in archive.infolist()}
    table = next(name for name in entries if name.endswith("data.pkl"))
    generator = torch.Generator().manual_seed(1)
    for _ in range(60):
        broken = bytearray(entries[table])
        at = int(torch.randint(len(broken), (1,), generator=generator))
        broken[at] ^= 1 << int(torch.randint(8, (1,), generator=generator))
        with zipfile.ZipFile(tmp_path / "b.pth", "w", zipfile.ZIP_STORED) as archive:
            for name, raw in entries.items():
                archive.writestr(name, bytes(broken) if name == table else raw)
        try:
            opened = open_checkpoint(tmp_path / "b.pth")
        except (ModelFormatError, ModelUnsupported):
            continue
        assert all(t.nbytes <= (tmp_path / "b.pth").stat().st_size for t in opened.tensors.values())
