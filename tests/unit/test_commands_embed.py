"""`chatrwkv embed` over the built-in model."""

from __future__ import annotations

import io
import json
import sys

import numpy as np
import pytest

from chatrwkv.cli import main
from chatrwkv.commands import running


@pytest.fixture(autouse=True)
def torch_only(monkeypatch):
    monkeypatch.setattr(running, "prepare_native", lambda _: None)


@pytest.fixture
def text(tmp_path):
    path = tmp_path / "lines.txt"
    path.write_text("the king and the queen\nlist all files\x0cin the folder\n\n", encoding="utf-8")
    return str(path)


def test_every_line_gets_a_vector_with_its_text(text, capsys):
    """Empty lines, too, and a form feed ends none: row i must be line i."""
    assert main(["embed", text, "--json"]) == 0
    rows = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [row["text"] for row in rows] == ["the king and the queen", "list all files\x0cin the folder", ""]
    assert [len(row["vector"]) for row in rows] == [192] * 3
    assert {row["kind"] for row in rows} == {"hidden"}


def test_numpy_file_holds_what_json_prints(text, tmp_path, capsys):
    wish = ["embed", text, "--from", "state", "--kind", "att-shift"]
    out = tmp_path / "vectors"
    assert main([*wish, "--out", str(out)]) == 0
    assert "3 vectors of 1,152 channels" in capsys.readouterr().err
    assert main([*wish, "--json"]) == 0
    printed = [json.loads(line)["vector"] for line in capsys.readouterr().out.splitlines()]
    stored = np.load(out)
    assert stored.dtype == np.float32
    assert np.allclose(stored, printed, rtol=1e-6)


def test_pipe_gets_tab_separated_numbers(capsys, monkeypatch):
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(b"one\r\ntwo")))
    assert main(["embed", "--from", "state"]) == 0
    rows = [line.split("\t") for line in capsys.readouterr().out.splitlines()]
    assert [len(row) for row in rows] == [1152] * 2
    assert all(np.isfinite(float(number)) for row in rows for number in row)


def test_statistics_can_be_fitted_and_used(text, tmp_path, capsys):
    stats = str(tmp_path / "own.embed")
    assert main(["embed", text, "--fit-stats", stats]) == 0
    assert "statistics of 3 lines" in capsys.readouterr().err
    found = {}
    for flags in (["--stats", stats], ["--raw"], []):
        assert main(["embed", text, "--json", *flags]) == 0
        found[flags[0] if flags else ""] = capsys.readouterr().out
    assert len(set(found.values())) == 3
    vectors = np.array([json.loads(line)["vector"] for line in found["--stats"].splitlines()])
    assert np.abs(vectors.mean(0)).max() < 1e-3


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["nothing.txt"], "no file nothing.txt"),
        (["{text}", "--kind", "wkv"], "--kind is about the state"),
        (["{text}", "--from", "state", "--kind", "aa"], "has no 'aa'"),
        (["{text}", "--stats", "gone.embed"], "no statistics gone.embed"),
        (["{text}", "--fit-stats", "x", "--json"], "--fit-stats makes no vectors"),
        (["{text}", "--fit-stats", "/nowhere/x"], "/nowhere/x cannot be written"),
        (["{text}", "--out", "/"], "/ cannot be written"),
    ],
)
def test_wrong_wish_exits_2_with_a_reason(arguments, said, text, capsys):
    assert main(["embed", *(argument.format(text=text) for argument in arguments)]) == 2
    assert said in capsys.readouterr().err
