"""`chatrwkv run` over a model that says what the test wants."""

from __future__ import annotations

import io
import json
import sys
from dataclasses import replace

import pytest

from chatrwkv.chat.portable import load_portable
from chatrwkv.cli import main
from chatrwkv.commands import running
from chatrwkv.engine import EngineThread
from chatrwkv.errors import ModelFormatError
from chatrwkv.paths import Paths, private_dir
from tests.fakes import FakeModel, ScriptedModel, fake_loader


class Stdin:
    def __init__(self, raw=b"", is_terminal=False):
        self.buffer = io.BytesIO(raw)
        self._is_terminal = is_terminal

    def isatty(self):
        return self._is_terminal


class Bench:
    """Puts a model behind `run`."""

    def __init__(self, monkeypatch, path):
        self._monkeypatch = monkeypatch
        self.path = str(path)

    def __call__(self, model=None, *, family="g1", **options):
        """Returns the list of requests that will be made."""
        asked = []

        class Spy(EngineThread):
            def __init__(self):
                super().__init__(fake_loader(model or FakeModel(), family=family, **options))

            def submit_many(self, requests):
                asked.extend(requests)
                return super().submit_many(requests)

        self._monkeypatch.setattr(running, "EngineThread", Spy)
        self._monkeypatch.setattr(sys, "stdin", Stdin(is_terminal=True))
        return asked


@pytest.fixture
def engine(monkeypatch, tmp_path):
    path = tmp_path / "tiny.pth"
    path.write_bytes(b"x")
    return Bench(monkeypatch, path)


def run(engine, *arguments, stdin=None, monkeypatch=None):
    if stdin is not None:
        monkeypatch.setattr(sys, "stdin", Stdin(stdin))
    return main(["run", "-m", engine.path, *arguments])


def test_answer_goes_to_stdout_and_the_thought_to_stderr(engine, capsys):
    engine(ScriptedModel(" <think>\nhm hm\n</think>\nYes.\n\nUser: more"))
    assert run(engine, "hi") == 0
    out, err = capsys.readouterr()
    assert out == "Yes.\n"
    assert "hm hm" in err


def test_what_a_model_with_a_context_has_forgotten_is_told(engine, capsys):
    """RWKV-1 reads the last half again when it is full, and knows nothing of the rest."""
    model = ScriptedModel(" Yes.")
    model.spec = replace(model.spec, n_context=40)
    engine(model)
    assert run(engine, "hi") == 0
    assert "can look at" not in capsys.readouterr().err
    assert run(engine, "a question of more than forty tokens, each of them a byte") == 0
    out, err = capsys.readouterr()
    assert out == "Yes.\n"
    assert "more than the 40 that tiny can look at" in err


def test_text_held_back_for_a_stop_string_is_not_lost(engine, capsys):
    engine(ScriptedModel(" One.\n\nUse"))
    assert run(engine, "hi") == 0
    assert capsys.readouterr().out == "One.\n\nUse\n"


@pytest.mark.parametrize("flags", [["--no-stream"], []])
def test_prompt_is_the_templates(engine, capsys, flags):
    model = ScriptedModel(" ok")
    engine(model)
    assert run(engine, "-s", "be kind", "a  b", *flags) == 0
    fed = sum(map(sum, model.scan_sizes))
    assert fed == len("System: be kind\n\nUser: a  b\n\nAssistant:")
    assert capsys.readouterr().out == "ok\n"


def test_json_tells_everything_about_the_reply(engine, capsys):
    engine(ScriptedModel(">\nhm</think> Yes."))
    assert run(engine, "hi", "--json", "--think", "think", "--seed", "5") == 0
    found = json.loads(capsys.readouterr().out)
    assert found["text"] == "Yes."
    assert found["thinking"] == "hm"
    assert found["raw"] == ">\nhm</think> Yes."
    assert bytes(token_id - 1 for token_id in found["token_ids"]).decode() == found["raw"]
    assert (found["reason"], found["seed"], found["model"], found["template"]) == (
        "end",
        5,
        "tiny",
        "g1-chat",
    )
    assert found["stats"]["reply_tokens"] == len(found["token_ids"])
    assert found["think"] == "think"


