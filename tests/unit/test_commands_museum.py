"""`chatrwkv museum`: seven exhibits, side by side; each can be loaded by name."""

from __future__ import annotations

import json
import sys

from chatrwkv.chat.catalog import Catalog
from chatrwkv.cli import main
from chatrwkv.paths import bundled_models
from tests.unit.test_commands import Terminal

GENERATIONS = ["1", "2", "3", "4", "5.2", "6", "7"]


def test_every_generation_answers_the_same_prompt(capsys):
    assert main(["museum", "Hello", "there!", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert [e["generation"] for e in found] == GENERATIONS
    assert all(e["reply"] and e["bits_per_byte"] < 1.6 and e["tok_s"] > 0 for e in found)
    states = {e["generation"]: e["state_bytes"] for e in found}
    assert states["2"] == states["3"] == states["4"] < states["5.2"]


def test_a_terminal_gets_a_table(monkeypatch):
    out, err = Terminal(), Terminal()
    monkeypatch.setattr(sys, "stdout", out)
    monkeypatch.setattr(sys, "stderr", err)
    assert main(["museum"]) == 0
    lines = out.getvalue().splitlines()
    assert lines[0].split()[:3] == ["MODEL", "BITS", "PER"]
    assert [line.split()[0] for line in lines[1:]] == [f"RWKV-{g}" for g in GENERATIONS]
    assert "Tell me a story." in err.getvalue()


def test_the_model_list_ends_with_the_exhibits(tmp_path):
    """Who starts offline can switch through all of them, and still begins with the one to talk to."""
    (tmp_path / "own-world.pth").write_bytes(b"x")
    catalog = Catalog(bundled_models(), tmp_path, [], tmp_path)
    entries = catalog.models()
    assert entries[0].source == "builtin"
    assert [e.name for e in entries[1:]] == ["own-world", *(f"museum-{g}" for g in GENERATIONS)]
    assert {e.family for e in entries if e.source != "models"} == {"builtin"}
    assert catalog.find("museum-5").name == "museum-5.2"
