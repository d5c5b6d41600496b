"""`chatrwkv`: open the app."""

from __future__ import annotations

import argparse
import os
import platform
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from chatrwkv import __version__
from chatrwkv.commands.options import AppOptions
from chatrwkv.commands.placement import add_placement, placement_flags, plan_lines
from chatrwkv.errors import BadValue, ConfigError

if TYPE_CHECKING:
    from chatrwkv.config import Settings


class VersionAction(argparse.Action):
    """`--version`: what is installed, without importing it."""

    def __init__(self, option_strings: list[str], dest: str, **options: Any) -> None:
        super().__init__(option_strings, dest, nargs=0, **options)

    def __call__(self, parser: argparse.ArgumentParser, *_: object) -> None:
        """Print and leave."""
        print(version_text())
        parser.exit()


def version_text() -> str:
    """The versions that a report of a problem needs."""
    lines = [f"chatrwkv {__version__}", f"Python {platform.python_version()}"]
    lines += [f"{name} {installed_version(name)}" for name in ("torch", "textual")]
    return "\n".join(lines)


def installed_version(distribution: str) -> str:
    """From the metadata: importing torch takes seconds."""
    from importlib.metadata import PackageNotFoundError, version

    try:
        return version(distribution)
    except PackageNotFoundError:
        return "not installed"


def arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    parser.add_argument("message", nargs="?", help="open the app and send this")
    parser.add_argument("-m", "--model", metavar="MODEL", help="name or path of the model")
    which = parser.add_mutually_exclusive_group()
    which.add_argument(
        "-c", "--continue", dest="continue_last", action="store_true", help="go on with the last chat"
    )
    which.add_argument("--chat", metavar="ID", help="open this chat (`chatrwkv chats list` shows the ids)")
    which.add_argument(
        "--state", metavar="FILE", help="start a chat from a saved state, or from one of another program"
    )
    parser.add_argument("--prompt", metavar="NAME", help="prompt template (`chatrwkv prompts list`)")
    add_placement(parser)
    parser.add_argument("--config", metavar="FILE", help="read this settings file instead of your own")
    parser.add_argument("--offline", action="store_true", help="never use the network")
    parser.add_argument("--version", action=VersionAction, help="show versions and leave")
    parser.set_defaults(handler=open_app)


def open_app(args: argparse.Namespace) -> int:
    """Check what can be checked before the screen changes, then open the app."""
    # Textual reads stdin and draws on stderr.
    if not all(stream.isatty() for stream in (sys.stdin, sys.stdout, sys.stderr)):
        raise BadValue(
            "The app needs a terminal, and this is a pipe or a file.",
            hint="For pipes there is `chatrwkv run`.",
        )
    if os.environ.get("TERM") == "dumb":
        raise BadValue(
            "The app needs a terminal that can place text, and TERM is dumb.",
            hint="`chatrwkv run` works everywhere; if the terminal can, set TERM=xterm-256color.",
        )
    options = app_options(args)
    _tell_plan(args, options.settings)
    from chatrwkv.engine import without_collector

    with without_collector():
        from chatrwkv.tui.app import run_app

    return run_app(options)


def app_options(args: argparse.Namespace) -> AppOptions:
    """The options of this start.

    Raises:
        ChatRWKVError: a chat, state or template that was named cannot be used.
    """
    settings, warnings = _settings(args)
    if args.prompt:
        _check_template(args.prompt)
    state = Path(args.state).expanduser().absolute() if args.state else None
    if state:
        from chatrwkv.commands.states import check_state

        check_state(state)
    if settings.offline:
        from chatrwkv.commands.settings import go_offline

        go_offline()
    return AppOptions(
        settings=settings,
        first_message=args.message or "",
        model=args.model or "",
        chat=_full_id(args.chat) if args.chat else "",
        continue_last=args.continue_last,
        state=state,
        prompt=args.prompt or "",
        offline=settings.offline,
        warnings=warnings,
    )


def _tell_plan(args: argparse.Namespace, settings: Settings) -> None:
    """Where the model will be, if the command line says where; also what is wrong with that, while it can."""
    if settings.model.default and any(placement_flags(args).values()):
        from chatrwkv.commands.models import model_entry, weights_file
        from chatrwkv.commands.output import narrate

        for line in plan_lines(weights_file(model_entry(settings).path), settings):
            narrate(line)


def _settings(args: argparse.Namespace) -> tuple[Settings, tuple[str, ...]]:
    """The settings; what is wrong in the user's own file is a warning, in a file named by a flag an error."""
    from chatrwkv.commands.settings import CONFIGURABLE, settings_of
    from chatrwkv.config import load_settings

    flags = {
        "model.default": args.model,
        "chat.template": args.prompt,
        "offline": True if args.offline else None,
        **placement_flags(args),
    }
    try:
        return settings_of(args, flags), ()
    except ConfigError as error:
        if args.config is not None:
            raise
        defaults = load_settings(Path(os.devnull), environ={}, flags=flags, sampling_kinds=CONFIGURABLE)
        return defaults, (str(error),)


def _check_template(name: str) -> None:
    from chatrwkv.chat.template import load_templates
    from chatrwkv.paths import Paths, bundled_prompts

    load_templates([bundled_prompts(), Paths.default().user_prompts]).get(name)


def _full_id(reference: str) -> str:
    from chatrwkv.commands.chats import find_chat, opened_store

    with opened_store() as store:
        return find_chat(store, reference).id
