"""`chatrwkv prompts`: the templates there are, what they feed, and whether a file is one."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from chatrwkv.chat.template import load_template, load_templates
from chatrwkv.commands.output import (
    add_actions,
    add_json,
    describe_problems,
    narrate,
    print_fields,
    print_json,
    print_rows,
)
from chatrwkv.engine import SAMPLING_FIELDS, SamplingParams
from chatrwkv.paths import Paths, bundled_prompts

_SHOWN = ("temperature", "top_p", "top_k", "presence", "frequency", "decay", "max_tokens")

if TYPE_CHECKING:
    import argparse

    from chatrwkv.chat.template import PromptTemplate, Templates


def arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    actions = add_actions(parser)
    list_parser = actions.add_parser("list", help="list all templates", allow_abbrev=False)
    add_json(list_parser)
    list_parser.set_defaults(handler=list_all)
    show_parser = actions.add_parser("show", help="print what one feeds to the model", allow_abbrev=False)
    show_parser.add_argument("name", metavar="NAME", help="template, or a .toml file")
    add_json(show_parser)
    show_parser.set_defaults(handler=show)
    check_parser = actions.add_parser(
        "check", help="exit 2 and say why if a file is no template", allow_abbrev=False
    )
    check_parser.add_argument(
        "files", metavar="FILE", nargs="*", help="files; your own templates if there is none"
    )
    check_parser.set_defaults(handler=check)


def all_templates() -> Templates:
    """The bundled ones, and the user's own on top."""
    return load_templates([bundled_prompts(), Paths.default().user_prompts])


def list_all(args: argparse.Namespace) -> int:
    """One line a template; broken files are told on stderr."""
    templates = all_templates()
    rows = [
        {
            "name": template.name,
            "families": list(template.families),
            "thinking": [mode for mode in template.thinking if mode != "off"],
            "title": template.title,
        }
        for template in templates.ok.values()
    ]
    print_rows(args, rows, ("name", "families", "thinking", "title"))
    describe_problems(templates.failed)
    return 0


def show(args: argparse.Namespace) -> int:
    """Everything about one template, ending with what it makes of a first message."""
    name = args.name
    template = load_template(Path(name)) if name.endswith((".toml", ".py")) else all_templates().get(name)
    fields = template_fields(template)
    if args.json:
        print_json(fields)
    else:
        print_fields(
            args, {key: repr(v) if isinstance(v, str) and "\n" in v else v for key, v in fields.items()}
        )
    return 0


def template_fields(template: PromptTemplate) -> dict[str, object]:
    """What `show` prints."""
    settings = template.sampling
    prompts = {
        f"prompt_{mode}": template.opening()
        + template.system_segment("SYSTEM")
        + template.user_segment("MESSAGE", first=True, mode=mode)
        + template.reply_prefix(mode)
        for mode in template.thinking
    }
    return {
        "name": template.name,
        "title": template.title,
        "description": template.description,
        "file": str(template.source),
        "families": list(template.families) or ["any"],
        "default_for": [family or "unknown models" for family in template.default_for],
        "several_turns": template.multi_turn,
        "system_text": template.takes_system,
        "input_part": bool(template.user_with_input),
        "stops": [repr(stop) for stop in template.stops],
        "token_0": "ends a reply" if template.end_token else "is banned",
        "sampling": [
            f"{name} {value}" if isinstance(value, bool | str) else f"{name} {value:g}"
            for name, value in _own(settings).items()
        ],
        **prompts,
    }


def _own(settings: SamplingParams) -> dict[str, Any]:
    """The settings that matter, and others that are not the usual ones."""
    usual = SamplingParams()
    return {
        name: getattr(settings, name)
        for name in SAMPLING_FIELDS
        if name in _SHOWN or getattr(settings, name) != getattr(usual, name)
    }


def check(args: argparse.Namespace) -> int:
    """Read the files; the first that is wrong is the error.

    Raises:
        TemplateError: with file, key and next step.
    """
    if args.files:
        templates = [load_template(Path(name)) for name in args.files]
    else:
        own = load_templates([Paths.default().user_prompts])
        if own.failed:
            describe_problems(own.failed[1:])
            raise own.failed[0][1]
        templates = list(own.ok.values())
    for template in templates:
        narrate(f"{template.source}: {template.title}, no problems.")
    if not templates:
        narrate(f"There are no templates in {Paths.default().user_prompts}.")
    return 0
