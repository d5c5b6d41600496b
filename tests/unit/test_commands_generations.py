"""`chatrwkv generations`, and `models info` for every generation, without a weight being read."""

from __future__ import annotations

import json
import math
import sys
from typing import TYPE_CHECKING

import pytest
import torch

from chatrwkv.cli import main
from chatrwkv.engine import Generation
from tests.checkpoints import Size
from tests.engine.generations import CASES, model_from, spec_of

if TYPE_CHECKING:
    from pathlib import Path


def info(path: Path, capsys: pytest.CaptureFixture[str]) -> dict[str, object]:
    assert main(["models", "info", str(path), "--json"]) == 0
    found: dict[str, object] = json.loads(capsys.readouterr().out)
    return found


@pytest.mark.parametrize("name", [name for name in CASES if name != "1" and not name.startswith("1 ")])
def test_info_tells_what_a_checkpoint_is(name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    """All of it NaN: loading would refuse it, so nothing but names and shapes can have been read."""
    tensors = CASES[name].make(Size(2, 64, 32, 50), 0)
    spec, n_bytes = spec_of(tensors), model_from(tensors).blank().n_bytes
    path = tmp_path / "some-world-model.pth"
    torch.save({key: torch.full_like(tensor, math.nan) for key, tensor in tensors.items()}, path)
    found = info(path, capsys)
    assert (found["generation"], found["layers"], found["width"]) == (CASES[name].generation, 2, 64)
    assert (found["heads"], found["head_size"]) == (spec.n_head, spec.head_size)
    assert (found["vocabulary"], found["parameters"]) == (50, spec.n_params)
    assert found["state"] == n_bytes
    assert found["tokenizer"] == "characters, vocab.json is missing beside it"
    templates = found["templates"]
    assert isinstance(templates, list)
    assert templates[0] == "world-chat"
    assert not {"g1-chat", "raven-chat"} & set(templates)
    memory = found["memory"]
    assert isinstance(memory, dict)
    assert memory["fp32"] > memory["bf16"] > memory["int8"] > memory["int4"]


def test_info_shows_options_and_tokenizer_of_the_files_beside(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    path = tmp_path / "tale.pth"
    torch.save(CASES["6"].make(Size(2, 64, 32, 50), 0), path)
    (tmp_path / "tale.toml").write_text("k_clamp = true\n")
    (tmp_path / "vocab.txt").write_text("1 'a' 1\n")
    found = info(path, capsys)
    assert found["options"] == {"tokenizer": "auto", "k_clamp": "true"}
    assert found["tokenizer"] == "world, its own vocab.txt"
    assert main(["models", "info", str(path)]) == 0
    shown = dict(line.split("\t") for line in capsys.readouterr().out.splitlines())
    assert shown["state"] == "17.4 kB"
    assert "state_per_token" not in shown, "it does not grow"


def test_generations_are_listed_as_rows_blocks_and_json(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
):
    assert main(["generations", "--json"]) == 0
    table = json.loads(capsys.readouterr().out)
    assert [row["generation"] for row in table] == [f"RWKV-{generation}" for generation in Generation]
    assert main(["generations"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split("\t") for line in lines] == [list(row.values()) for row in table]
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    assert main(["generations"]) == 0
    blocks = capsys.readouterr().out.split("\n\n")
    assert len(blocks) == len(table)
    assert [line.split()[0] for line in blocks[0].splitlines()] == list(table[0])
