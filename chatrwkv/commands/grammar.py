"""The command line as a tree of plain values, read from the argument parsers.

Completion scripts and the README's table are written from it. argparse's own help is not used for that: its
layout differs between versions of Python.
"""

from __future__ import annotations

import argparse
from dataclasses import dataclass

from chatrwkv.cli import COMMANDS, PROG, app_parser, command_parser

# What the shell should offer for an argument, by how it is called in the help.
_FILES = ("FILE", "FOLDER")


@dataclass(frozen=True, slots=True)
class Argument:
    """One option, or one positional argument (no flags)."""

    flags: tuple[str, ...]
    metavar: str
    """Empty for a switch."""
    help: str
    choices: tuple[str, ...] = ()
    is_required: bool = False
    is_repeated: bool = False

    @property
    def wants_file(self) -> bool:
        """Whether a path is meant."""
        return self.metavar in _FILES

    @property
    def takes_value(self) -> bool:
        """Whether something follows the flag."""
        return bool(self.metavar)


@dataclass(frozen=True, slots=True)
class Command:
    """A command and what follows it."""

    words: tuple[str, ...]
    """`("chatrwkv", "chats", "list")`."""
    help: str
    arguments: tuple[Argument, ...]
    children: tuple[Command, ...] = ()

    @property
    def options(self) -> tuple[Argument, ...]:
        """Arguments with flags."""
        return tuple(a for a in self.arguments if a.flags)

    @property
    def positionals(self) -> tuple[Argument, ...]:
        """Arguments without."""
        return tuple(a for a in self.arguments if not a.flags)


def grammar() -> Command:
    """The whole command line."""
    commands = tuple(_read(command_parser(name), (PROG, name), text) for name, text in COMMANDS.items())
    app = _read(app_parser(), (PROG,), "open the app")
    return Command(app.words, app.help, app.arguments, commands)


def _read(parser: argparse.ArgumentParser, words: tuple[str, ...], text: str) -> Command:
    arguments: list[Argument] = []
    children: tuple[Command, ...] = ()
    for action in parser._actions:  # noqa: SLF001 -- argparse has no public way to ask
        if isinstance(action, argparse._SubParsersAction):  # noqa: SLF001 -- as above
            summaries = {choice.dest: choice.help or "" for choice in action._get_subactions()}  # noqa: SLF001
            children = tuple(
                _read(child, (*words, name), summaries.get(name, ""))
                for name, child in action.choices.items()
            )
        else:
            arguments.append(_argument(action))
    return Command(words, text, tuple(arguments), children)


def _argument(action: argparse.Action) -> Argument:
    choices = tuple(str(choice) for choice in action.choices or ())
    metavar = ""
    if action.nargs != 0:
        metavar = "|".join(choices) or str(action.metavar or action.dest).upper()
    return Argument(
        flags=tuple(action.option_strings),
        metavar=metavar,
        help=action.help or "",
        choices=choices,
        is_required=not action.option_strings and action.nargs not in ("?", "*"),
        is_repeated=action.nargs in ("*", "+"),
    )