def test_several_replies_differ_and_repeat_with_their_seeds(engine, capsys):
    engine(FakeModel())
    runs = []
    for _ in range(2):
        assert (
            run(engine, "hi", "-n", "3", "--seed", "7", "--max-tokens", "20", "--top-p", "1", "--json") == 0
        )
        runs.append([json.loads(line) for line in capsys.readouterr().out.splitlines()])
    assert [reply["seed"] for reply in runs[0]] == [7, 8, 9]
    assert len({reply["text"] for reply in runs[0]}) == 3
    assert [reply["text"] for reply in runs[0]] == [reply["text"] for reply in runs[1]]
    assert run(engine, "hi", "--seed", "8", "--max-tokens", "20", "--top-p", "1", "--json") == 0
    assert json.loads(capsys.readouterr().out)["text"] == runs[0][1]["text"]


def test_several_replies_as_text_have_a_blank_line_between(engine, capsys):
    engine(ScriptedModel(" same"))
    assert run(engine, "hi", "-n", "2") == 0
    assert capsys.readouterr().out == "same\n\nsame\n"


@pytest.mark.parametrize(
    ("words", "stdin", "template", "message"),
    [
        (["a", "b"], b"", "g1-chat", "User: a b\n\n"),
        ([], b"from\r\na pipe\n", "g1-chat", "User: from\na pipe\n\n"),
        (["sum up"], b"long text\n", "g1-chat", "User: sum up\nlong text\n\n"),
        (["a", "-", "z"], b"m", "g1-chat", "User: a m z\n\n"),
        (["-"], b"\xef\xbb\xbfbom \xff", "g1-chat", "User: bom \ufffd\n\n"),
        (["translate"], b"guten Tag", "world-instruct", "Instruction: translate\n\nInput: guten Tag\n\n"),
        (["translate"], b" \n", "world-instruct", "Instruction: translate\n\n"),
    ],
)
def test_argument_and_stdin_become_one_message(engine, monkeypatch, words, stdin, template, message):
    model = ScriptedModel(" ok")
    engine(model)
    fed, read = [], model.read

    def noting(memory, token_id):
        fed.append(token_id)
        return read(memory, token_id)

    monkeypatch.setattr(model, "read", noting)
    assert run(engine, "-t", template, *words, stdin=stdin, monkeypatch=monkeypatch) == 0
    text = bytes(token_id - 1 for token_id in fed).decode()
    assert text.startswith(message)
    assert text[len(message) :].startswith(("Assistant:", "Response:"))


@pytest.mark.parametrize(("stdin", "is_terminal"), [(b"", False), (b" \n", False), (b"", True)])
def test_nothing_to_answer_is_a_usage_error(engine, monkeypatch, capsys, stdin, is_terminal):
    engine()
    monkeypatch.setattr(sys, "stdin", Stdin(stdin, is_terminal))
    assert main(["run", "-m", engine.path]) == 2
    assert "echo hi | chatrwkv run" in capsys.readouterr().err


def test_sampling_is_template_then_settings_then_flags(engine, capsys):
    path = Paths.default().config_file
    private_dir(path.parent)
    path.write_text("[sampling]\ntop_p = 0.9\ntemperature = 0.7\nmax_tokens = 3\n")
    asked = engine(FakeModel())
    assert run(engine, "hi", "-t", "g1-functions", "--temp", "0.5") == 0
    params = asked[0].params
    assert (params.presence, params.top_p, params.temperature) == (0.0, 0.9, 0.5)
    assert asked[0].stops[0] == "\n\nUser:"


def test_every_way_of_drawing_has_a_flag(engine):
    asked = engine(FakeModel())
    flags = (
        "--temp-first --top-p-x 0.01 --typical 0.9 --mirostat 3 --mirostat-rate 0.2 --cfg 1.5 "
        "--negative no --newline-rule --anti-repeat --max-tokens 2"
    )
    assert run(engine, "hi", *flags.split()) == 0
    params = asked[0].params
    assert (params.temp_first, params.newline_rule, params.anti_repeat) == (True, True, True)
    assert (params.top_p_x, params.typical, params.mirostat, params.mirostat_rate) == (0.01, 0.9, 3.0, 0.2)
    assert (params.cfg, params.negative) == (1.5, "no")


