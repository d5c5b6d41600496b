"""The small commands: paths, config, prompts, models, states, doctor."""

from __future__ import annotations

import io
import json
import sys

import pytest

from chatrwkv.cli import main
from chatrwkv.commands import output
from chatrwkv.commands.settings import CONFIGURABLE
from chatrwkv.paths import Paths, private_dir

GOOD = "[turns]\nuser = 'U: {text}'\n"


class Terminal(io.StringIO):
    def isatty(self):
        return True


def terminal(monkeypatch):
    """Not a fixture: pytest puts its own stdout in place between setup and test."""
    made = Terminal()
    monkeypatch.setattr(sys, "stdout", made)
    return made


@pytest.fixture
def own_prompts():
    return private_dir(Paths.default().user_prompts)


def written_settings(text):
    path = Paths.default().config_file
    private_dir(path.parent)
    path.write_text(text, encoding="utf-8")
    return path


# -- output -----------------------------------------------------------------------------------------------


def test_terminal_gets_no_escape_sequence_even_when_split(monkeypatch):
    shown = terminal(monkeypatch)
    out = output.Output()
    for piece in ("a\x1b", "]52;c;", "eA==\x07b\x9b", "2Jc"):
        out.write(piece)
    out.end_line()
    assert shown.getvalue() == "abc\n"


def test_pipe_gets_the_text_as_it_is_unless_safe(capsys):
    output.Output().write("a\x1b[2Jb")
    output.Output(safe=True).write("a\x1b[2Jb")
    assert capsys.readouterr().out == "a\x1b[2Jbab"


def test_raw_keeps_escape_sequences_on_a_terminal(monkeypatch):
    shown = terminal(monkeypatch)
    output.Output(safe=False).write("a\x1b[2Jb")
    assert shown.getvalue() == "a\x1b[2Jb"


def test_json_for_a_terminal_is_ascii(monkeypatch):
    shown = terminal(monkeypatch)
    output.Output().json({"text": "\x9b好"})
    assert shown.getvalue() == '{"text": "\\u009b\\u597d"}\n'


def test_list_on_a_terminal_is_aligned_by_cells(monkeypatch):
    shown = terminal(monkeypatch)
    from argparse import Namespace

    rows = [{"name": "你好", "n": 1}, {"name": "a", "n": 22}]
    output.print_rows(Namespace(json=False), rows, ("name", "n"))
    assert shown.getvalue() == "NAME  N\n你好  1\na     22\n"


# -- paths and config -------------------------------------------------------------------------------------


