"""The command line: which command is meant, and what its end means to the shell.

stdout is data, stderr is narration. Exit codes: 0 ok, 1 the reply or the chats failed, 2 usage, settings or
template, 3 no such model or it cannot be loaded, 4 a state is damaged or of another model, 130 interrupted,
141 whoever read the output left. Nothing here imports torch or textual, so `--help` answers at once.
"""

from __future__ import annotations

import argparse
import contextlib
import difflib
import io
import os
import shlex
import sys
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

from chatrwkv import log
from chatrwkv.errors import ChatRWKVError

if TYPE_CHECKING:
    from collections.abc import Sequence

PROG = "chatrwkv"
# name: what it does; each is a module in `commands/`
COMMANDS = {
    "run": "answer once: prompt in, reply out, made for pipes",
    "chats": "list, show, search, export, import, rename, delete, restore, purge and back up chats",
    "states": "list and check saved states",
    "models": "list models and say what they are",
    "generations": "list the RWKV generations and what tells them apart",
    "prompts": "list, show and check prompt templates",
    "eval": "measure how well a model predicts a text, last words or multiple choice",
    "embed": "make a vector of each line of a text",
    "bench": "measure how fast a model runs here, against what the machine could do",
    "tune": "train a persona from a few examples: a state, not the weights",
    "museum": "ask a tiny model of every RWKV generation the same, side by side",
    "config": "show the settings and where each comes from",
    "paths": "say where files live",
    "doctor": "check that this installation works",
    "completion": "print a completion script for a shell",
}
INTERRUPTED = 130
READER_LEFT = 141


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command line and return its exit code; argparse itself exits 2 on a wrong one."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    _make_streams_lenient()
    log.install()
    try:
        args = parse(arguments)
        code: int = args.handler(args)
        sys.stdout.flush()
    except ChatRWKVError as error:
        _complain(error.message, error.hint)
        code = error.exit_code
    except KeyboardInterrupt:
        code = INTERRUPTED
    except BrokenPipeError:
        code = READER_LEFT
        _silence_stdout()
    except Exception as error:  # the top of the program: a sentence instead of a traceback
        if sys.flags.dev_mode:
            raise
        what = str(error) or type(error).__name__
        _complain(
            f"Something unexpected happened: {what}",
            f"`python -X dev -m {PROG} ...` shows where; please report it.",
        )
        code = 1
    return code


def parse(arguments: Sequence[str]) -> argparse.Namespace:
    """The arguments as a namespace with a `handler`; exits with 2 and a message when they are wrong."""
    if arguments and arguments[0] in COMMANDS:
        return command_parser(arguments[0]).parse_args(arguments[1:])
    parser = app_parser()
    args, rest = parser.parse_known_args(arguments)
    if rest:
        _refuse_rest(parser, args.message, rest)
    if "--" not in arguments:
        _refuse_likely_command(parser, args.message)
    return args


def app_parser() -> argparse.ArgumentParser:
    """The parser of `chatrwkv` without a command."""
    parser = new_parser(PROG, "Talk to an RWKV model in the terminal. Without a command, the app opens.")
    module = import_module("chatrwkv.commands.app")
    module.arguments(parser)
    width = max(map(len, COMMANDS))
    commands = "\n".join(f"  {name:<{width}}  {summary}" for name, summary in COMMANDS.items())
    parser.epilog = f"commands (`{PROG} COMMAND --help` tells more):\n{commands}"
    return parser


def command_parser(name: str) -> argparse.ArgumentParser:
    """The parser of one command; imports only that command's module."""
    module = import_module(f"chatrwkv.commands.{name}")
    parser = new_parser(f"{PROG} {name}", f"{COMMANDS[name].capitalize()}.")
    module.arguments(parser)
    return parser


def new_parser(prog: str, description: str) -> argparse.ArgumentParser:
    """A parser in this program's manner."""
    return argparse.ArgumentParser(
        prog=prog,
        description=description,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )


def _refuse_rest(parser: argparse.ArgumentParser, message: str | None, rest: Sequence[str]) -> NoReturn:
    """More than one argument without a command: a command mistyped, or a message without its quotes."""
    if message is None or any(word.startswith("-") for word in rest):
        parser.error(f"unrecognized arguments: {' '.join(rest)}")
    _refuse_likely_command(parser, message)
    parser.error(
        f"a message of several words is put in quotes: {PROG} {shlex.quote(' '.join((message, *rest)))}"
    )


def _refuse_likely_command(parser: argparse.ArgumentParser, message: str | None) -> None:
    """`chatrwkv modelz` is no greeting; a message of one word that is one can follow `--`."""
    if not message or " " in message:
        return
    near = difflib.get_close_matches(message, COMMANDS, n=1, cutoff=0.8)
    if near:
        start = "the command comes first" if message == near[0] else f"did you mean `{PROG} {near[0]}`"
        parser.error(f"{start}? To send {message!r} as a message: {PROG} -- {message}")


def _complain(message: str, hint: str) -> None:
    from chatrwkv.text import sanitise

    lines = f"{PROG}: {message}\n" + (f"  {hint}\n" if hint else "")
    with contextlib.suppress(OSError):  # nobody may be left to be told
        sys.stderr.write(sanitise(lines))
        sys.stderr.flush()


def _make_streams_lenient() -> None:
    """A locale without UTF-8 must not turn a reply into a UnicodeEncodeError; pipes are always UTF-8.

    A stream that the shell closed (`>&-`) is None in Python; what is written there goes nowhere.
    """
    for name in ("stdin", "stdout", "stderr"):
        if getattr(sys, name) is None:
            mode = "r" if name == "stdin" else "w"
            setattr(sys, name, Path(os.devnull).open(mode, encoding="utf-8"))  # noqa: SIM115 -- for good
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace", encoding=stream.encoding if stream.isatty() else "utf-8")


def _silence_stdout() -> None:
    """Python flushes stdout once more at exit, and would tell about the closed pipe then."""
    with contextlib.suppress(OSError, ValueError):  # in a test, stdout is no file
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
