"""Files that are no models, and models that write escape sequences (R17, R18, R24 of the reliability list)."""

from __future__ import annotations

import io
import os
import pickle
import subprocess
import sys
import zipfile
from pathlib import Path

import pexpect
import pytest
import torch

from chatrwkv.cli import main
from tests.checkpoints import Size, rwkv7

ROOT = Path(__file__).parents[2]


class Bomb:
    def __init__(self, sentinel):
        self.sentinel = str(sentinel)

    def __reduce__(self):
        return open, (self.sentinel, "w")


def missing(path, sentinel):
    pass


def truncated(path, sentinel):
    torch.save(rwkv7(Size()), path)
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def pickled_bomb(path, sentinel):
    path.write_bytes(pickle.dumps(Bomb(sentinel)))


def old_pickled_bomb(path, sentinel):
    path.write_bytes(pickle.dumps(Bomb(sentinel), protocol=2))


def legacy_torch_bomb(path, sentinel):
    torch.save({"emb.weight": Bomb(sentinel)}, path, _use_new_zipfile_serialization=False)


def zipped_bomb(path, sentinel):
    torch.save({"emb.weight": Bomb(sentinel)}, path)


def zipped_bomb_with_path_tricks(path, sentinel):
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("../../archive/data.pkl", pickle.dumps(Bomb(sentinel)))
        archive.writestr("archive/data.pkl", pickle.dumps(Bomb(sentinel)))
        archive.writestr("archive/version", "3")


def html_page(path, sentinel):
    path.write_text("<!DOCTYPE html><html><body>Please log in</body></html>")


def git_lfs_pointer(path, sentinel):
    path.write_text("version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1\n")


def gguf(path, sentinel):
    path.write_bytes(b"GGUF\x03\x00\x00\x00" + bytes(100))


def empty(path, sentinel):
    path.write_bytes(b"")


def folder(path, sentinel):
    path.mkdir()


def fifo(path, sentinel):
    os.mkfifo(path)


def symlink_loop(path, sentinel):
    path.symlink_to(path)


def not_rwkv(path, sentinel):
    torch.save({"weight": torch.zeros(2, 2)}, path)


HOSTILE = [
    missing, truncated, pickled_bomb, old_pickled_bomb, legacy_torch_bomb, zipped_bomb,
    zipped_bomb_with_path_tricks, html_page, git_lfs_pointer, gguf, empty, folder, fifo, symlink_loop, not_rwkv,
]  # fmt: skip


def plain_sentence(err):
    """One message and one hint, made for a person."""
    lines = err.splitlines()
    assert lines
    assert lines[0].startswith("chatrwkv: ")
    assert len(lines) <= 2
    assert not [
        word for word in ("Traceback", "Error:", "Exception", "internal", "unexpected") if word in err
    ]


@pytest.mark.parametrize("make", HOSTILE, ids=lambda make: make.__name__)
@pytest.mark.parametrize("words", [["run", "hi", "-m"], ["models", "info"]], ids=["run", "info"])
def test_file_that_is_no_model_exits_3_with_one_sentence_and_runs_nothing(
    tmp_path, capsys, monkeypatch, make, words
):
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO()))
    path, sentinel = tmp_path / "model.pth", tmp_path / "sentinel"
    make(path, sentinel)
    assert main([*words, str(path)]) == 3
    out, err = capsys.readouterr()
    assert out == ""
    plain_sentence(err)
    assert not sentinel.exists()


@pytest.mark.parametrize("make", [truncated, zipped_bomb], ids=lambda make: make.__name__)
def test_the_same_from_a_shell(tmp_path, make):
    """Warnings and messages of torch itself would only show here."""
    path, sentinel = tmp_path / "model.pth", tmp_path / "sentinel"
    make(path, sentinel)
    done = subprocess.run(
        [sys.executable, "-m", "chatrwkv", "run", "-m", str(path), "hi"],
        capture_output=True, text=True, check=False, cwd=ROOT, stdin=subprocess.DEVNULL,
    )  # fmt: skip
    assert done.returncode == 3
    assert done.stdout == ""
    plain_sentence(done.stderr)
    assert not sentinel.exists()


