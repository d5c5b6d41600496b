"""The command line as Markdown, for the README; only a test runs this."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

    from chatrwkv.commands.grammar import Argument, Command

BEGIN, END = "<!-- cli -->", "<!-- /cli -->"
_INLINE = 3  # a command with more options shows none of them


def markdown(root: Command) -> str:
    """A table of all commands; `--help` tells their options."""
    rows = [f"| `{_cell(_usage(command))}` | {_cell(command.help)} |" for command in _leaves(root)]
    return "\n".join(["| command | |", "|---|---|", *rows]) + "\n"


def _leaves(command: Command) -> Iterator[Command]:
    """What can be run: commands without actions, and the app itself."""
    if not command.children or len(command.words) == 1:
        yield command
    for child in command.children:
        yield from _leaves(child)


def _own(command: Command) -> list[Argument]:
    return [option for option in command.options if "--help" not in option.flags]


def _usage(command: Command) -> str:
    own = _own(command)
    flags = [f"[{_flags(option)}]" for option in own] if len(own) <= _INLINE else ["[OPTIONS]"]
    return " ".join([*command.words, *map(_place, command.positionals), *flags])


def _place(place: Argument) -> str:
    name = f"{place.metavar} ..." if place.is_repeated else place.metavar
    return name if place.is_required else f"[{name}]"


def _flags(option: Argument) -> str:
    return f"{', '.join(option.flags)} {option.metavar}".strip()


def _cell(text: str) -> str:
    return text.replace("|", "\\|")
