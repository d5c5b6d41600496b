"""What every session of a workspace shares."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

    from chatrwkv.chat.locks import ChatLocks
    from chatrwkv.chat.store import Store
    from chatrwkv.chat.template import Templates
    from chatrwkv.chat.vault import Vault
    from chatrwkv.config import Settings
    from chatrwkv.engine import EngineThread, ModelInfo


@dataclass(frozen=True, slots=True)
class Surroundings:
    """Store, vault, engine and what else a chat needs."""

    store: Store
    vault: Vault
    engine: EngineThread
    templates: Templates
    settings: Settings
    locks: ChatLocks
    model: Callable[[], ModelInfo | None]
    """The model that the next reply will surely be drawn with; None while another one is loading."""
    family: Callable[[], str]
    """Of that model, or of the one that is loading."""
