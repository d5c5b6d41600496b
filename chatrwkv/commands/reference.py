"""The command line as Markdown, for the README; only a test runs this."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from chatrwkv.commands.grammar import Argument, Command

BEGIN, END = "<!-- cli -->", "<!-- /cli -->"


def markdown(root: Command) -> str:
    """One block a command: how it is called, then its options."""
    blocks = [_command(root)]
    for command in root.children:
        if command.children:
            blocks.append(_group(command))
        else:
            blocks.append(_command(command))
    return "\n\n".join(blocks) + "\n"


def _command(command: Command) -> str:
    lines = [f"`{_usage(command)}`: {command.help}", ""]
    lines += ["| option | |", "|---|---|"]
    lines += [f"| {_flags(option)} | {_cell(option.help)} |" for option in _own(command)]
    return "\n".join(lines if _own(command) else lines[:1])


def _group(command: Command) -> str:
    lines = [f"`{' '.join(command.words)}`: {command.help}", "", "| command | |", "|---|---|"]
    for child in command.children:
        flags = " ".join(f"[{_plain_flags(option)}]" for option in _own(child))
        usage = f"{child.words[-1]} {_places(child)} {flags}".split()
        lines.append(f"| `{_cell(' '.join(usage))}` | {_cell(child.help)} |")
    return "\n".join(lines)


def _own(command: Command) -> list[Argument]:
    return [option for option in command.options if "--help" not in option.flags]


def _usage(command: Command) -> str:
    return " ".join(
        f"{' '.join(command.words)} {'[OPTIONS]' if _own(command) else ''} {_places(command)}".split()
    )


def _places(command: Command) -> str:
    return " ".join(
        place.metavar if place.is_required else f"[{place.metavar}]" for place in command.positionals
    )


def _plain_flags(option: Argument) -> str:
    return f"{option.flags[-1]} {option.metavar}".strip()


def _flags(option: Argument) -> str:
    return f"`{_cell(', '.join(option.flags) + ' ' + option.metavar).strip()}`"


def _cell(text: str) -> str:
    return text.replace("|", "\\|")
