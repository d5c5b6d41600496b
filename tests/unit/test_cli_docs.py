"""What is generated from the argument parsers is what is stored. `CHATRWKV_TEST_UPDATE=1` writes it anew."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

import chatrwkv.commands
from chatrwkv import cli
from chatrwkv.commands.completion import SHELLS, stored
from chatrwkv.commands.completion_scripts import script
from chatrwkv.commands.grammar import grammar
from chatrwkv.commands.reference import BEGIN, END, markdown
from chatrwkv.engine import generations

ROOT = Path(__file__).parents[2]
UPDATE = bool(os.environ.get("CHATRWKV_TEST_UPDATE"))


@pytest.mark.parametrize("shell", SHELLS)
def test_completion_script_is_current(shell):
    path = Path(chatrwkv.commands.__path__[0]) / "completions" / f"chatrwkv.{shell}"
    wanted = script(shell, grammar())
    if UPDATE:
        path.write_text(wanted, encoding="utf-8")
    assert stored(shell) == wanted


@pytest.mark.parametrize(
    ("begin", "end", "written"),
    [
        (BEGIN, END, lambda: markdown(grammar())),
        ("<!-- generations -->", "<!-- /generations -->", generations.markdown),
    ],
    ids=["cli", "generations"],
)
def test_block_of_the_readme_is_current(begin, end, written):
    path = ROOT / "README.md"
    text = path.read_text(encoding="utf-8")
    assert text.count(begin) == text.count(end) == 1
    before, rest = text.split(begin)
    _, after = rest.split(end)
    wanted = f"{before}{begin}\n{written()}{end}{after}"
    if UPDATE and text != wanted:
        path.write_text(wanted, encoding="utf-8")
        text = wanted
    assert text == wanted


def offered(*words):
    """What bash offers for the last of `words`."""
    program = (
        f"source {Path(chatrwkv.commands.__path__[0]) / 'completions' / 'chatrwkv.bash'}\n"
        f"COMP_WORDS=({' '.join(repr(w) for w in words)}); COMP_CWORD={len(words) - 1}\n"
        '_chatrwkv; printf "%s\\n" "${COMPREPLY[@]}"'
    )
    done = subprocess.run(["bash", "-c", program], capture_output=True, text=True, check=True)
    assert not done.stderr
    return done.stdout.split()


def test_bash_offers_commands_actions_options_and_values():
    assert {"run", "chats", "completion", "--version"} <= set(offered("chatrwkv", ""))
    assert offered("chatrwkv", "mo") == ["models"]
    assert offered("chatrwkv", "chats", "re") == ["rename", "replay", "restore"]
    assert offered("chatrwkv", "run", "--sa") == ["--save-state", "--safe"]
    assert offered("chatrwkv", "run", "--dtype", "f") == ["fp32", "fp16"]
    assert offered("chatrwkv", "chats", "export", "-f", "") == ["md", "json", "txt"]
    assert offered("chatrwkv", "completion", "z") == ["zsh"]
    assert offered("chatrwkv", "run", "-m", "") == []  # bash's own file names


def test_completion_prints_the_stored_script(capsys):
    assert cli.main(["completion", "fish"]) == 0
    assert capsys.readouterr().out == stored("fish")


def test_grammar_knows_every_command():
    assert [child.words[-1] for child in grammar().children] == list(cli.COMMANDS)
    for command in grammar().children:
        for option in command.options:
            assert option.help, f"{command.words} {option.flags} has no help"
