"""What the command line asks of the app."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

    from chatrwkv.config import Settings


@dataclass(frozen=True, slots=True, kw_only=True)
class AppOptions:
    """One start of the app."""

    settings: Settings
    """Merged from defaults, file, environment and flags."""
    first_message: str = ""
    """Sent as soon as a chat is open."""
    model: str = ""
    """Name or path; empty follows the settings."""
    chat: str = ""
    """Id of the chat to open; checked."""
    continue_last: bool = False
    """Open the chat used last."""
    state: Path | None = None
    """A new chat goes on from this file; its header is checked, whether it fits the model is not."""
    prompt: str = ""
    """Template of the chat that opens; checked. Empty follows the settings, then the model's family."""
    offline: bool = False
    warnings: tuple[str, ...] = ()
    """What went wrong before the app could show it: settings that could not be read."""
