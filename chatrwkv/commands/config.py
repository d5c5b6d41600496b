"""`chatrwkv config`: the settings and where each comes from."""

from __future__ import annotations

from dataclasses import fields, replace
from typing import TYPE_CHECKING, Any

from chatrwkv.commands.output import add_actions, add_config, add_json, narrate, print_json, print_rows
from chatrwkv.commands.settings import CONFIGURABLE, settings_file, settings_of
from chatrwkv.errors import BadValue

if TYPE_CHECKING:
    import argparse

    from chatrwkv.config import Settings


def arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    parser.epilog = (
        "A flag wins over CHATRWKV_SECTION__KEY, that over the settings file, that over the default."
    )
    actions = add_actions(parser)
    show_parser = actions.add_parser(
        "show", help="print each value and where it comes from", allow_abbrev=False
    )
    add_json(show_parser)
    add_config(show_parser)
    show_parser.set_defaults(handler=show)
    check_parser = actions.add_parser(
        "check", help="exit 2 and say why if something is wrong", allow_abbrev=False
    )
    add_config(check_parser)
    check_parser.set_defaults(handler=check)
    path_parser = actions.add_parser("path", help="print the path of the settings file", allow_abbrev=False)
    path_parser.set_defaults(handler=path, config=None)


def show(args: argparse.Namespace) -> int:
    """Print every setting."""
    rows = setting_rows(settings_of(args))
    if args.json:
        print_json({row["key"]: {"value": row["value"], "source": row["source"]} for row in rows})
    else:
        print_rows(args, rows, ("key", "value", "source"))
    return 0


def setting_rows(settings: Settings) -> list[dict[str, Any]]:
    """Every setting with its source; sampling that is not set follows the template."""
    rows: list[dict[str, Any]] = []
    for section in ("model", "chat", "interface"):
        body = getattr(settings, section)
        for field in fields(body):
            key = f"{section}.{field.name}"
            value = getattr(body, field.name)
            if isinstance(value, tuple):
                value = list(value)
            rows.append({"key": key, "value": value, "source": settings.sources.get(key, "default")})
    for name in CONFIGURABLE:
        key = f"sampling.{name}"
        value = settings.sampling.get(name)
        rows.append({"key": key, "value": value, "source": settings.sources.get(key, "template")})
    rows.append({"key": "offline", "value": settings.offline, "source": settings.sources["offline"]})
    return rows


def check(args: argparse.Namespace) -> int:
    """Read the settings as the app would, and try the values that only other parts understand."""
    settings = settings_of(args)
    check_values(settings)
    narrate(f"{settings_file(args)}: no problems.")
    return 0


def check_values(settings: Settings) -> None:
    """Check what the settings themselves cannot.

    Raises:
        ChatRWKVError: sampling out of range, a template or thinking mode that does not exist.
    """
    from chatrwkv.chat.template import load_templates
    from chatrwkv.engine import SamplingParams
    from chatrwkv.paths import Paths, bundled_prompts

    try:
        replace(SamplingParams(), **settings.sampling)
    except TypeError as error:
        raise BadValue("A value in [sampling] is no number.", hint="Correct it and try again.") from error
    if settings.chat.template:
        templates = load_templates([bundled_prompts(), Paths.default().user_prompts])
        templates.get(settings.chat.template).mode(settings.chat.thinking)


def path(_: argparse.Namespace) -> int:
    """Print the path, whether or not the file exists."""
    from chatrwkv.paths import Paths

    print(Paths.default().config_file)
    return 0