def test_reply_of_a_saved_state_tells_how_many_tokens_were_drawn(engine, tmp_path):
    """Without it the app would go on with the seed's first number and no penalties."""
    path = tmp_path / "s.rwkvstate"
    engine(FakeModel())
    assert run(engine, "hi", "--mirostat", "3", "--max-tokens", "8", "--save-state", str(path)) == 0
    meta = load_portable(path, None)[0].path()[-1].meta
    assert meta is not None
    assert meta.n_drawn == 8
    assert meta.mu not in (None, 6.0)


@pytest.mark.parametrize(
    ("family", "template"),
    [("g1", "g1-chat"), ("builtin", "builtin-chat"), ("raven", "raven-chat"), ("", "g1-chat")],
)
def test_template_follows_the_models_family(engine, capsys, family, template):
    engine(ScriptedModel(" ok"), family=family)
    assert run(engine, "hi", "--json") == 0
    assert json.loads(capsys.readouterr().out)["template"] == template


def test_thinking_from_the_settings_counts_where_the_template_has_it(engine, capsys):
    path = Paths.default().config_file
    private_dir(path.parent)
    path.write_text("[chat]\nthinking = 'fast'\n")
    engine(ScriptedModel(">\nok"))
    for template, mode, text in (("g1-chat", "fast", "ok"), ("world-qa", "off", ">\nok")):
        assert run(engine, "hi", "-t", template, "--json") == 0
        found = json.loads(capsys.readouterr().out)
        assert (found["think"], found["text"]) == (mode, text)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["-t", "nope"], "no template 'nope'"),
        (["-t", "/nowhere/x.toml"], "is not a file"),
        (["-s", "x", "-t", "free"], "no place for a system text"),
        (["--think", "loud"], "no thinking mode 'loud'"),
        (["--temp", "9"], "temperature is 9"),
        (["--max-tokens", "0"], "max_tokens is 0"),
        (["-n", "0"], "-n is 0"),
        (["-n", "2", "--save-state", "x"], "--save-state keeps one reply"),
        (["-s", "x", "--load-state", "y"], "Leave -s out"),
        (["--config", "/nowhere.toml"], "no settings file"),
    ],
)
def test_wrong_wish_exits_2_with_a_reason(engine, capsys, arguments, said):
    engine()
    assert run(engine, "hi", *arguments) == 2
    out, err = capsys.readouterr()
    assert said in err
    assert out == ""


def test_model_that_cannot_be_loaded_exits_3(engine, capsys):
    engine(failures={"tiny.pth": ModelFormatError("tiny.pth is empty.", hint="Download it again.")})
    assert run(engine, "hi") == 3
    assert capsys.readouterr().err == "chatrwkv: tiny.pth is empty.\n  Download it again.\n"


def test_reply_that_fails_prints_what_came_and_exits_1(engine, capsys):
    passes = []

    def break_down():
        passes.append(1)
        if len(passes) > 6:
            raise RuntimeError("the device is gone")

    engine(FakeModel(before=break_down))
    assert run(engine, "hi", "--seed", "1") == 1
    out, err = capsys.readouterr()
    assert 1 < len(out) < 10
    assert err.startswith("chatrwkv: ")
    assert "Traceback" not in err


def test_interrupt_prints_what_came_and_exits_130(engine, capsys, monkeypatch):
    """A reply that took a minute must not vanish with ctrl+c."""
    from chatrwkv.commands import replies

    engine(FakeModel())
    shown = replies._Live.show
    seen: list[tuple[str, str]] = []

    def interrupted(self, parts):
        shown(self, parts)
        had = len(seen)
        seen.extend(parts)
        if had < 5 <= len(seen):
            raise KeyboardInterrupt

    monkeypatch.setattr(replies._Live, "show", interrupted)
    assert run(engine, "hi", "--seed", "1", "--max-tokens", "100000") == 130
    out, err = capsys.readouterr()
    assert out.startswith("".join(text for _, text in seen[:5]))
    assert out.endswith("\n")
    assert err == ""


