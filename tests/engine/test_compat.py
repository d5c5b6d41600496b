"""`chatrwkv.compat` against the `rwkv` package: one script, run with either."""

from __future__ import annotations

import copy
import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from chatrwkv import compat
from chatrwkv.errors import BadValue, ModelFormatError, ModelNotFound, StateMismatch
from chatrwkv.paths import bundled_models
from tests import bpe_file
from tests.checkpoints import Size
from tests.engine.generations import CASES, ids_of, worst
from tests.reference import package_script

TEXTS = [
    "Hello, world!\n\nUser: hi",
    "你好，世界 🦜",
    "  a \n\n\n  b\u3000\r\n c  ",
    "\tnaïve 12 345",
    "x",
]
OLDER = [name for name in CASES if name[0] in "456" and name[1:2] in ("", ".")]


def jobs_in(folder: Path, names: list[str], texts: list[str]) -> Path:
    """Random checkpoints of two layers, two heads, and a tokenizer of 262 ids; "merged" ones bring a state."""
    for i, name in enumerate(names):
        tensors = CASES[name.removesuffix(" merged")].make(Size(2, 64, 32, 300), seed=i)
        if name.endswith("merged"):
            tensors |= time_states(torch.Generator().manual_seed(i))
        torch.save(tensors, folder / f"{name.replace(' ', '-')}.pth")
    jobs = folder / "jobs.json"
    tokenizer = str(bpe_file.write(folder / "20B_tokenizer.json"))
    wanted = {"names": [name.replace(" ", "-") for name in names], "ids": ids_of(21), "texts": texts}
    jobs.write_text(json.dumps(wanted | {"tokenizer": tokenizer}))
    return jobs


def time_states(noise: torch.Generator) -> dict[str, torch.Tensor]:
    return {f"blocks.{i}.att.time_state": torch.rand((2, 32, 32), generator=noise) for i in range(2)}


def run_with_the_package(jobs: Path, *, is_v7: bool) -> None:
    environment = os.environ | {
        "RWKV_V7_ON": "1" if is_v7 else "0",
        "RWKV_JIT_ON": "0",
        "RWKV_CUDA_ON": "0",
        "PYTHONWARNINGS": "ignore",
    }
    script = Path(package_script.__file__).resolve()
    done = subprocess.run(
        [sys.executable, str(script), str(jobs)],
        env=environment,
        capture_output=True,
        text=True,
        timeout=110,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-2000:]


@pytest.mark.parametrize(("names", "texts"), [([*OLDER, "5.2 merged", "6 merged"], TEXTS), (["7"], [])])
def test_a_script_for_the_package_gives_the_same_with_only_its_import_changed(
    names: list[str], texts: list[str], tmp_path: Path
) -> None:
    """Logits, states in their layout and orientation, forks, text, draws from a seed, and token ids."""
    jobs = jobs_in(tmp_path, names, texts)
    run_with_the_package(jobs, is_v7=names == ["7"])
    package_script.run(jobs, compat, "ours")
    for name in [name.replace(" ", "-") for name in names]:
        with np.load(tmp_path / f"{name}.package.npz") as said, np.load(tmp_path / f"{name}.ours.npz") as own:
            assert set(said) == set(own), name
            for key in said:
                if said[key].dtype.kind == "f":
                    assert said[key].shape == own[key].shape, (name, key)
                    assert said[key].dtype == own[key].dtype, (name, key)
                    assert np.abs(said[key] - own[key]).max() <= 1e-4, (name, key)
                else:
                    assert said[key].tolist() == own[key].tolist(), (name, key)
            assert own["lists"][2], "a tensor of the caller's was written to"
            assert str(own["text"]), "a text of nothing compares nothing"
    if texts:
        coded = [json.loads((tmp_path / f"{who}.json").read_text()) for who in ("package", "ours")]
        assert coded[0] == coded[1]


@pytest.fixture
def model(tmp_path: Path, request: pytest.FixtureRequest) -> compat.RWKV:
    name = getattr(request, "param", "6")
    torch.save(CASES[name].make(Size(2, 64, 32, 50), 1), tmp_path / "net.pth")
    return compat.RWKV(str(tmp_path / "net"), "cpu fp32", verbose=False)


@pytest.mark.parametrize("model", CASES, indirect=True)
def test_one_call_is_the_same_call_split_in_two(model: compat.RWKV) -> None:
    """Also for generations that the package lacks, some with a state that grows."""
    ids = ids_of(12)
    whole, state = model.forward(ids, None, full_output=True)
    _, forked = model.forward(ids[:7], None)
    fork = copy.deepcopy(forked)
    first, forked = model.forward(ids[7:11], forked)
    last, forked = model.forward(ids[11], forked)
    assert worst(first, whole[10]) <= 1e-5
    assert worst(last, whole[11]) <= 1e-5
    assert all(worst(a, b) <= 1e-4 for a, b in zip(state, forked, strict=True))
    again, _ = model.forward(ids[7:11], fork)
    assert torch.equal(first, again)


