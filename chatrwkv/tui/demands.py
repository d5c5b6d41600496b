"""What commands demand before they begin: an open chat, a model, nothing else that is followed."""

from __future__ import annotations

from typing import TYPE_CHECKING

from chatrwkv.errors import GenerationError

if TYPE_CHECKING:
    from chatrwkv.chat.session import ChatSession
    from chatrwkv.engine import ModelInfo
    from chatrwkv.tui.screens.core import ChatCore


def open_session(screen: ChatCore) -> ChatSession:
    """The chat that is open."""
    assert screen.session is not None, "commands run only when a chat is open"
    return screen.session


def loaded_model(screen: ChatCore) -> ModelInfo:
    """The model that is loaded.

    Raises:
        GenerationError: there is none yet.
    """
    if (model := screen.workspace.model) is None:
        raise GenerationError("No model is loaded yet.", hint="Wait for it, or choose one with /model.")
    return model


def refuse_second_task(screen: ChatCore) -> None:
    """One task beside the replies has its progress on the status line.

    Raises:
        GenerationError: another one is under way.
    """
    if screen.app.side_task is not None:
        raise GenerationError(
            f"Something else is under way: {screen.app.side_task.name}.", hint="esc stops it."
        )