def test_state_goes_on_where_it_was_saved(engine, tmp_path, capsys):
    path = str(tmp_path / "s.rwkvstate")
    engine(FakeModel())
    assert run(engine, "hi", "--seed", "1", "--max-tokens", "8", "--save-state", path) == 0
    first = capsys.readouterr().out
    assert run(engine, "and?", "--seed", "2", "--max-tokens", "8", "--load-state", path, "--json") == 0
    loaded = json.loads(capsys.readouterr().out)
    assert loaded["stats"]["prompt_tokens"] == len("\n\nUser: and?\n\nAssistant:")
    assert main(["states", "info", path, "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["conversation"] == "2 messages"
    assert first


def test_a_state_of_another_program_is_gone_on_from(engine, tmp_path, capsys):
    """And what is saved then is a state of ours, with the conversation on top of it."""
    from chatrwkv.engine import export_state

    own, theirs = tmp_path / "s.rwkvstate", str(tmp_path / "theirs.pth")
    model = FakeModel()
    asked = engine(model)
    export_state(tmp_path / "theirs.pth", model.blank(), model.spec.generation, "package")
    more = ["--seed", "1", "--max-tokens", "8"]
    assert run(engine, "hi", *more, "--load-state", theirs, "--save-state", str(own), "--json") == 0
    found = json.loads(capsys.readouterr().out)
    assert found["stats"]["prompt_tokens"] == len("User: hi\n\nAssistant:")
    assert len(asked) == 1
    assert run(engine, "and?", *more, "--load-state", str(own)) == 0
    (tmp_path / "theirs.pth").write_bytes(b"x" * 100)
    capsys.readouterr()
    assert run(engine, "hi", "--load-state", theirs) == 4
    assert "is no state" in capsys.readouterr().err
    assert run(engine, "-t", "free", "", "--load-state", theirs) == 4


def test_a_foreign_state_alone_is_not_gone_on_from(engine, tmp_path, capsys):
    """It does not say which token comes next, and nothing must be made up."""
    from chatrwkv.engine import export_state

    model = FakeModel()
    engine(model)
    export_state(tmp_path / "theirs.pth", model.blank(), model.spec.generation, "package")
    assert run(engine, "-t", "free", "", "--load-state", str(tmp_path / "theirs.pth")) == 1
    assert "does not say what comes next" in capsys.readouterr().err


def test_state_of_another_model_exits_4_and_names_both(engine, tmp_path, capsys):
    path = str(tmp_path / "s.rwkvstate")
    engine(FakeModel("one"))
    assert run(engine, "hi", "--max-tokens", "3", "--save-state", path) == 0
    capsys.readouterr()
    engine(FakeModel("two"))
    assert run(engine, "hi", "--load-state", path) == 4
    out, err = capsys.readouterr()
    assert out == ""
    assert "belongs to" in err


def test_state_that_is_none_exits_4_before_the_model_is_loaded(engine, tmp_path, capsys):
    bad = tmp_path / "bad.rwkvstate"
    bad.write_bytes(b"x" * 100)
    engine(failures={"tiny.pth": ModelFormatError("must not be reached")})
    assert run(engine, "hi", "--load-state", str(bad)) == 4
    assert run(engine, "hi", "--load-state", str(tmp_path / "absent")) == 4
    assert "must not be reached" not in capsys.readouterr().err


@pytest.mark.parametrize(
    ("flags", "out"), [([], "\x1b[2Jred\n"), (["--safe"], "red\n"), (["--raw"], "\x1b[2Jred\n")]
)
def test_escape_sequences_in_a_pipe_are_kept_unless_safe(engine, capsys, flags, out):
    engine(ScriptedModel(" \x1b[2Jred"))
    assert run(engine, "hi", *flags) == 0
    assert capsys.readouterr().out == out
