"""What lies on disk: every model and state is listed, whatever stands beside it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from chatrwkv.chat.catalog import Catalog, guess_family
from chatrwkv.errors import ModelNotFound
from tests.chat.conftest import said

if TYPE_CHECKING:
    from pathlib import Path

    from tests.chat.conftest import Desk


@pytest.fixture
def catalog(tmp_path: Path) -> Catalog:
    for folder in ("builtin/tiny", "models/deep-folder", "more", "saved"):
        (tmp_path / folder).mkdir(parents=True)
    (tmp_path / "builtin/tiny/model.safetensors").write_bytes(b"x" * 10)
    (tmp_path / "builtin/README.md").write_text("no model")
    (tmp_path / "models/rwkv7-g1b-1.5b-20251202-ctx8192.pth").write_bytes(b"x" * 20)
    (tmp_path / "models/RWKV-5-World-3B.pth").write_bytes(b"")
    (tmp_path / "models/notes.txt").write_text("no model")
    (tmp_path / "models/.hidden.pth").write_text("no model")
    (tmp_path / "models/deep-folder/weights.safetensors").write_bytes(b"x" * 30)
    (tmp_path / "more/RWKV-4-Raven-7B.pth").write_bytes(b"x" * 40)
    (tmp_path / "models/loop.pth").symlink_to("loop.pth")
    folders = [tmp_path / "more", tmp_path / "missing"]
    return Catalog(tmp_path / "builtin", tmp_path / "models", folders, tmp_path / "saved")


def test_every_model_is_listed_with_what_its_name_says(catalog: Catalog):
    found = {entry.name: entry for entry in catalog.models()}
    assert list(found) == [
        "tiny",
        "deep-folder",
        "loop",
        "RWKV-4-Raven-7B",
        "RWKV-5-World-3B",
        "rwkv7-g1b-1.5b-20251202-ctx8192",
    ]
    assert (found["tiny"].family, found["tiny"].source, found["tiny"].size_bytes) == (
        "builtin",
        "builtin",
        10,
    )
    assert found["rwkv7-g1b-1.5b-20251202-ctx8192"].family == "g1"
    assert found["RWKV-4-Raven-7B"].source == "folder"
    assert found["deep-folder"].size_bytes == 30


def test_a_bad_file_is_marked_and_hides_no_other(catalog: Catalog):
    """ollama#7515: one corrupt manifest made every command fail."""
    problems = {entry.name: entry.problem for entry in catalog.models() if entry.problem}
    assert set(problems) == {"loop", "RWKV-5-World-3B"}
    assert problems["RWKV-5-World-3B"] == "empty"


@pytest.mark.parametrize(
    ("name", "family"),
    [
        ("rwkv7a-g1-0.1b", "g1"),
        ("RWKV-x070-World-1.5B-v3-20250127-ctx4096", "world"),
        ("RWKV-x060-World-1B6-v2.1", "world"),
        ("RWKV-4-Raven-7B-v12-Eng98", "raven"),
        ("RWKV-4-Pile-430M", "pile"),
        ("my-own", ""),
    ],
)
def test_families_are_guessed_from_published_names(name: str, family: str):
    assert guess_family(name) == family


def test_a_model_is_found_by_name_beginning_or_path(catalog: Catalog, tmp_path: Path):
    assert catalog.find("tiny").source == "builtin"
    assert catalog.find("RWKV7-G1b").name == "rwkv7-g1b-1.5b-20251202-ctx8192"
    path = tmp_path / "elsewhere.pth"
    path.write_bytes(b"x")
    assert catalog.find(path).path == path
    assert catalog.find(str(path)).source == "path"


@pytest.mark.parametrize(
    ("ref", "message", "hint"),
    [
        ("/nowhere/x.pth", "no file /nowhere/x.pth", "path"),
        ("RWKV-", "could be", "more of the name"),
        ("tinny", "no model 'tinny'", "'tiny'"),
        ("zzz", "no model 'zzz'", "models folder"),
        ("", "no model ''", "models folder"),
    ],
)
def test_what_is_not_found_is_said_with_the_next_step(catalog: Catalog, ref: str, message: str, hint: str):
    with pytest.raises(ModelNotFound, match=message) as caught:
        catalog.find(ref)
    assert hint in caught.value.hint


def test_saved_states_are_listed_with_the_bad_ones_marked(desk: Desk):
    chat = desk.workspace.new_chat()
    said(chat, "one")
    folder = desk.workspace.paths.saved_states
    chat.save_state(folder / "good.rwkvstate").result(20)
    (folder / "bad.rwkvstate").write_bytes(b"not a state")
    (folder / "notes.txt").write_text("no state")
    found = {entry.path.name: entry for entry in desk.workspace.states()}
    assert set(found) == {"good.rwkvstate", "bad.rwkvstate"}
    assert found["bad.rwkvstate"].info is None
    assert found["bad.rwkvstate"].problem
    good = found["good.rwkvstate"]
    assert good.title == "one"
    assert good.info is not None
    assert good.info.model == "fake"
    assert good.info.n_tokens > 10
