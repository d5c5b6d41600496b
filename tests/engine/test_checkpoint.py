"""Files from anywhere: whatever is in them, one plain sentence, fast, and nothing is run."""

from __future__ import annotations

import io
import json
import os
import pickle
import struct
import zipfile

import pytest
import torch
from safetensors.torch import save_file

from chatrwkv.engine.checkpoint import open_checkpoint
from chatrwkv.errors import ModelError, ModelFormatError, ModelNotFound, ModelUnsupported
from tests import checkpoints
from tests.effort import little_effort
from tests.engine.test_pickled import module_of


@pytest.fixture(scope="module")
def tensors():
    return checkpoints.rwkv7()


class Bomb:
    """Creates a file when unpickled."""

    def __init__(self, target):
        self.target = str(target)

    def __reduce__(self):
        return open, (self.target, "w")


def stored_zip(entries, compression=zipfile.ZIP_STORED):
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", compression) as archive:
        for name, data in entries.items():
            archive.writestr(name, data)
    return buffer.getvalue()


def torch_bytes(value, **options):
    buffer = io.BytesIO()
    torch.save(value, buffer, **options)
    return buffer.getvalue()


def expanded():
    """A valid file whose tensor claims 4 TB with strides of zero."""
    return torch_bytes({"emb.weight": torch.zeros(1).expand(1 << 20, 1 << 20)})


def overclaiming(tensors):
    """A zip whose directory claims 2**40 bytes for an entry."""
    raw = bytearray(torch_bytes(tensors))
    at = raw.rindex(b"PK\x01\x02")
    struct.pack_into("<II", raw, at + 20, 0xFFFFFFF0, 0xFFFFFFF0)
    return bytes(raw)


def test_both_formats_hold_the_same_tensors_and_the_same_fingerprint(tmp_path, tensors):
    """A converted file is the same model: its states must go on fitting."""
    torch.save(tensors, tmp_path / "a.pth")
    save_file(tensors, tmp_path / "a.safetensors")
    one, two = open_checkpoint(tmp_path / "a.pth"), open_checkpoint(tmp_path / "a.safetensors")
    assert one.fingerprint == two.fingerprint
    assert one.dtype == two.dtype == "fp32"
    for opened in (one, two):
        assert {name: torch.equal(t, tensors[name]) for name, t in opened.tensors.items()} == dict.fromkeys(
            tensors, True
        )


def test_the_fingerprint_sees_values_names_shapes_and_types(tmp_path, tensors):
    """Two fine-tunes of one model have equal tables; their states must not be mixed up."""
    variants = {
        "same": tensors,
        "copy": {name: t.clone() for name, t in tensors.items()},
        "one value": {**tensors, "blocks.1.att.w0": tensors["blocks.1.att.w0"] + 1e-3},
        "scaled": {**tensors, "head.weight": tensors["head.weight"] * 1.001},
        "bf16": {name: t.bfloat16() for name, t in tensors.items()},
        "renamed": {name.replace("ln_out", "ln_end"): t for name, t in tensors.items()},
    }
    prints = {}
    for name, table in variants.items():
        torch.save(table, tmp_path / f"{name}.pth")
        prints[name] = open_checkpoint(tmp_path / f"{name}.pth").fingerprint
    assert prints["same"] == prints["copy"]
    assert len(set(prints.values())) == len(variants) - 1


@pytest.mark.parametrize("prefix", ["_forward_module.", "module.", "model.", "_forward_module.module."])
def test_prefixes_of_trainers_are_cut_off_and_masks_left_out(tmp_path, tensors, prefix):
    """Checkpoints straight from a trainer carry them."""
    table = {prefix + name: t for name, t in tensors.items()} | {"copy_mask": torch.zeros(4, 4)}
    torch.save({"state_dict": table}, tmp_path / "a.pth")
    assert set(open_checkpoint(tmp_path / "a.pth").tensors) == set(tensors)


