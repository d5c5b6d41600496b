"""`chatrwkv bench` on models that take no time."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
from safetensors.torch import save_file

from chatrwkv.cli import main
from chatrwkv.engine.tasks import bench, machine, shapes
from chatrwkv.errors import ModelTooLarge
from tests.checkpoints import Size, rwkv7


@pytest.fixture(autouse=True)
def small(monkeypatch):
    """Sizes at which a round takes milliseconds; what is checked does not depend on them."""
    monkeypatch.setattr(machine, "_READ_BYTES", 1 << 20)
    monkeypatch.setattr(machine, "_SIDE", 64)
    monkeypatch.setattr(machine, "_TOKENS", 16)
    monkeypatch.setattr(bench, "_DECODE_S", 0.0)
    monkeypatch.setattr(bench, "PROMPTS", (16, 40))


@pytest.fixture
def model(tmp_path):
    folder = tmp_path / "tiny"
    folder.mkdir()
    save_file(
        {n: t.contiguous() for n, t in rwkv7(Size(2, 64, 32, 300)).items()}, folder / "model.safetensors"
    )
    (folder / "vocab.txt").write_text("".join(f"{i + 1} {bytes([i])!r} 1\n" for i in range(256)))
    return str(folder)


def test_json_has_every_figure_with_its_limit(model, capsys):
    assert main(["bench", "-m", model, "--rounds", "2", "--threads", "1", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    figures = {figure["name"]: figure for figure in found["figures"]}
    assert list(figures) == [
        *("decode", "decode x2", "decode x4", "decode x8", "prefill 16", "prefill 40"),
        *("load", "first token", "state copy"),
    ]
    for figure in figures.values():
        assert 0 < figure["low"] <= figure["median"] <= figure["high"]
        ratio = figure["median"] / figure["limit"]
        ratio = ratio if figure["unit"] == "tok/s" else 1 / ratio
        assert figure["percent"] == pytest.approx(100 * ratio)
    assert figures["first token"]["median"] > figures["load"]["low"]
    assert (found["n_rounds"], found["n_threads"], found["is_native"]) == (2, 1, False)
    assert found["first_load_s"] > 0
    assert found["read_gb_s"] > 0
    assert set(found["gemm_gflop_s"]) == {"torch fp32", "torch bf16"}


def test_bytes_of_a_token_leave_out_the_embedding(model, capsys):
    """Only one row of it is read."""
    assert main(["bench", "-m", model, "--rounds", "1", "--dtype", "fp32", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    tensors = rwkv7(Size(2, 64, 32, 300))
    kept = {n: t for n, t in tensors.items() if n != "emb.weight" and "ln0" not in n}
    assert found["weight_bytes"] == 4 * sum(t.numel() for t in kept.values())


def test_pipe_gets_a_row_a_figure(model, capsys):
    assert main(["bench", "-m", model, "--rounds", "1"]) == 0
    lines = capsys.readouterr().out.splitlines()
    fields = dict(line.split("\t") for line in lines[: lines.index("")])
    assert fields["precision"].endswith("(torch)")
    rows = [line.split("\t") for line in lines[lines.index("") + 1 :]]
    assert {len(row) for row in rows} == {5}
    assert rows[0][1].endswith(" tok/s")
    assert rows[-1][1].endswith(" ms")
    assert all(row[4].endswith(" %") for row in rows)


def test_named_shape_is_made_measured_and_deleted(monkeypatch, tmp_path, capsys):
    monkeypatch.setitem(shapes.SHAPES, "0.1b", replace(shapes.SHAPES["0.1b"], n_layer=1, n_embd=64))
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    assert main(["bench", "--shape", "0.1b", "--rounds", "1", "--json"]) == 0
    out, err = capsys.readouterr()
    assert json.loads(out)["model"] == "0.1b"
    assert "making a random 0.1b" in err
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("flag", ["--threads", "--rounds"])
def test_number_below_one_is_a_usage_error(flag, capsys):
    assert main(["bench", flag, "0"]) == 2
    assert f"{flag} is 0" in capsys.readouterr().err


def test_a_load_that_does_not_fit_is_told_and_the_rest_measured(model, monkeypatch, capsys):
    """Loading a second copy may be too much for a machine that runs the first."""

    def too_large(*_, **__):
        raise ModelTooLarge("It needs 9 GB, but 1 GB is free.")

    monkeypatch.setattr(bench, "load_model", too_large)
    assert main(["bench", "-m", model, "--rounds", "1", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["notes"] == [
        f"{name} was not measured: It needs 9 GB, but 1 GB is free." for name in ("load", "first token")
    ]
    assert found["figures"][0]["median"] > 0
