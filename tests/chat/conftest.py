"""A desk to work at: folders of their own, a real database, the real engine thread, a fake model."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import pytest

from chatrwkv.chat.vault import Vault
from chatrwkv.chat.workspace import Workspace
from chatrwkv.config import ChatSettings, Settings
from chatrwkv.engine import EngineThread
from chatrwkv.paths import Paths
from tests.chat.minds import N_BYTES
from tests.fakes import FakeModel, fake_loader

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from chatrwkv.chat.journal import Step
    from chatrwkv.chat.replies import Reply, ReplyView
    from chatrwkv.chat.session import ChatSession
    from chatrwkv.chat.tree import Node

WAIT_S = 20.0
SHORT = {"max_tokens": 12, "seed": 7}


def paths_below(root: Path) -> Paths:
    """Folders of a machine of its own."""
    return Paths(root / "config", root / "data", root / "state", root / "cache")


@dataclass
class Desk:
    """A workspace, its engine and its model; `again` closes both and opens them as the next start does."""

    root: Path
    model: FakeModel
    sampling: dict[str, Any] = field(default_factory=lambda: dict(SHORT))
    loader: Any = None
    name: str = "fake"

    def __post_init__(self) -> None:
        self.engine = EngineThread(loader=self.loader or fake_loader(self.model))
        self.engine.start()
        settings = Settings(chat=ChatSettings(state_budget_mb=1), sampling=self.sampling)
        self.workspace = Workspace.open(paths_below(self.root), settings, self.engine)

    def load(self, name: str = "") -> Desk:
        self.engine.load(self.root / f"{name or self.name}.pth").result(WAIT_S)
        return self

    def close(self) -> None:
        self.workspace.close()
        self.engine.close()

    def again(self, model: FakeModel | None = None) -> Desk:
        """The next start, on the same folders."""
        self.close()
        self.model = model or FakeModel(self.model.salt.decode(), end_rate=self.model.end_rate)
        self.__post_init__()
        return self

    @property
    def n_scanned(self) -> int:
        """Tokens that the model has prefilled since it was made."""
        return sum(map(sum, self.model.scan_sizes))


def ended(reply: Reply) -> ReplyView:
    """The reply once it is over."""
    view = reply.wait(WAIT_S)
    assert not view.is_running, "the reply never ended"
    return view


def said(session: ChatSession, text: str) -> Node:
    """The node of the whole reply to `text`."""
    reply = session.send(text)
    ended(reply)
    return session.node(reply.node_id)


def what(step: Step | None) -> str:
    """What undo or redo has done; empty for nothing."""
    return step.label if step else ""


@pytest.fixture
def make_desk(tmp_path: Path) -> Iterator[Callable[..., Desk]]:
    desks: list[Desk] = []

    def make(place: str = "desk", *, model: FakeModel | None = None, load: bool = True, **more: Any) -> Desk:
        desk = Desk(tmp_path / place, model or FakeModel(), **more)
        desks.append(desk)
        return desk.load() if load else desk

    yield make
    for desk in desks:
        desk.close()


@pytest.fixture
def desk(make_desk: Callable[..., Desk]) -> Desk:
    return make_desk()


@pytest.fixture
def vault(tmp_path: Path) -> Iterator[Vault]:
    """With room for ten minds."""
    opened = Vault(tmp_path / "states", budget_bytes=10 * N_BYTES)
    yield opened
    opened.close()
