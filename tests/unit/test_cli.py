"""The command line as a whole: what is meant, what it costs to start, how it ends."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from chatrwkv import cli
from chatrwkv.commands import app, paths
from chatrwkv.errors import ModelNotFound

LIGHT = [
    ["--version"],
    ["--help"],
    ["paths"],
    ["paths", "--json"],
    ["config", "show"],
    ["config", "check"],
    ["prompts", "list"],
    ["completion", "bash"],
    *[[name, "--help"] for name in cli.COMMANDS],
]


def run_in_python(arguments):
    program = (
        "import sys; from chatrwkv.cli import main\n"
        f"try: code = main({arguments!r})\n"
        "except SystemExit as end: code = end.code\n"
        "print('MODULES', *sorted(sys.modules), file=sys.stderr)\n"
        "sys.exit(code)"
    )
    return subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)


@pytest.mark.parametrize("arguments", LIGHT, ids=" ".join)
def test_answer_needs_neither_torch_nor_textual(arguments):
    """Importing torch takes seconds; these must answer in 0.3 s."""
    done = run_in_python(arguments)
    assert done.returncode == 0, done.stderr
    modules = set(done.stderr.rpartition("MODULES")[2].split())
    assert not {"torch", "textual", "rich", "numpy", "sqlite3"} & modules


def test_help_of_the_program_imports_none_of_the_commands():
    modules = set(run_in_python(["--help"]).stderr.rpartition("MODULES")[2].split())
    assert {m for m in modules if m.startswith("chatrwkv.")} <= {
        "chatrwkv.cli", "chatrwkv.commands", "chatrwkv.commands.app", "chatrwkv.commands.options",
        "chatrwkv.commands.placement",
        "chatrwkv.errors", "chatrwkv.log",
    }  # fmt: skip


def test_version_names_what_a_report_needs(capsys):
    with pytest.raises(SystemExit, match="0"):
        cli.main(["--version"])
    lines = capsys.readouterr().out.splitlines()
    assert [re.sub(r" [\d.].*", "", line) for line in lines] == ["chatrwkv", "Python", "torch", "textual"]


def test_version_of_a_missing_package_is_said():
    assert app.installed_version("no-such-distribution") == "not installed"


@pytest.mark.parametrize("name", cli.COMMANDS)
def test_every_command_has_a_module_and_help(name, capsys):
    with pytest.raises(SystemExit, match="0"):
        cli.main([name, "--help"])
    assert capsys.readouterr().out.startswith(f"usage: chatrwkv {name}")


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["modelz"], "did you mean `chatrwkv models`"),
        (["-m", "x", "run"], "the command comes first"),
        (["--no-such-flag"], "unrecognized arguments"),
        (["tell", "me", "more"], "in quotes: chatrwkv 'tell me more'"),
        (["modelz", "list"], "did you mean `chatrwkv models`"),
        (["one", "--two", "three"], "unrecognized arguments: --two three"),
        (["--chat", "a", "--state", "b"], "not allowed with"),
        (["run", "--json", "--no-stream"], "not allowed with"),
        (["run", "--safe", "--raw"], "not allowed with"),
        (["run", "--seed", "x"], "invalid int value"),
        (["completion", "csh"], "invalid choice"),
        (["run", "--mod", "x"], "unrecognized arguments"),
    ],
)
def test_wrong_command_line_exits_2_with_a_reason(arguments, said, capsys):
    with pytest.raises(SystemExit) as caught:
        cli.main(arguments)
    assert caught.value.code == 2
    assert said in capsys.readouterr().err


@pytest.mark.parametrize("name", ["chats", "states", "models", "prompts", "config"])
def test_a_command_without_its_action_lists_the_actions(name, capsys):
    assert cli.main([name]) == 2
    shown = capsys.readouterr()
    assert f"usage: chatrwkv {name}" in shown.err
    assert len(shown.err.splitlines()) > 6
    assert not shown.out


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["hello"], "hello"),
        (["two words"], "two words"),
        (["--", "models"], "models"),
        ([], None),
        (["run it"], "run it"),
    ],
)
def test_what_is_no_command_is_a_first_message(arguments, message):
    args = cli.parse(arguments)
    assert args.message == message
    assert args.handler is app.open_app


def test_app_refuses_a_pipe_and_names_the_command_for_it(capsys):
    """Textual in a pipe would fill it with escape sequences."""
    assert cli.main(["hello"]) == 2
    assert "chatrwkv run" in capsys.readouterr().err


def test_app_refuses_a_terminal_that_cannot_place_text(capsys, monkeypatch):
    for name in ("stdin", "stdout", "stderr"):
        monkeypatch.setattr(getattr(sys, name), "isatty", lambda: True, raising=False)
    monkeypatch.setenv("TERM", "dumb")
    assert cli.main([]) == 2
    assert "TERM is dumb" in capsys.readouterr().err


def failing(error):
    def handler(_):
        raise error

    return handler


@pytest.mark.parametrize(
    ("error", "code", "said"),
    [
        (
            ModelNotFound("There is no file x.", hint="Check it."),
            3,
            "chatrwkv: There is no file x.\n  Check it.\n",
        ),
        (KeyboardInterrupt(), 130, ""),
        (BrokenPipeError(), 141, ""),
        (ZeroDivisionError("division by zero"), 1, "unexpected happened: division by zero"),
        (KeyError(), 1, "unexpected happened: KeyError"),
    ],
)
def test_every_end_has_its_code_and_no_traceback(error, code, said, capsys, monkeypatch):
    monkeypatch.setattr(paths, "show", failing(error))
    assert cli.main(["paths"]) == code
    out, err = capsys.readouterr()
    assert out == ""
    assert said in err
    assert "Traceback" not in err


def test_message_of_an_error_cannot_act_on_the_terminal(capsys, monkeypatch):
    """File names and models write part of the messages."""
    monkeypatch.setattr(
        paths, "show", failing(ModelNotFound("no \x1b]52;c;eA==\x07\x9b2Jfile", hint="\x1b[31mred"))
    )
    assert cli.main(["paths"]) == 3
    err = capsys.readouterr().err
    assert "\x1b" not in err
    assert "\x9b" not in err
    assert "no file" in err


def test_closed_pipe_ends_quietly():
    """`chatrwkv ... | head -1` must not complain, not even while Python shuts down."""
    process = subprocess.Popen(
        [sys.executable, "-m", "chatrwkv", "prompts", "show", "g1-chat", "--json"],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    )  # fmt: skip
    assert process.stdout is not None
    process.stdout.close()
    assert process.stderr is not None
    said = process.stderr.read()
    process.stderr.close()
    assert process.wait() in (0, 141)
    assert said == b""


def test_locale_without_utf8_does_not_end_the_program(tmp_path):
    """With an ASCII stdout the flower of a template would be a UnicodeEncodeError."""
    environ = {
        **os.environ,
        "LC_ALL": "C",
        "PYTHONIOENCODING": "ascii",
        "PYTHONUTF8": "0",
        "PYTHONCOERCECLOCALE": "0",
    }
    done = subprocess.run(
        [sys.executable, "-m", "chatrwkv", "prompts", "show", "g1-flower"],
        capture_output=True,
        env=environ,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "✿" in done.stdout.decode("utf-8")


def test_python_m_runs_it():
    done = subprocess.run(
        [sys.executable, "-m", "chatrwkv", "paths"],
        capture_output=True,
        text=True,
        check=True,
        cwd=Path(__file__).parents[2],
    )
    assert "config_file\t" in done.stdout
    assert done.stderr == ""


@pytest.mark.parametrize("closing", ["<&-", ">&-", "2>&-", "<&- >&- 2>&-"])
def test_closed_streams_are_no_mistake_of_the_program(closing):
    """Python gives None for them, and `None.isatty` was the end."""
    program = f"{sys.executable} -m chatrwkv prompts list {closing}; echo code $? >&3"
    done = subprocess.run(
        ["bash", "-c", f"exec 3>&1; {program}"],
        capture_output=True,
        text=True,
        check=True,
        stdin=subprocess.DEVNULL,
    )
    assert "code 0" in done.stdout
    assert done.stderr == ""
