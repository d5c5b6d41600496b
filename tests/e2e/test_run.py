"""`chatrwkv run` as a process of its own, with a real (tiny, random) RWKV-7 checkpoint."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from chatrwkv.paths import bundled_models
from tests.checkpoints import Size, rwkv7

ROOT = Path(__file__).parents[2]
BUILTIN = [path for path in bundled_models().glob("*") if (path / "model.safetensors").is_file()]
ENDLESS = "[turns]\nuser = '{text}'\n[end]\ntoken_0 = false\n[sampling]\ntop_p = 1.0\nmax_tokens = 1000000\n"


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    """A folder as a built-in model is one: checkpoint and vocabulary, here the 256 bytes."""
    folder = tmp_path_factory.mktemp("models") / "tiny-g1-bytes"
    folder.mkdir()
    torch.save(rwkv7(Size(n_vocab=257)), folder / "model.pth")
    (folder / "vocab.txt").write_text("".join(f"{byte + 1} {bytes([byte])!r} 1\n" for byte in range(256)))
    return folder


@pytest.fixture
def endless(tmp_path):
    path = tmp_path / "endless.toml"
    path.write_text(ENDLESS)
    return str(path)


def command(*arguments):
    return [sys.executable, "-m", "chatrwkv", *map(str, arguments)]


def finished(*arguments, stdin=b""):
    return subprocess.run(
        command(*arguments), input=stdin, capture_output=True, check=False, cwd=ROOT, timeout=90
    )


def started(*arguments):
    return subprocess.Popen(
        command(*arguments),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        cwd=ROOT,
    )


def test_pipe_in_pipe_out_and_nothing_else(model):
    done = finished("run", "-m", model, "--max-tokens", 20, "--seed", 1, stdin=b"hi\n")
    assert done.returncode == 0
    assert done.stderr == b""  # not even a warning of a library
    again = finished("run", "-m", model, "--max-tokens", 20, "--seed", 1, "hi")
    assert done.stdout == again.stdout
    assert done.stdout.endswith(b"\n")


def test_safe_output_of_a_random_model_holds_no_control_character(model, endless):
    done = finished("run", "-m", model, "-t", endless, "--max-tokens", 300, "--seed", 3, "--safe", "hi")
    assert done.returncode == 0
    text = done.stdout.decode("utf-8")
    assert not [c for c in text if (c < " " and c not in "\n\t") or "\x7f" <= c <= "\x9f"]


def test_world_vocabulary_is_used_for_a_head_of_its_size(tmp_path):
    path = tmp_path / "rwkv7-g1-random.pth"
    torch.save(rwkv7(Size(n_vocab=65536)), path)
    done = finished("run", "-m", path, "--json", "--max-tokens", 5, "--seed", 1, "hi")
    assert done.returncode == 0, done.stderr
    reply = json.loads(done.stdout)
    assert reply["template"] == "g1-chat"
    assert reply["stats"]["prompt_tokens"] == 7  # the vector of the fact sheet
    assert all(0 < token_id < 65530 for token_id in reply["token_ids"])


def test_conversation_goes_on_over_processes_without_reading_it_again(model, tmp_path):
    state = tmp_path / "s.rwkvstate"
    sampling = ("--max-tokens", 6, "--seed", 2, "-t", "g1-chat")
    assert finished("run", "-m", model, *sampling, "--save-state", state, "hi").returncode == 0
    done = finished(
        "run", "-m", model, *sampling, "--load-state", state, "--save-state", state, "--json", "more"
    )
    assert json.loads(done.stdout)["stats"]["prompt_tokens"] == len("\n\nUser: more\n\nAssistant:")
    info = json.loads(finished("states", "info", "--json", state).stdout)
    assert info["conversation"] == "4 messages"
    assert finished("states", "verify", state).returncode == 0


def test_interrupt_keeps_the_text_and_exits_130(model, endless):
    process = started("run", "-m", model, "-t", endless, "--seed", 1, "hi")
    assert process.stdout is not None
    begun = process.stdout.read(30)
    process.send_signal(signal.SIGINT)
    rest, err = process.communicate(timeout=60)
    assert process.returncode == 130
    assert len(begun) == 30
    assert rest.endswith(b"\n")
    assert err == b""


def test_reader_that_leaves_ends_the_run_quietly(model, endless):
    process = started("run", "-m", model, "-t", endless, "--seed", 1, "hi")
    assert process.stdout is not None
    assert process.stderr is not None
    process.stdout.read(30)
    process.stdout.close()
    assert process.stderr.read() == b""
    process.stderr.close()
    assert process.wait(timeout=60) == 141


@pytest.mark.parametrize(("last", "code"), [("head -c 10", "141"), ("cat", "0")])
def test_shell_pipeline_ends_as_a_shell_expects(model, endless, last, code):
    run = " ".join(command("run", "-m", model, "-t", endless, "--max-tokens", "1000", "--safe", "hi"))
    program = f"{run} | {last} > /dev/null; echo ${{PIPESTATUS[0]}}"
    done = subprocess.run(
        ["bash", "-c", program],
        capture_output=True,
        text=True,
        check=True,
        cwd=ROOT,
        stdin=subprocess.DEVNULL,
    )
    assert done.stdout.strip() == code
    assert done.stderr == ""


@pytest.mark.skipif(not BUILTIN, reason="no built-in model in this checkout")
def test_built_in_model_answers_in_a_pipeline_without_any_escape():
    program = f"echo hi | {' '.join(command('run', '--seed', '1'))} | cat"
    done = subprocess.run(
        ["bash", "-c", program], capture_output=True, check=True, cwd=ROOT, env={**os.environ}
    )
    assert done.stdout.strip()
    assert b"\x1b" not in done.stdout + done.stderr
    assert done.stderr == b""