def test_paths_follow_the_environment_and_create_nothing(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("CHATRWKV_DATA_DIR", str(tmp_path / "all"))
    assert main(["paths", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["database"] == str(tmp_path / "all" / "chats.db")
    assert not (tmp_path / "all").exists()


def test_config_show_names_the_source_of_each_value(monkeypatch, capsys):
    path = written_settings("[sampling]\ntop_p = 0.9\n[model]\ndevice = 'cpu'\n")
    monkeypatch.setenv("CHATRWKV_MODEL__DTYPE", "bf16")
    assert main(["config", "show", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["sampling.top_p"] == {"value": 0.9, "source": str(path)}
    assert found["model.device"] == {"value": "cpu", "source": str(path)}
    assert found["model.dtype"] == {"value": "bf16", "source": "environment"}
    assert found["chat.thinking"] == {"value": "", "source": "default"}
    assert {f"sampling.{key}" for key in CONFIGURABLE} < set(found)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[sampling]\ntop_p = 1.5\n", "top_p is 1.5"),
        ("[sampling]\ntop_q = 1\n", "'sampling.top_q', which does not exist"),
        ("[chat]\ntemplate = 'g1-cht'\n", "Did you mean 'g1-chat'"),
        ("[chat]\ntemplate = 'g1-chat'\nthinking = 'loud'\n", "no thinking mode 'loud'"),
        ("[model]\ndtype = 'fp8'\n", "auto or fp32"),
        ("= x\n", "not valid TOML"),
    ],
)
def test_config_check_exits_2_and_names_the_value(text, said, capsys):
    written_settings(text)
    assert main(["config", "check"]) == 2
    assert said in capsys.readouterr().err


def test_config_check_is_content_with_good_settings(capsys):
    written_settings("[chat]\ntemplate = 'g1-chat'\nthinking = 'fast'\n")
    assert main(["config", "check"]) == 0
    assert main(["config", "path"]) == 0
    out, err = capsys.readouterr()
    assert "no problems" in err
    assert out == f"{Paths.default().config_file}\n"


def test_config_flag_must_name_a_file(tmp_path, capsys):
    other = tmp_path / "other.toml"
    assert main(["config", "show", "--config", str(other)]) == 2
    other.write_text("offline = true\n")
    assert main(["config", "show", "--config", str(other)]) == 0
    assert f"offline\tyes\t{other}" in capsys.readouterr().out


# -- prompts ----------------------------------------------------------------------------------------------


def test_prompts_list_shows_own_ones_and_survives_broken_ones(own_prompts, capsys):
    (own_prompts / "mine.toml").write_text("title = 'Mine'\n" + GOOD)
    (own_prompts / "broken.toml").write_text("=")
    assert main(["prompts", "list"]) == 0
    out, err = capsys.readouterr()
    assert "mine\t\t\tMine\n" in out
    assert "g1-chat\tg1\t" in out
    assert "broken.toml is not valid TOML" in err


def test_prompts_show_prints_what_is_fed(own_prompts, capsys):
    assert main(["prompts", "show", "g1-chat", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["prompt_think-bit"] == "System: SYSTEM\n\nUser: MESSAGE (think a bit)\n\nAssistant: <think"
    path = own_prompts / "mine.toml"
    path.write_text(GOOD)
    assert main(["prompts", "show", str(path)]) == 0
    assert "prompt_off\tU: MESSAGE\n" in capsys.readouterr().out


def test_prompts_show_of_an_unknown_name_exits_2(capsys):
    assert main(["prompts", "show", "g1-cht"]) == 2
    assert "Did you mean 'g1-chat'?" in capsys.readouterr().err


def test_prompts_check_exits_2_for_a_file_that_is_no_template(own_prompts, tmp_path, capsys):
    assert main(["prompts", "check"]) == 0
    good, bad = own_prompts / "good.toml", tmp_path / "bad.toml"
    good.write_text(GOOD)
    bad.write_text(GOOD.replace("text", "txet"))
    assert main(["prompts", "check"]) == 0
    assert main(["prompts", "check", str(good), str(bad)]) == 2
    assert "uses {txet}" in capsys.readouterr().err
    (own_prompts / "bad.toml").write_text("=")
    assert main(["prompts", "check"]) == 2


# -- models and states ------------------------------------------------------------------------------------


def test_models_list_shows_files_that_cannot_be_models_with_their_problem(capsys):
    folder = private_dir(Paths.default().models)
    (folder / "rwkv7-g1-empty.pth").write_bytes(b"")
    assert main(["models", "list", "--json"]) == 0
    row = next(r for r in json.loads(capsys.readouterr().out) if r["name"] == "rwkv7-g1-empty")
    assert (row["family"], row["source"], row["problem"]) == ("g1", "models", "empty")


@pytest.mark.parametrize("name", ["absent.pth", "no-such-name"])
def test_models_info_of_a_missing_model_exits_3(name, tmp_path, capsys):
    assert main(["models", "info", str(tmp_path / name) if name.endswith("pth") else name]) == 3
    assert "There is no" in capsys.readouterr().err


def test_states_of_nothing_are_an_empty_list(tmp_path, capsys):
    assert main(["states", "list"]) == 0
    assert main(["states", "list", str(tmp_path)]) == 0
    assert capsys.readouterr().out == ""
    assert main(["states", "list", str(tmp_path / "absent")]) == 4


@pytest.mark.parametrize("action", ["info", "verify"])
def test_state_that_is_none_exits_4(action, tmp_path, capsys):
    bad = tmp_path / "bad.rwkvstate"
    bad.write_bytes(b"not a state at all")
    assert main(["states", action, str(bad)]) == 4
    assert main(["states", action, str(tmp_path / "absent")]) == 4
    err = capsys.readouterr().err
    assert "bad.rwkvstate" in err
    assert "Traceback" not in err


def test_states_list_goes_on_after_a_broken_file(tmp_path, capsys):
    (tmp_path / "bad.rwkvstate").write_bytes(b"no")
    assert main(["states", "list", str(tmp_path), "--json"]) == 0
    out, err = capsys.readouterr()
    assert json.loads(out) == []
    assert "bad.rwkvstate" in err


# -- app options ------------------------------------------------------------------------------------------


def options(*arguments):
    from chatrwkv.cli import parse
    from chatrwkv.commands.app import app_options

    return app_options(parse(list(arguments)))


def test_options_of_the_app_carry_flags_and_settings(monkeypatch):
    monkeypatch.delenv("HF_HUB_OFFLINE", raising=False)
    written_settings("[interface]\ntheme = 'nord'\n")
    made = options("-m", "x.pth", "-c", "--prompt", "world-chat", "--offline", "hi there")
    assert (made.first_message, made.model, made.continue_last, made.prompt) == (
        "hi there",
        "x.pth",
        True,
        "world-chat",
    )
    assert made.settings.interface.theme == "nord"
    assert made.settings.sources["model.default"] == "flag"
    assert made.offline
    import os

    assert os.environ["HF_HUB_OFFLINE"] == "1"


def test_broken_own_settings_are_a_warning_for_the_app_and_a_named_file_an_error(tmp_path):
    """The app must open to be able to say what is wrong."""
    written_settings("tehme = 1\n")
    made = options("-m", "x")
    assert made.settings.model.default == "x"
    assert "tehme" in made.warnings[0]
    other = tmp_path / "other.toml"
    other.write_text("tehme = 1\n")
    from chatrwkv.errors import UnknownKey

    with pytest.raises(UnknownKey):
        options("--config", str(other))


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--prompt", "wrld-chat"], "Did you mean 'world-chat'"),
        (["--chat", "abc"], "There is no chat 'abc'"),
        (["--state", "/nowhere.rwkvstate"], "cannot be read"),
    ],
)
def test_what_cannot_be_opened_is_said_before_the_screen_changes(arguments, said):
    from chatrwkv.errors import ChatRWKVError

    with pytest.raises(ChatRWKVError, match=said):
        options(*arguments)
