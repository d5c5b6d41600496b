"""`chatrwkv eval` on a model that costs nothing."""

from __future__ import annotations

import json
import sys

import pytest

from chatrwkv.cli import main
from chatrwkv.commands import eval as command
from chatrwkv.commands import running
from chatrwkv.engine import EngineThread
from chatrwkv.engine.tasks.evaluate import Position
from tests.fakes import FakeModel, fake_loader
from tests.unit.test_commands import Terminal


@pytest.fixture
def text(tmp_path):
    path = tmp_path / "some.txt"
    path.write_text("A text of some length, to be read twice. " * 20)
    return path


@pytest.fixture
def model(monkeypatch, tmp_path):
    path = tmp_path / "tiny.pth"
    path.write_bytes(b"x")
    monkeypatch.setattr(running, "EngineThread", lambda: EngineThread(fake_loader(FakeModel())))
    return str(path)


def test_json_on_stdout_is_all_that_was_measured(model, text, capsys):
    assert main(["eval", str(text), "-m", model, "--json"]) == 0
    out, err = capsys.readouterr()
    found = json.loads(out)
    assert err == ""
    assert found["n_tokens"] == found["n_bytes"] == text.stat().st_size
    assert found["bits_per_byte"] > 0
    assert [p["first"] for p in found["by_position"]][:4] == [1, 2, 3, 5]
    assert found["against"] is None


def test_pipe_gets_tab_separated_rows(model, text, capsys):
    assert main(["eval", str(text), "-m", model]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "model\ttiny"
    rows = lines[lines.index("position\ttokens\tloss") + 1 :]
    assert sum(int(row.split("\t")[1]) for row in rows) == text.stat().st_size


def test_terminal_gets_a_plot_and_progress(model, text, monkeypatch):
    out, err = Terminal(), Terminal()
    monkeypatch.setattr(sys, "stdout", out)
    monkeypatch.setattr(sys, "stderr", err)
    assert main(["eval", str(text), "-m", model]) == 0
    assert "█" in out.getvalue()
    assert "evaluating some.txt" in err.getvalue()
    assert "\x1b" not in out.getvalue()


def test_words_and_questions_are_summed_up(model, tmp_path, capsys):
    path = tmp_path / "rows.jsonl"
    rows = [{"text": "one two three"}, {"question": "Is it?", "choices": ["yes", "no"], "answer": 0}]
    path.write_text("\n".join(map(json.dumps, rows)))
    assert main(["eval", str(path), "-m", model]) == 0
    out = capsys.readouterr().out
    assert "last words\t" in out
    assert "of 1 right (" in out
    assert "50.0 % by chance" in out


def test_against_compares_with_the_same_file(model, text, monkeypatch, capsys):
    """The reference must be loaded on the same device, in the precision that was asked for."""
    asked = []

    def load(path, **options):
        asked.append(options["dtype"])
        return fake_loader(FakeModel())(path)

    monkeypatch.setattr("chatrwkv.engine.load_model", load)
    assert main(["eval", str(text), "-m", model, "--against", "fp32", "--json"]) == 0
    against = json.loads(capsys.readouterr().out)["against"]
    assert asked == ["fp32"]
    assert (against["mean_kl"], against["top1"], against["top1_sure"]) == (0, 1, 1)


def test_interrupt_stops_the_work_and_exits_130(model, text, monkeypatch):
    """A long evaluation that goes on after ctrl+c keeps the machine busy for nobody."""
    jobs = []

    class Interrupted(EngineThread):
        def __init__(self):
            super().__init__(fake_loader(FakeModel()))

        def call(self, task):
            job = super().call(task)
            jobs.append(job)
            return _Broken(job)

    class _Broken:
        def __init__(self, job):
            self.cancel = job.cancel

        def __iter__(self):
            raise KeyboardInterrupt

    monkeypatch.setattr(running, "EngineThread", Interrupted)
    assert main(["eval", str(text), "-m", model]) == 130
    assert jobs[0].cancelled


@pytest.mark.parametrize("name", ["absent.txt", "."])
def test_file_that_is_none_is_a_usage_error(model, name, tmp_path, capsys):
    assert main(["eval", str(tmp_path / name), "-m", model]) == 2
    assert "no file" in capsys.readouterr().err


def test_plot_gives_each_span_a_bar_in_proportion():
    lines = command.plot((Position(1, 1, 3, 8.0), Position(2, 2, 3, 4.0), Position(3, 4, 1, 0.1)))
    assert [line.count("█") for line in lines] == [40, 20, 0]
    assert lines[2].startswith("3-4  ▌")
    assert len({line.index(".") for line in lines}) == 1


def test_int8_without_native_code_is_refused_with_the_reason(text, capsys):
    """The torch path would serve in bf16, and its quality be told as that of int8."""
    assert main(["eval", str(text), "--dtype", "int8", "--device", "cpu"]) == 2
    err = capsys.readouterr().err
    assert "int8 of RWKV-7 on the CPU needs the native library" in err
    assert "CHATRWKV_NATIVE=0" in err
