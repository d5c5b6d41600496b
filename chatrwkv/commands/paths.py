"""`chatrwkv paths`: where files live."""

from __future__ import annotations

from typing import TYPE_CHECKING

from chatrwkv.commands.output import add_json, print_fields
from chatrwkv.paths import Paths, bundled_models, bundled_prompts

if TYPE_CHECKING:
    import argparse


def arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    parser.epilog = (
        "CHATRWKV_DATA_DIR moves everything below one folder, CHATRWKV_CONFIG names the settings file."
    )
    add_json(parser)
    parser.set_defaults(handler=show)


def show(args: argparse.Namespace) -> int:
    """Print every folder and file; nothing is created."""
    paths = Paths.default()
    print_fields(
        args,
        {
            "config_file": str(paths.config_file),
            "user_prompts": str(paths.user_prompts),
            "database": str(paths.database),
            "models": str(paths.models),
            "states": str(paths.states),
            "saved_states": str(paths.saved_states),
            "exports": str(paths.exports),
            "backups": str(paths.backups),
            "log_file": str(paths.log_file),
            "ui_file": str(paths.ui_file),
            "cache": str(paths.cache_dir),
            "bundled_prompts": str(bundled_prompts()),
            "bundled_models": str(bundled_models()),
        },
    )
    return 0