ENDS = ("\x07", "\x1b\\", "\x9c")
PAYLOADS = [
    *(
        f"\x1b]{n};owned{end}"
        for n in ("0", "2", "8;;http://x", "52;c;b3duZWQ=", "1337;File=x")
        for end in ENDS
    ),
    *(f"\x9d{n};owned{end}" for n in ("0", "52;c;b3duZWQ=") for end in ENDS),
    *(
        "\x1b[2J",
        "\x1b[?1049h",
        "\x1b[?1000h",
        "\x1b[6n",
        "\x1b[31m",
        "\x1b[1;1H",
        "\x1bc",
        "\x1b7",
        "\x1b(0",
    ),
    *("\x9b2J", "\x9b?1049h", "\x85", "\x90q\x9c", "\x9fowned\x9c", "\x9eowned\x9c", "\x98owned\x9c"),
    *("\x1bPq\x1b\\", "\x1b_owned\x1b\\", "\x1b^owned\x1b\\", "\x1bXowned\x1b\\"),
    *("\x00", "\x08\x08\x08", "\x0b", "\x0c", "\x7f", "\x1b", "\x1b["),
]
SAYS = """
import sys
from chatrwkv.cli import main
from chatrwkv.commands import running
from chatrwkv.engine import EngineThread
from tests.fakes import ScriptedModel, fake_loader
text = open(sys.argv[1], newline="", encoding="utf-8").read()
running.EngineThread = lambda: EngineThread(fake_loader(ScriptedModel(text)))
sys.exit(main(["run", "-m", sys.argv[1], "--max-tokens", "100000", *sys.argv[2:], "hi"]))
"""


@pytest.fixture
def spoken(tmp_path):
    """What the model says, one byte a token, so that every sequence is split everywhere."""
    path = tmp_path / "says.pth"
    path.write_text(
        "".join(f"<{i}>{payload}</{i}>\n" for i, payload in enumerate(PAYLOADS)), newline="", encoding="utf-8"
    )
    return path


def on_a_terminal(*arguments):
    child = pexpect.spawn(
        sys.executable, ["-c", SAYS, *map(str, arguments)], cwd=str(ROOT), dimensions=(24, 200)
    )
    child.expect(pexpect.EOF, timeout=60)
    child.close()
    return child.exitstatus, child.before


def test_terminal_gets_no_byte_of_forty_payloads(spoken):
    assert len(PAYLOADS) >= 40
    code, shown = on_a_terminal(spoken)
    assert code == 0
    text = shown.decode("utf-8")
    # What our own progress line may write: carriage returns.
    assert not [c for c in text if (c < " " and c not in "\r\n\t") or "\x7f" <= c <= "\x9f"]
    for i in range(len(PAYLOADS)):
        assert f"<{i}>" in text or i == len(PAYLOADS) - 1
    assert "owned" not in text


def test_terminal_gets_them_when_raw_is_asked_for(spoken):
    _, shown = on_a_terminal(spoken, "--raw")
    assert b"\x1b]52;c;b3duZWQ=;owned\x07" in shown


@pytest.mark.parametrize(("flags", "kept"), [([], True), (["--safe"], False)])
def test_pipe_gets_the_text_as_the_model_wrote_it_unless_safe(spoken, flags, kept):
    done = subprocess.run(
        [sys.executable, "-c", SAYS, str(spoken), *flags],
        capture_output=True, check=True, cwd=ROOT, stdin=subprocess.DEVNULL,
    )  # fmt: skip
    assert (b"\x1b]52;c;b3duZWQ=;owned\x07" in done.stdout) is kept
    if kept:
        assert done.stdout == spoken.read_bytes()


def test_name_of_a_model_cannot_act_on_the_terminal(tmp_path):
    """The progress line and the line of numbers show it."""
    path = tmp_path / "x\x1b]0;owned\x07\u202eexe.pth"
    path.write_text(" ok")
    code, shown = on_a_terminal(path)
    assert code == 0
    assert b"\x1b" not in shown
    assert b"owned" not in shown
    assert b"ok\r\n" in shown