@pytest.mark.parametrize("name", ["5.2", "6", "7"])
def test_a_merged_file_begins_with_its_state(name: str, tmp_path: Path) -> None:
    """The package does so for v5 and v6, in the test above; it ignores the state of a v7."""
    tensors, tuned = CASES[name].make(Size(2, 64, 32, 50), 1), time_states(torch.Generator().manual_seed(1))
    torch.save(tensors, tmp_path / "base.pth")
    torch.save(tensors | {key: value.bfloat16() for key, value in tuned.items()}, tmp_path / "merged.pth")
    base, merged = (compat.RWKV(str(tmp_path / net), "cpu fp32", verbose=False) for net in ("base", "merged"))
    state = base.generate_zero_state()
    for i, matrix in enumerate(tuned.values()):
        rounded = matrix.bfloat16().float()
        state[3 * i + 1] = rounded if name == "7" else rounded.transpose(1, 2)
    assert torch.equal(base.forward([1, 2, 3], state)[0], merged.forward([1, 2, 3])[0])
    bad = {key: value[:, :31] for key, value in tuned.items()}
    torch.save(tensors | bad, tmp_path / "bad.pth")
    with pytest.raises(ModelFormatError, match="time_state of layer 0"):
        compat.RWKV(str(tmp_path / "bad"), "cpu fp32", verbose=False)


def test_the_example_of_the_readme_runs(capsys: pytest.CaptureFixture[str]) -> None:
    readme = (Path(__file__).parents[2] / "README.md").read_text(encoding="utf-8")
    code = readme.split("```python")[1].split("```")[0]
    builtin = bundled_models() / "sprout"
    code = code.replace("RWKV-x060-World-1B6.pth", str(builtin))
    code = code.replace("rwkv_vocab_v20230424", str(builtin / "vocab.txt"))
    exec(compile(code, "README.md", "exec"), {})
    assert capsys.readouterr().out.strip()


def test_logits_and_states_may_be_written_to(model: compat.RWKV) -> None:
    """Scripts subtract penalties in place; what inference mode made would refuse that."""
    logits, state = model.forward([1, 2], None)
    logits[3] -= 1
    state[1] += 1
    state[0].zero_()
    model.forward(torch.tensor([4]), state)
    model.forward(np.array([4, 5]), state)


def test_strategy_splits_and_zero_state_is_the_start(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    torch.save(CASES["5.2"].make(Size(3, 64, 32, 50), 1), tmp_path / "net.pth")
    whole = compat.RWKV(str(tmp_path / "net.pth"), "cpu fp32", verbose=False)
    split = compat.RWKV(str(tmp_path / "net.pth"), "cpu fp32 *1 -> cpu fp32 *1+")
    said = capsys.readouterr()
    assert not said.out, "stdout belongs to the script"
    assert "block 2 and head: cpu fp32, streamed" in said.err
    logits = [net.forward([1, 2, 3], net.generate_zero_state())[0] for net in (whole, split)]
    assert worst(*logits) <= 1e-5
    assert worst(logits[0], whole.forward([1, 2, 3])[0]) == 0
    assert (whole.version, whole.args.n_layer, whole.args.vocab_size) == (5.2, 3, 50)


def test_top_p_of_one_cuts_nothing() -> None:
    """The package mostly turns greedy there, since a float32 sum seldom reaches 1."""
    pipeline = compat.PIPELINE(None, "rwkv_vocab_v20230424")
    np.random.seed(0)  # noqa: NPY002 -- what it draws from
    assert len({pipeline.sample_logits(torch.zeros(1000), top_p=1.0) for _ in range(50)}) > 40


@pytest.mark.parametrize("model", ["1", "3", "4b", "7b"], indirect=True)
def test_a_list_of_another_shape_is_refused_for_generations_of_our_own(model: compat.RWKV) -> None:
    """Their states grow, so shapes are not fixed; what is written to the wrong place would crash far away."""
    _, state = model.forward([1, 2], None)
    with pytest.raises(StateMismatch, match="tensors"):
        model.forward([1], state[:-1])
    with pytest.raises(StateMismatch):
        model.forward([1], [*state[:-1], state[-1][..., :-1]])


def test_what_cannot_be_read_is_said_in_a_sentence(model: compat.RWKV, tmp_path: Path) -> None:
    state = model.generate_zero_state()
    with pytest.raises(StateMismatch, match=r"5 tensors.*has 6"):
        model.forward([1], state[:5])
    with pytest.raises(StateMismatch, match="wkv of layer 0"):
        model.forward([1], [state[0], *state[:5]])
    for ids in ([], [50], [-1]):
        with pytest.raises(BadValue, match="token"):
            model.forward(ids, None)
    with pytest.raises(ModelNotFound):
        compat.RWKV(str(tmp_path / "absent"), "cpu fp32")
    with pytest.raises(BadValue, match="strategy"):
        compat.RWKV(str(tmp_path / "net"), "gpu fp32")
    with pytest.raises(BadValue, match="converted"):
        compat.RWKV(str(tmp_path / "net"), "cpu fp32", convert_and_save_and_exit="x")
    with pytest.raises(ModelNotFound):
        compat.PIPELINE(model, str(tmp_path / "absent.json"))
    (tmp_path / "bad.json").write_text("{}")
    with pytest.raises(ModelFormatError):
        compat.PIPELINE(model, str(tmp_path / "bad.json"))
    with pytest.raises(BadValue, match="nothing to go on"):
        compat.PIPELINE(model, "rwkv_vocab_v20230424").generate("")
