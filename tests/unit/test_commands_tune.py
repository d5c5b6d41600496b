"""`chatrwkv tune` on the built-in model, short."""

from __future__ import annotations

import json
import sys

import pytest
import torch

from chatrwkv.cli import main
from tests.unit.test_commands import Terminal


@pytest.fixture
def data(tmp_path):
    path = tmp_path / "style.jsonl"
    rows = [{"turns": [["user", f"Hello {i}"], ["assistant", "Arr, matey!"]]} for i in range(2)]
    path.write_text("\n".join(map(json.dumps, rows)))
    return path


def test_it_writes_a_persona_and_says_what_was_gained(data, tmp_path, capsys):
    out = tmp_path / "p.pth"
    assert main(["tune", str(data), "-m", "sprout", "-o", str(out), "--repeats", "2", "--json"]) == 0
    printed, narrated = capsys.readouterr()
    found = json.loads(printed)
    assert found["after"] < found["before"]
    assert (found["n_lessons"], found["n_steps"], found["is_complete"]) == (2, 4, True)
    assert "--state" in narrated
    assert len(torch.load(out, weights_only=True)) == 6


def test_a_terminal_is_told_the_losses(data, tmp_path, monkeypatch):
    out, err = Terminal(), Terminal()
    monkeypatch.setattr(sys, "stdout", out)
    monkeypatch.setattr(sys, "stderr", err)
    assert main(["tune", str(data), "-m", "sprout", "-o", str(tmp_path / "p.pth"), "--repeats", "1"]) == 0
    assert "tuning: loss " in err.getvalue()
    assert "nats a token" in out.getvalue()


@pytest.mark.parametrize(
    ("flags", "why"),
    [(["--repeats", "0"], "--repeats is 0"), (["--lr", "0.001"], "do not fit"), (["-p", "nosuch"], "nosuch")],
)
def test_what_cannot_be_meant_is_refused_before_a_model_is_loaded(data, tmp_path, capsys, flags, why):
    assert main(["tune", str(data), "-o", str(tmp_path / "p.pth"), *flags]) != 0
    assert why in capsys.readouterr().err


def test_a_missing_folder_is_told(data, tmp_path, capsys):
    assert main(["tune", str(data), "-o", str(tmp_path / "none" / "p.pth")]) == 2
    assert "no folder" in capsys.readouterr().err
