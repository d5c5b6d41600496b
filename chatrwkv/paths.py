"""Where files live: config, data, state and cache folders, made private on use and never at import."""

from __future__ import annotations

import os
from dataclasses import dataclass
from functools import cached_property
from importlib import resources
from pathlib import Path

from chatrwkv.errors import StoreFull

_APP = "chatrwkv"


@dataclass(frozen=True)
class Paths:
    """The folders of one user; `CHATRWKV_DATA_DIR` moves all of them below one folder."""

    config_dir: Path
    data_dir: Path
    state_dir: Path
    cache_dir: Path

    @classmethod
    def default(cls) -> Paths:
        """The platform's folders, or those below `CHATRWKV_DATA_DIR`."""
        override = os.environ.get("CHATRWKV_DATA_DIR")
        if override:
            root = Path(override).expanduser().absolute()
            return cls(root / "config", root, root / "state", root / "cache")
        import platformdirs  # with the override, a machine that only measures need not have it

        dirs = platformdirs.PlatformDirs(_APP, appauthor=False)
        return cls(
            Path(dirs.user_config_dir),
            Path(dirs.user_data_dir),
            Path(dirs.user_state_dir),
            Path(dirs.user_cache_dir),
        )

    @cached_property
    def config_file(self) -> Path:
        """The user's settings, read and never written; `CHATRWKV_CONFIG` names another."""
        override = os.environ.get("CHATRWKV_CONFIG")
        return Path(override).expanduser().absolute() if override else self.config_dir / "config.toml"

    @property
    def user_prompts(self) -> Path:
        """The user's own templates."""
        return self.config_dir / "prompts"

    @property
    def database(self) -> Path:
        """Chats."""
        return self.data_dir / "chats.db"

    @property
    def models(self) -> Path:
        """Checkpoints that the model list shows."""
        return self.data_dir / "models"

    @property
    def states(self) -> Path:
        """Snapshots of messages, named by content."""
        return self.data_dir / "states"

    @property
    def saved_states(self) -> Path:
        """`.rwkvstate` files that the user saved by name."""
        return self.data_dir / "saved"

    @property
    def exports(self) -> Path:
        """Chats written as Markdown, JSON or text."""
        return self.data_dir / "exports"

    @property
    def backups(self) -> Path:
        """Copies of the database made before migrations."""
        return self.data_dir / "backups"

    @property
    def log_file(self) -> Path:
        """The log; it holds no chat text."""
        return self.state_dir / "chatrwkv.log"

    @property
    def ui_file(self) -> Path:
        """What the interface remembers: theme, panels, last chat."""
        return self.state_dir / "ui.json"


def private_dir(folder: Path) -> Path:
    """Create `folder` readable by its user only, and return it.

    Raises:
        StoreFull: it cannot be created.
    """
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        raise StoreFull(
            f"The folder {folder} cannot be created: {error.strerror or error}.",
            hint="Free space, correct its permissions, or set CHATRWKV_DATA_DIR to a folder you can write.",
        ) from error
    return folder


def bundled_prompts() -> Path:
    """The templates that come with the program: inside the wheel, or beside the package in a checkout."""
    package = Path(str(resources.files("chatrwkv")))
    inside = package / "prompts"
    return inside if inside.is_dir() else package.parent / "prompts"


def bundled_models() -> Path:
    """The folder of built-in models."""
    return Path(str(resources.files("chatrwkv"))) / "builtin"


def bundled_museum() -> Path:
    """The tiny models of every generation, with their vocabulary and `heldout.jsonl`."""
    return bundled_models() / "museum"
