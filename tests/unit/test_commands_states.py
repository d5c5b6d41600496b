"""`chatrwkv states import` and `export`: states of other programs at the command line."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest
import torch

from chatrwkv.cli import main
from chatrwkv.commands.states import FORMS
from chatrwkv.engine import foreign, load_state, save_state
from chatrwkv.paths import Paths

if TYPE_CHECKING:
    from pathlib import Path

    from chatrwkv.engine import State

L, C, H, N = 6, 192, 3, 64  # of the built-in model


@pytest.fixture
def theirs(tmp_path: Path) -> Path:
    """A list of the `rwkv` package for the built-in model."""
    noise = torch.Generator().manual_seed(4)
    entries = [torch.rand(shape, generator=noise) for _ in range(L) for shape in ((C,), (H, N, N), (C,))]
    torch.save(entries, tmp_path / "theirs.pth")
    return tmp_path / "theirs.pth"


def state_in(path: Path) -> State:
    return load_state(path)[0].state


def test_the_forms_are_those_of_the_engine() -> None:
    assert set(FORMS) == set(foreign.FORMS)


def test_a_foreign_state_becomes_a_saved_one(theirs: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["states", "import", str(theirs)]) == 0
    assert main(["states", "list", "--json"]) == 0
    row = json.loads(capsys.readouterr().out)[0]
    assert (row["name"], row["model"], row["tokens"]) == ("theirs", "sprout", 0)
    found = state_in(Paths.default().saved_states / "theirs.rwkvstate")
    given = torch.load(theirs, weights_only=True)
    assert torch.equal(found.tensors["wkv"][2], given[7])
    assert main(["states", "import", str(theirs)]) == 4
    assert "exists already" in capsys.readouterr().err
    assert main(["states", "import", str(theirs), "--force"]) == 0


@pytest.mark.parametrize("form", [form for form in FORMS if form != "chatrwkv-v1"])
def test_what_is_exported_can_be_imported_again(
    form: str, theirs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    one, out, two = (str(tmp_path / name) for name in ("one.rwkvstate", "out.xyz", "two.rwkvstate"))
    assert main(["states", "import", str(theirs), "-o", one]) == 0
    assert main(["states", "export", one, "--as", form, "-o", out]) == 0
    lost = "token shifts" in capsys.readouterr().err
    assert lost == (form in ("pth", "web-rwkv"))
    assert main(["states", "import", out, "-m", "sprout", "-o", two]) == 0
    first, second = state_in(tmp_path / "one.rwkvstate"), state_in(tmp_path / "two.rwkvstate")
    assert torch.equal(first.tensors["wkv"], second.tensors["wkv"])
    assert torch.equal(first.tensors["att_shift"], second.tensors["att_shift"]) != lost


def test_what_does_not_fit_exits_4_with_a_sentence(
    theirs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    torch.save(torch.load(theirs, weights_only=True)[:-3], tmp_path / "short.pth")
    assert main(["states", "import", str(tmp_path / "short.pth")]) == 4
    assert "15 tensors" in capsys.readouterr().err
    own = str(tmp_path / "own.rwkvstate")
    assert main(["states", "import", str(theirs), "-o", own]) == 0
    assert main(["states", "import", own]) == 4
    assert "state of this program already" in capsys.readouterr().err
    assert main(["states", "export", own, "--as", "chatrwkv-v1", "-o", str(tmp_path / "x")]) == 4
    assert "has no place" in capsys.readouterr().err
    assert not (tmp_path / "x").exists()
    assert main(["states", "import", str(tmp_path / "absent")]) == 4


def test_a_state_that_does_not_say_its_generation_asks_for_the_model(
    theirs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Those that older versions wrote: keys or values first cannot be seen in the numbers."""
    own, out = tmp_path / "own.rwkvstate", str(tmp_path / "out.pth")
    assert main(["states", "import", str(theirs), "-o", str(own)]) == 0
    save_state(own, load_state(own)[0], {})
    assert main(["states", "export", str(own), "--as", "package", "-o", out]) == 4
    assert "which generation" in capsys.readouterr().err
    assert main(["states", "export", str(own), "--as", "package", "-o", out, "-m", "sprout"]) == 0
    given, back = (torch.load(path, weights_only=True) for path in (theirs, out))
    assert all(torch.equal(a, b) for a, b in zip(given, back, strict=True))
