"""Writes the completion scripts from the grammar of the command line; only a test runs this."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

    from chatrwkv.commands.grammar import Argument, Command

_NOTE = "# Written from chatrwkv's argument parsers; do not edit."


def script(shell: str, root: Command) -> str:
    """The script for `shell`."""
    return {"bash": _bash, "zsh": _zsh, "fish": _fish}[shell](root)


def _all(command: Command) -> Iterator[Command]:
    yield command
    for child in command.children:
        yield from _all(child)


def _first_words(command: Command) -> list[str]:
    """What may stand at the next place: commands, flags, fixed values."""
    words = [child.words[-1] for child in command.children]
    words += [flag for option in command.options for flag in option.flags]
    words += [choice for positional in command.positionals for choice in positional.choices]
    return words


# -- bash -------------------------------------------------------------------------------------------------

_BASH = """\
{note}
_chatrwkv() {{
    local cur=${{COMP_WORDS[COMP_CWORD]}} prev=${{COMP_WORDS[COMP_CWORD - 1]}} at=chatrwkv words= i
    for ((i = 1; i < COMP_CWORD; i++)); do
        case "$at ${{COMP_WORDS[i]}}" in
{steps}
        esac
    done
    COMPREPLY=()
    case "$at $prev" in
{values}
    esac
    case "$at" in
{words}
    esac
    COMPREPLY=($(compgen -W "$words" -- "$cur"))
}}
complete -o bashdefault -o default -F _chatrwkv chatrwkv
"""


def _bash(root: Command) -> str:
    names = [" ".join(command.words) for command in _all(root) if command is not root]
    steps = f'            {_alternatives(names)}) at="$at ${{COMP_WORDS[i]}}" ;;'
    fixed, free, words = [], [], []
    for command in _all(root):
        here = " ".join(command.words)
        for option in command.options:
            places = [f"{here} {flag}" for flag in option.flags]
            if option.choices:
                offer = f'COMPREPLY=($(compgen -W "{" ".join(option.choices)}" -- "$cur"))'
                fixed.append(f"        {_alternatives(places)}) {offer}; return ;;")
            elif option.takes_value:
                free += places
        words.append(f'        "{here}") words="{" ".join(_first_words(command))}" ;;')
    # After a flag with a free value no word is offered, and bash falls back to file names.
    values = [*fixed, f"        {_alternatives(free)}) return ;;"]
    return _BASH.format(note=_NOTE, steps=steps, values="\n".join(values), words="\n".join(words))


def _alternatives(names: list[str]) -> str:
    return " | ".join(f'"{name}"' for name in names)


# -- zsh --------------------------------------------------------------------------------------------------


def _zsh(root: Command) -> str:
    lines = ["#compdef chatrwkv", _NOTE]
    for command in _all(root):
        lines += ["", f"{_zsh_name(command)}() {{", *_zsh_body(command), "}"]
    return "\n".join([*lines, "", '_chatrwkv "$@"']) + "\n"


def _zsh_name(command: Command) -> str:
    return "_" + "_".join(command.words)


def _zsh_body(command: Command) -> list[str]:
    specs = [_zsh_option(option) for option in command.options]
    if not command.children:
        specs += [_zsh_positional(positional) for positional in command.positionals]
        return [f"    _arguments -s {' '.join(specs)}"] if specs else ["    _message 'nothing follows'"]
    listed = [
        f"        {_zsh_quote(f'{child.words[-1]}:{_plain(child.help)}')}" for child in command.children
    ]
    calls = [f"            {child.words[-1]}) {_zsh_name(child)} ;;" for child in command.children]
    places = " ".join([*specs, "'1: :->command'", "'*::argument:->rest'"])
    return [
        "    local line state",
        f"    _arguments -s -C {places}",
        "    case $state in",
        "        command)",
        "            local -a commands=(",
        *[f"        {line}" for line in listed],
        "            )",
        "            _describe command commands ;;",
        "        rest) case $line[1] in",
        *[f"    {call}" for call in calls],
        "            esac ;;",
        "    esac",
    ]


def _zsh_option(option: Argument) -> str:
    value = ""
    if option.takes_value:
        value = f":{option.metavar.lower()}:" + _zsh_values(option)
    text = f"[{_plain(option.help)}]{value}"
    if len(option.flags) == 1:
        return _zsh_quote(option.flags[0] + text)
    shown = ",".join(option.flags)
    return f"'({' '.join(option.flags)})'{{{shown}}}{_zsh_quote(text)}"


def _zsh_positional(positional: Argument) -> str:
    return _zsh_quote(f"*:{positional.metavar.lower()}:" + _zsh_values(positional))


def _zsh_values(argument: Argument) -> str:
    if argument.choices:
        return f"({' '.join(argument.choices)})"
    return "_files" if argument.wants_file or argument.metavar == "MODEL" else ""


def _zsh_quote(text: str) -> str:
    return "'" + text.replace("'", "'\\''") + "'"


def _plain(text: str) -> str:
    """Help without the signs that zsh's specifications give a meaning."""
    for sign, plain in ("[(", "])", ":,"):
        text = text.replace(sign, plain)
    return text.replace("`", "").replace("\\", "")


# -- fish -------------------------------------------------------------------------------------------------


def _fish(root: Command) -> str:
    lines = [_NOTE]
    for command in _all(root):
        place = _fish_condition(root, command)
        lines += [
            f"complete -c chatrwkv -n '{place}' -f -a {child.words[-1]} -d {_fish_quote(child.help)}"
            for child in command.children
        ]
        lines += [f"complete -c chatrwkv -n '{place}' {_fish_option(option)}" for option in command.options]
        lines += [
            f"complete -c chatrwkv -n '{place}' -f -a '{' '.join(positional.choices)}'"
            for positional in command.positionals
            if positional.choices
        ]
    return "\n".join(lines) + "\n"


def _fish_condition(root: Command, command: Command) -> str:
    if command is root:
        return "__fish_use_subcommand"
    seen = [f"__fish_seen_subcommand_from {word}" for word in command.words[1:]]
    if command.children:
        seen.append(f"not __fish_seen_subcommand_from {' '.join(c.words[-1] for c in command.children)}")
    return "; and ".join(seen)


def _fish_option(option: Argument) -> str:
    parts = [f"-l {flag[2:]}" if flag.startswith("--") else f"-s {flag[1:]}" for flag in option.flags]
    if option.choices:
        parts.append(f"-x -a '{' '.join(option.choices)}'")
    elif option.wants_file or option.metavar == "MODEL":
        parts.append("-r -F")
    elif option.takes_value:
        parts.append("-x")
    parts.append(f"-d {_fish_quote(option.help)}")
    return " ".join(parts)


def _fish_quote(text: str) -> str:
    return "'" + text.replace("\\", "\\\\").replace("'", "\\'") + "'"
