"""Settings as the commands read them: the file that is meant, and flags on top."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

from chatrwkv.config import Settings, load_settings
from chatrwkv.engine import SAMPLING_KINDS
from chatrwkv.errors import BadValue
from chatrwkv.paths import Paths

if TYPE_CHECKING:
    from argparse import Namespace
    from collections.abc import Mapping

# A seed for every reply would make all of them alike; banned ids belong to one vocabulary.
CONFIGURABLE = {name: kind for name, kind in SAMPLING_KINDS.items() if name not in ("seed", "banned")}


def settings_file(args: Namespace) -> Path:
    """The file that `--config`, the environment or the platform names.

    Raises:
        BadValue: `--config` names a file that does not exist.
    """
    if args.config is None:
        return Paths.default().config_file
    path = Path(args.config).expanduser().absolute()
    if not path.is_file():
        raise BadValue(f"There is no settings file {path}.", hint="Check the path after --config.")
    return path


def settings_of(args: Namespace, flags: Mapping[str, Any] | None = None) -> Settings:
    """All settings, flags on top."""
    return load_settings(settings_file(args), flags=flags, sampling_kinds=CONFIGURABLE)


def go_offline() -> None:
    """Keep the libraries below from reaching out, too; they read this when they are imported."""
    os.environ["HF_HUB_OFFLINE"] = "1"
