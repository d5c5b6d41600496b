"""`chatrwkv completion`: scripts for shells, written once from the argument parsers and kept as plain text.

The stored scripts are what is printed, so completion costs no import; a test compares them with what the
parsers say now (`CHATRWKV_TEST_UPDATE=1` writes them anew).
"""

from __future__ import annotations

from importlib import resources
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import argparse

SHELLS = ("bash", "zsh", "fish")
_USE = """\
bash: chatrwkv completion bash > ~/.local/share/bash-completion/completions/chatrwkv
zsh:  chatrwkv completion zsh > "${fpath[1]}/_chatrwkv"
fish: chatrwkv completion fish > ~/.config/fish/completions/chatrwkv.fish"""


def arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    parser.epilog = _USE
    parser.add_argument("shell", choices=SHELLS, help="which shell")
    parser.set_defaults(handler=show)


def show(args: argparse.Namespace) -> int:
    """Print the stored script."""
    print(stored(args.shell), end="")
    return 0


def stored(shell: str) -> str:
    """The script in this package."""
    folder = resources.files("chatrwkv.commands") / "completions"
    return (folder / f"chatrwkv.{shell}").read_text(encoding="utf-8")
