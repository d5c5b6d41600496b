"""The flags that say where a model goes, and how its plan is told."""

from __future__ import annotations

import json
from argparse import ArgumentParser

import pytest

from chatrwkv.cli import main
from chatrwkv.commands.placement import add_placement, placement_flags
from chatrwkv.errors import BadValue


def flags(*words):
    parser = ArgumentParser()
    add_placement(parser)
    return placement_flags(parser.parse_args(words))


def test_strategy_takes_the_place_of_device_and_precision():
    """A precision from the settings file must not undo it."""
    strategy = "cuda fp16 *2 -> cpu fp32"
    assert flags("--strategy", strategy) == {"model.device": strategy, "model.dtype": "auto"}
    assert flags("--gpu-layers", "2") == {"model.device": strategy, "model.dtype": "auto"}
    assert flags("--gpu-layers", "2", "--device", "cuda:1", "--dtype", "bf16") == {
        "model.device": "cuda:1 bf16 *2 -> cpu bf16",
        "model.dtype": "auto",
    }
    assert flags("--device", "cpu") == {"model.device": "cpu", "model.dtype": None}


@pytest.mark.parametrize(
    "words",
    [("--strategy", "cpu fp32", "--dtype", "bf16"), ("--strategy", "cpu"), ("--gpu-layers", "-1"),
     ("--strategy", "cpu fp32", "--gpu-layers", "0"), ("--gpu-layers", "1", "--device", "cpu")],
)  # fmt: skip
def test_flags_that_contradict_each_other_are_refused(words):
    with pytest.raises(BadValue):
        flags(*words)


def test_info_shows_plan_and_memory_without_the_devices(capsys):
    """Whether a model fits a GPU is asked before there is one."""
    assert main(["models", "info", "--strategy", "cuda fp16 *2 -> cpu fp32", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["plan"][0] == "blocks 0-1: cuda fp16"
    assert found["plan"][1].endswith("and head: cpu fp32")
    assert set(found["memory_of_the_plan"]) == {"cuda", "cpu"}
    assert (
        found["memory"]["fp32"] > found["memory"]["bf16"] > found["memory"]["int8"] > found["memory"]["int4"]
    )
    assert main(["models", "info", "--gpu-layers", "2"]) == 0
    out = capsys.readouterr().out
    assert "plan\tblocks 0-1: cuda fp16; " in out
    assert "memory_of_the_plan\tcuda " in out
    assert main(["models", "info"]) == 0
    assert "plan\t" not in capsys.readouterr().out


def test_plan_is_told_before_the_model_is_loaded(tmp_path, capsys):
    text = tmp_path / "a.txt"
    text.write_text("Hello, you.")
    assert main(["eval", str(text), "--strategy", "cpu fp32 *2 -> cpu bf16"]) == 0
    out, err = capsys.readouterr()
    assert err.startswith("blocks 0-1: cpu fp32\nblocks 2-")
    assert "memory for the weights: cpu " in err
    assert "precision\tmixed on cpu fp32 *2 -> cpu bf16" in out


def test_device_that_is_not_there_is_refused_by_name(tmp_path, capsys):
    text = tmp_path / "a.txt"
    text.write_text("Hello, you.")
    assert main(["eval", str(text), "--strategy", "cuda:77 fp16 *2 -> cpu fp32"]) == 2
    assert "cuda:77 was asked for" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "plan", "devices"),
    [
        (["--device", "cpu", "--dtype", "bf16"], "blocks 0-5 and head: cpu bf16", {"cpu"}),
        (["--device", "cpu"], "blocks 0-5 and head: cpu fp32", {"cpu"}),
        (["--device", "cuda:1", "--dtype", "int8"], "blocks 0-5 and head: cuda:1 bf16, weights int8", {"cuda:1"}),
        (["--device", "cuda"], "blocks 0-5 and head: cuda fp16", {"cuda"}),
        (["--dtype", "int4"], "blocks 0-5 and head: cpu bf16, weights int4", {"cpu"}),
        (["--gpu-layers", "0"], "blocks 0-5 and head: cpu fp32", {"cpu"}),
        (["--strategy", "cuda fp16i8 *10 -> cpu fp32"], "blocks 0-5 and head: cuda fp16, weights int8", {"cuda"}),
        (["--strategy", "cuda fp16 *0+ -> cpu fp32 *1"], "blocks 0-5: cuda fp16, streamed", {"cuda", "cpu"}),
    ],
)  # fmt: skip
def test_flags_and_strategies_become_one_plan(words, plan, devices, capsys):
    assert main(["models", "info", "sprout", *words, "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["plan"][0] == plan
    assert set(found["memory_of_the_plan"]) == devices
    assert all(n > 0 for n in found["memory_of_the_plan"].values())


def test_plain_flags_are_told_as_a_plan_too_and_no_flags_say_nothing(tmp_path, capsys):
    text = tmp_path / "a.txt"
    text.write_text("Hello, you.")
    assert main(["eval", str(text), "--device", "cpu", "--dtype", "bf16"]) == 0
    assert capsys.readouterr().err.startswith("blocks 0-5 and head: cpu bf16\nmemory for the weights: cpu 9.")
    assert main(["eval", str(text)]) == 0
    assert "blocks" not in capsys.readouterr().err


@pytest.mark.parametrize("words", [["--device", "gpu"], ["--device", "cuda:x"], ["--strategy", "cpu fp8"]])
def test_what_is_no_device_is_refused_by_name(words, capsys):
    assert main(["models", "info", *words]) == 2
    assert words[-1] in capsys.readouterr().err


def test_the_app_takes_the_same_flags():
    from chatrwkv.cli import parse
    from chatrwkv.commands.app import app_options

    own = app_options(parse(["-m", "sprout", "--gpu-layers", "2"])).settings.model
    assert (own.device, own.dtype) == ("cuda fp16 *2 -> cpu fp32", "auto")
    own = app_options(parse(["--device", "cpu", "--dtype", "int8"])).settings.model
    assert (own.device, own.dtype) == ("cpu", "int8")
