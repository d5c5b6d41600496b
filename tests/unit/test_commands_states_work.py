"""`chatrwkv states learn`, `diff` and `verify --reread`, with the built-in model."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest
import torch

from chatrwkv.chat.workspace import Workspace
from chatrwkv.cli import main
from chatrwkv.commands.running import engine_with_model
from chatrwkv.config import Settings
from chatrwkv.engine import Snapshot, State, load_attached, load_state, peek_state, save_state
from chatrwkv.paths import Paths

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def book(tmp_path: Path) -> Path:
    path = tmp_path / "lamp.txt"
    path.write_text("The lamp was built in 1834 by Ada Quill. It burns whale oil.\n", encoding="utf-8")
    return path


@pytest.fixture
def lamp(book: Path) -> Path:
    assert main(["states", "learn", str(book)]) == 0
    return Paths.default().saved_states / "lamp.rwkvstate"


def test_a_document_is_learnt_and_its_path_printed(book: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["states", "learn", str(book), "--as", "light", "--twice"]) == 0
    saved = Paths.default().saved_states / "light.rwkvstate"
    assert capsys.readouterr().out.strip() == str(saved)
    assert peek_state(saved).metadata["readings"] == "2"
    assert main(["states", "list"]) == 0
    said = capsys.readouterr()
    assert said.out.startswith("light\tsprout")
    assert "kept by chats" in said.err


def test_what_cannot_be_learnt_is_refused_before_a_model_is_loaded(
    tmp_path: Path, lamp: Path, book: Path
) -> None:
    assert lamp.exists()
    assert main(["states", "learn", str(book)]) == 2
    assert main(["states", "learn", str(tmp_path / "none.txt")]) == 2


def test_a_state_is_read_again_and_found_good(lamp: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["states", "verify", "lamp", "--reread"]) == 0
    assert "tokens read again" in capsys.readouterr().err
    assert lamp.exists()


def rewritten(path: Path, snapshot: Snapshot) -> None:
    attached = {"conversation": load_attached(path, "conversation")}
    save_state(path, snapshot, load_state(path)[1], attached=attached)


def test_a_state_that_does_not_follow_from_its_text_ends_with_4(lamp: Path) -> None:
    kept = load_state(lamp)[0]
    wrong = State({name: torch.zeros_like(tensor) for name, tensor in kept.state.tensors.items()})
    rewritten(lamp, Snapshot(wrong, kept.logits * 0, kept.n_tokens, kept.chain, kept.fingerprint))
    assert main(["states", "verify", "lamp"]) == 0, "every byte is as it was written"
    assert main(["states", "verify", "lamp", "--reread"]) == 4


def test_a_state_beside_another_text_ends_with_4(lamp: Path) -> None:
    kept = load_state(lamp)[0]
    rewritten(lamp, Snapshot(kept.state, kept.logits, kept.n_tokens, "0" * 64, kept.fingerprint))
    assert main(["states", "verify", "lamp", "--reread"]) == 4


def test_a_state_without_a_text_cannot_be_read_again(lamp: Path, capsys: pytest.CaptureFixture[str]) -> None:
    save_state(lamp, *load_state(lamp))
    assert main(["states", "verify", "lamp"]) == 0
    assert main(["states", "verify", "lamp", "--reread"]) == 4
    assert "holds no text" in capsys.readouterr().err


def test_two_states_are_compared_head_by_head(
    lamp: Path, book: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["states", "learn", str(book), "--as", "two", "--twice"]) == 0
    capsys.readouterr()
    assert main(["states", "diff", str(lamp), "two", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert len(found["heads"]) == 6
    assert len(found["heads"][0]) == 3
    assert 0 < found["cosine"] < 1
    assert main(["states", "diff", "lamp", "lamp"]) == 0
    assert capsys.readouterr().out.startswith("cosine 1.000000\nlargest difference 0\n")


def test_a_stored_chat_is_replayed_without_a_difference(capsys: pytest.CaptureFixture[str]) -> None:
    session_id = stored_chat()
    assert main(["chats", "replay", session_id[:8]]) == 0
    assert capsys.readouterr().out.startswith("No difference: 2 replies drawn again")
    assert main(["chats", "replay", session_id[:8], "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["difference"] is None


def stored_chat() -> str:
    """Two replies of the built-in model, written by the app's own workspace."""
    settings = Settings(sampling={"max_tokens": 12})
    with engine_with_model(settings) as (engine, _):
        workspace = Workspace.open(Paths.default(), settings, engine)
        session = workspace.new_chat()
        for text in ("Hello, who are you?", "What is a river?"):
            session.send(text).wait(60)
        workspace.close()
    return session.id