def refused(tmp_path, raw):
    path = tmp_path / "model.pth"
    path.write_bytes(raw)
    with little_effort(), pytest.raises(ModelError) as caught:
        open_checkpoint(path)
    error = caught.value
    assert error.message.endswith(".")
    assert error.hint.endswith(".")
    assert "\n" not in str(error)
    return error


PLAIN = {
    "web page": (b"\n<!DOCTYPE html><html>not found</html>", "web page"),
    "LFS pointer": (b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 9\n", "Git-LFS"),
    "GGUF": (b"GGUF\x03\0\0\0" + bytes(100), "GGUF"),
    "rwkv.cpp": (struct.pack("<I", 0x67676D66) + bytes(100), "rwkv.cpp"),
    "gzip": (b"\x1f\x8b\x08" + bytes(100), "gzip"),
    "old pickle": (torch_bytes({"a": torch.zeros(2)}, _use_new_zipfile_serialization=False), "pickle"),
    "empty": (b"", "empty"),
    "one byte": (b"P", "neither"),
    "text": (b"hello world " * 100, "neither"),
    "zeros": (bytes(5000), "neither"),
    "another zip": (stored_zip({"readme.txt": b"hi"}), "not one of torch.save"),
    "a tensor alone": (torch_bytes(torch.zeros(3)), "holds a Tensor"),
    "no tensors": (torch_bytes({"a": 1}), "no tensors"),
    "strides of zero": (expanded(), "claims the shape"),
    "compressed zip": (stored_zip({"a/data.pkl": bytes(50_000_000)}, zipfile.ZIP_DEFLATED), "claims 50,000,000"),
    "huge pickle": (stored_zip({"a/data.pkl": b"\x80\x02" + b"]" * 3_000_000}), "more entries"),
    "many empty lists": (stored_zip({"a/data.pkl": b"\x80\x02" + b"]" * 1_900_000 + b"."}), "model.pth"),
    "safetensors header of 2**63": (struct.pack("<Q", 1 << 63) + b'{"a":1}', "header"),
    "safetensors with a bad header": (struct.pack("<Q", 7) + b'{"a":1}', "damaged"),
    "safetensors cut off": (struct.pack("<Q", 60) + b'{"a":{"dtype":"F32","shape":[9],"data_offsets":[0,36]}}     ', "inside the tensor 'a'"),
}  # fmt: skip


@pytest.mark.parametrize("name", PLAIN)
def test_what_is_no_checkpoint_is_refused_in_one_sentence(name, tmp_path):
    """Each of these has been seen under the name of a model."""
    raw, words = PLAIN[name]
    assert words in refused(tmp_path, raw).message


def test_a_truncated_file_is_refused_wherever_it_ends(tmp_path, tensors):
    """An interrupted download; some places make torch raise something undocumented."""
    raw = torch_bytes(tensors)
    for keep in (4, 30, 600, len(raw) // 2, len(raw) - 200, len(raw) - 21, len(raw) - 1):
        refused(tmp_path, raw[:keep])
    save_file(tensors, tmp_path / "a.safetensors")
    raw = (tmp_path / "a.safetensors").read_bytes()
    for keep in (7, 8, 9, 500, len(raw) // 2, len(raw) - 1):
        refused(tmp_path, raw[:keep])


@pytest.mark.parametrize("is_module", [False, True])
def test_a_cut_off_file_is_refused_by_the_tensor_in_which_it_ends(is_module, tmp_path, tensors):
    """What is there of a download tells how far it came; a `.pth` has its directory at the end."""
    table = checkpoints.rwkv1() if is_module else tensors
    raw = torch_bytes(module_of(table) if is_module else {"state_dict": table})
    with zipfile.ZipFile(io.BytesIO(raw)) as archive:
        entries = {entry.filename.partition("/data/")[2]: entry for entry in archive.infolist()}
    order = list(table)
    for at in (0, 1, len(order) // 2, len(order) - 1):
        name = order[at] if not is_module else None
        start = entries[str(at)].header_offset
        for keep in (start + 20, start + 130):  # in the header, and in the data
            message = refused(tmp_path, raw[:keep]).message
            assert "inside the tensor" in message
            assert name is None or repr(name) in message
    assert "too early" in refused(tmp_path, raw[: entries["0"].header_offset // 2]).message


def test_a_cut_off_safetensors_file_names_the_tensor_too(tmp_path, tensors):
    """Its table comes first and says where each one ends."""
    save_file(tensors, tmp_path / "a.safetensors")
    raw = (tmp_path / "a.safetensors").read_bytes()
    (length,) = struct.unpack_from("<Q", raw)
    for name, row in json.loads(raw[8 : 8 + length]).items():
        end = 8 + length + row["data_offsets"][1]
        assert repr(name) in refused(tmp_path, raw[: end - 1]).message


def test_a_matrix_that_was_saved_turned_over_is_the_same_model(tmp_path, tensors):
    """`torch.save` keeps the order in memory; the fingerprint must not depend on it, nor copy the matrix."""
    wide = {"emb.weight": torch.randn(333, 257).bfloat16()}
    torch.save(tensors | wide, tmp_path / "a.pth")
    turned = {name: t.t().contiguous().t() for name, t in wide.items()}
    torch.save(tensors | turned, tmp_path / "b.pth")
    one, two = open_checkpoint(tmp_path / "a.pth"), open_checkpoint(tmp_path / "b.pth")
    assert not two.tensors["emb.weight"].is_contiguous()
    assert one.fingerprint == two.fingerprint


def test_tensors_that_do_not_lie_on_their_own_size_are_read(tmp_path):
    """Not every writer pads the header, and a mapped file cannot be looked at from an odd place."""
    values = torch.arange(4.0)
    for padding in range(4):
        header = b'{"a":{"dtype":"F32","shape":[2,2],"data_offsets":[0,16]}}' + b" " * padding
        path = tmp_path / "a.safetensors"
        path.write_bytes(struct.pack("<Q", len(header)) + header + values.numpy().tobytes())
        assert torch.equal(open_checkpoint(path).tensors["a"], values.view(2, 2))


def test_a_damaged_directory_is_refused(tmp_path, tensors):
    """torch would believe what the directory claims."""
    refused(tmp_path, overclaiming(tensors))


def test_a_pickle_bomb_is_refused_and_does_not_run(tmp_path):
    """The one thing that must never happen when somebody opens a downloaded model."""
    target = tmp_path / "ran"
    error = refused(tmp_path, torch_bytes({"emb.weight": Bomb(target)}))
    assert "could run code" in error.message
    refused(tmp_path, pickle.dumps(Bomb(target)))
    assert not target.exists()


def test_a_pickled_program_object_is_refused(tmp_path):
    """v1 files are whole modules; plain unpickling would import and run their classes."""
    assert "torch.nn" in refused(tmp_path, torch_bytes(torch.nn.Linear(2, 2))).message


def test_what_is_no_file_is_refused_without_waiting(tmp_path):
    """Opening a FIFO would block for ever."""
    os.mkfifo(tmp_path / "fifo")
    for name in ("fifo", "."):
        with pytest.raises(ModelFormatError, match="not a file"):
            open_checkpoint(tmp_path / name)
    with pytest.raises(ModelNotFound):
        open_checkpoint(tmp_path / "missing.pth")


def test_a_file_of_the_package_is_known_by_its_marks(tmp_path, tensors):
    """`_strategy` is a string, which must not vanish with what is no tensor."""
    torch.save(tensors | {"_strategy": "cpu fp32", "_version": 0.7}, tmp_path / "a.pth")
    from chatrwkv.engine.spec import detect

    with pytest.raises(ModelUnsupported, match="converted for one strategy"):
        detect(open_checkpoint(tmp_path / "a.pth").shapes)
