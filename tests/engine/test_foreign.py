"""States of other programs, in and out: layouts, orientation, fit, and files that were made to harm."""

from __future__ import annotations

import pickle
import zipfile
from contextlib import suppress
from random import Random
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from chatrwkv.engine.foreign import FORMS, export_state, import_state
from chatrwkv.engine.layouts import from_package, to_package
from chatrwkv.engine.model import load_bare, read_spec
from chatrwkv.engine.spec import Generation
from chatrwkv.engine.state import State
from chatrwkv.engine.statefile import is_own_state, load_state, save_state
from chatrwkv.errors import StateCorrupt, StateError, StateMismatch
from tests.checkpoints import Size
from tests.engine.generations import CASES, model_of, noisy_state, spec_of

if TYPE_CHECKING:
    from pathlib import Path

    from chatrwkv.engine.spec import ModelSpec

SIZE = Size(2, 64, 32, 50)
KNOWN = ("4", "5.0", "5.1", "5.2", "6", "7", "7a")
PAIRS = [
    (name, form) for name in KNOWN for form in FORMS if CASES[name].generation in FORMS[form].generations
]


def net(name: str) -> tuple[ModelSpec, State]:
    """A blueprint, and a state of it in which no two numbers are alike."""
    model = model_of(name, SIZE)
    tensors = {key: value[:, 0] for key, value in noisy_state(model).items()}
    return spec_of(CASES[name].make(SIZE)), State(tensors)


def same(a: State, b: State) -> bool:
    return all(torch.equal(tensor, b.tensors[name]) for name, tensor in a.tensors.items())


@pytest.mark.parametrize(("name", "form"), PAIRS)
def test_a_state_comes_back_from_every_form(name: str, form: str, tmp_path: Path) -> None:
    spec, state = net(name)
    path = tmp_path / "state.xyz"  # the name says nothing
    is_whole = export_state(path, state, spec.generation, form)
    back = import_state(path, spec).state
    assert is_whole == FORMS[form].keeps_shifts
    if not is_whole:
        zero = torch.zeros_like(state.tensors["att_shift"])
        state = State({**state.tensors, "att_shift": zero, "ffn_shift": zero})
    assert same(state, back)


@pytest.mark.parametrize("name", KNOWN)
def test_wkv_is_turned_where_the_package_has_keys_first(name: str) -> None:
    """A round trip through two wrong turns would look right; the package itself is asked in test_compat."""
    spec, state = net(name)
    entries = to_package(state, spec.generation)
    assert len(entries) == spec.n_layer * (5 if name == "4" else 3)
    assert same(state, from_package(entries, state, spec.generation))
    if name != "4":
        own = state.tensors["wkv"][1]
        assert torch.equal(entries[4], own.mT if name[0] in "56" else own)
        assert not torch.equal(own, own.mT)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16, torch.float64])
@pytest.mark.parametrize("name", ["5.2", "6", "7"])
def test_a_tuned_state_is_value_first_in_every_generation_and_float_type(
    name: str, dtype: torch.dtype, tmp_path: Path
) -> None:
    spec, state = net(name)
    tuned = {f"blocks.{i}.att.time_state": state.tensors["wkv"][i].to(dtype) for i in range(2)}
    torch.save(tuned, tmp_path / "tuned.pth")
    found = import_state(tmp_path / "tuned.pth", spec).state.tensors
    assert torch.equal(found["wkv"], state.tensors["wkv"].to(dtype).float())
    assert not found["att_shift"].any()
    save_file({key: value.mT.contiguous() for key, value in tuned.items()}, tmp_path / "tuned.st")
    assert torch.equal(import_state(tmp_path / "tuned.st", spec).state.tensors["wkv"], found["wkv"])


@pytest.mark.parametrize("name", ["6", "7"])
def test_a_tuned_state_as_start_is_what_a_merged_file_begins_with(name: str, tmp_path: Path) -> None:
    tensors, (spec, state) = CASES[name].make(SIZE), net(name)
    export_state(tmp_path / "tuned.pth", state, spec.generation, "pth")
    torch.save(tensors | torch.load(tmp_path / "tuned.pth", weights_only=True), tmp_path / "merged.pth")
    tuned, merged = (import_state(tmp_path / f"{file}.pth", spec) for file in ("tuned", "merged"))
    assert tuned.chain == merged.chain, "the chain is a hash of the state alone"
    model, _ = load_bare(tmp_path / "merged.pth", device="cpu", dtype="fp32")
    assert same(model.blank(), tuned.state)
    assert read_spec(tmp_path / "merged.pth").fingerprint != spec.fingerprint
    save_file(torch.load(tmp_path / "merged.pth", weights_only=True), tmp_path / "merged.safetensors")
    assert import_state(tmp_path / "merged.safetensors", spec).chain == merged.chain


def test_rows_and_buffers_have_the_order_that_was_published(tmp_path: Path) -> None:
    """ChatRWKV v1: rows 5i+0 ffn_x, +1 att_x, +2 aa, +3 bb, +4 pp; rwkv.cpp the same, then the matrices."""
    spec, state = net("4")
    own = state.tensors
    rows = [own[name][i] for i in range(2) for name in ("ffn_shift", "att_shift", "aa", "bb", "pp")]
    torch.save(torch.stack(rows), tmp_path / "v1.pth")
    assert same(state, import_state(tmp_path / "v1.pth", spec).state)
    for name in ("6", "7"):
        spec, state = net(name)
        entries = to_package(state, spec.generation)
        order = [entries[3 * i + k].flatten() for i in range(2) for k in (2, 0, 1)]
        torch.cat(order).numpy().tofile(tmp_path / "buffer.bin")
        assert same(state, import_state(tmp_path / "buffer.bin", spec).state)


def test_a_buffer_that_looks_like_a_header_is_a_buffer(tmp_path: Path) -> None:
    """One float in 256 begins with the byte of a brace."""
    spec, state = net("7")
    numbers = torch.frombuffer(bytearray(b"\x7b\x00\x80\x3f"), dtype=torch.float32)
    state.tensors["ffn_shift"][0, 2] = numbers[0]
    export_state(tmp_path / "buffer.bin", state, spec.generation, "rwkv.cpp")
    assert (tmp_path / "buffer.bin").read_bytes()[8:9] == b"{"
    assert same(state, import_state(tmp_path / "buffer.bin", spec).state)


def test_one_row_of_a_batch_in_both_of_its_forms(tmp_path: Path) -> None:
    spec, state = net("7")
    own, other = state.tensors, torch.full_like(state.tensors["wkv"], 9.0)
    shifts = torch.stack([own["att_shift"], own["ffn_shift"]], 1)
    new = [torch.stack([shifts * 2, shifts], 2).half(), torch.stack([other, own["wkv"]], 1)]
    old = [torch.stack([entry * 2, entry]) for entry in to_package(state, spec.generation)]
    torch.save([*new, torch.zeros(2, dtype=torch.int32)], tmp_path / "new.pth")
    torch.save(old, tmp_path / "old.pth")
    assert same(state, import_state(tmp_path / "old.pth", spec, row=1).state)
    found = import_state(tmp_path / "new.pth", spec, row=1).state
    assert torch.equal(found.tensors["wkv"], own["wkv"])
    assert torch.equal(found.tensors["ffn_shift"], own["ffn_shift"].half().float())
    with pytest.raises(StateMismatch, match="2 rows"):
        import_state(tmp_path / "new.pth", spec, row=2)


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("other", [Size(3, 64, 32, 50), Size(2, 96, 32, 50), Size(2, 64, 16, 50)])
def test_a_state_of_another_size_is_refused(form: str, other: Size, tmp_path: Path) -> None:
    """Layers, width, head size: told before the state is used."""
    name = "4" if form == "chatrwkv-v1" else "7"
    if name == "4" and other.head_size == 16:
        pytest.skip("RWKV-4 has no heads")
    spec, state = net(name)
    export_state(tmp_path / "state", state, spec.generation, form)
    with pytest.raises(StateMismatch):
        import_state(tmp_path / "state", spec_of(CASES[name].make(other)))


def test_a_state_of_another_generation_is_refused(tmp_path: Path) -> None:
    spec, state = net("4")
    export_state(tmp_path / "state", state, spec.generation, "package")
    with pytest.raises(StateMismatch, match="10 tensors"):
        import_state(tmp_path / "state", net("6")[0])
    spec, state = net("7")
    export_state(tmp_path / "batch", state, spec.generation, "albatross")
    with pytest.raises(StateMismatch, match="batch of RWKV-7"):
        import_state(tmp_path / "batch", net("6")[0])
    export_state(tmp_path / "tuned", state, spec.generation, "pth")
    with pytest.raises(StateMismatch, match="RWKV-4 has not"):
        import_state(tmp_path / "tuned", net("4")[0])
    for name in ("1", "3", "4a", "7b"):
        with pytest.raises(StateMismatch, match="No other program"):
            import_state(tmp_path / "tuned", spec_of(CASES[name].make(SIZE)))
    with pytest.raises(StateMismatch, match="albatross"):
        export_state(tmp_path / "no", net("6")[1], Generation.V6, "albatross")


class _Harm:
    def __reduce__(self) -> tuple[Any, ...]:
        return print, ("this must never be printed",)


def hostile(path: Path, pickled: bytes) -> None:
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("archive/data.pkl", pickled)
        archive.writestr("archive/version", "3\n")


@pytest.mark.parametrize(
    "content",
    [
        {"a": 1},
        [],
        ["text"],
        [torch.zeros(64), 3],
        torch.zeros(1).expand(2, 10**9),
        torch.zeros(64).long(),
        torch.zeros(2, 3, 4),
        [torch.zeros(1).expand(10**9)] * 6,
        {"blocks.0.att.time_state": torch.full((2, 32, 32), torch.nan)},
        {f"blocks.{i}.att.time_state": torch.full((2, 32, 32), torch.inf) for i in range(2)},
        {f"blocks.{i}.att.time_state": torch.zeros(2, 32, 32).long() for i in range(2)},
        "text",
        None,
    ],
    ids=str,
)
def test_a_file_that_holds_no_state_is_refused_in_a_sentence(content: object, tmp_path: Path) -> None:
    torch.save(content, tmp_path / "x.pth")
    with pytest.raises(StateError) as told:
        import_state(tmp_path / "x.pth", net("7")[0])
    assert told.value.message.endswith(".")


def test_code_in_a_file_is_not_run(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    spec, _ = net("7")
    hostile(tmp_path / "zip.pth", pickle.dumps([_Harm()], 2))
    (tmp_path / "plain.pth").write_bytes(pickle.dumps([_Harm()], 2))
    for name in ("zip.pth", "plain.pth"):
        with pytest.raises(StateError):
            import_state(tmp_path / name, spec)
    assert not capsys.readouterr().out


@pytest.mark.parametrize("form", FORMS)
def test_a_truncated_file_is_refused(form: str, tmp_path: Path) -> None:
    name = "4" if form == "chatrwkv-v1" else "7"
    spec, state = net(name)
    export_state(tmp_path / "state", state, spec.generation, form)
    whole = (tmp_path / "state").read_bytes()
    for n in (0, 1, 7, 100, len(whole) // 2, len(whole) - 1):
        (tmp_path / "state").write_bytes(whole[:n])
        with pytest.raises(StateError):
            import_state(tmp_path / "state", spec)


@pytest.mark.parametrize("form", FORMS)
def test_damage_is_a_sentence_or_other_numbers_and_never_a_crash(form: str, tmp_path: Path) -> None:
    """These formats have no checksums, so damage among the numbers cannot be seen."""
    name = "4" if form == "chatrwkv-v1" else "7"
    (spec, state), random = net(name), Random(form)
    path = tmp_path / "state"
    export_state(path, state, spec.generation, form)
    whole = path.read_bytes()
    for _ in range(40):
        damaged = bytearray(whole)
        for at in (random.randrange(1500), random.randrange(len(whole) - 1500, len(whole))):
            damaged[at] ^= 1 << random.randrange(8)
        path.write_bytes(damaged)
        with suppress(StateError):
            import_state(path, spec)


def test_what_is_no_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(StateError):
        import_state(tmp_path / "absent", net("7")[0])
    with pytest.raises(StateCorrupt, match="not a file"):
        import_state(tmp_path, net("7")[0])
    np.zeros(10, dtype=np.float32).tofile(tmp_path / "short.bin")
    with pytest.raises(StateMismatch, match="40 bytes"):
        import_state(tmp_path / "short.bin", net("7")[0])


def test_an_imported_state_is_saved_and_told_from_foreign_ones(tmp_path: Path) -> None:
    spec, state = net("6")
    export_state(tmp_path / "theirs.pth", state, spec.generation, "package")
    snapshot = import_state(tmp_path / "theirs.pth", spec)
    save_state(tmp_path / "ours.bin", snapshot, {})
    assert same(load_state(tmp_path / "ours.bin")[0].state, state)
    assert is_own_state(tmp_path / "ours.bin")
    assert is_own_state(tmp_path / "damaged.rwkvstate")
    assert not is_own_state(tmp_path / "theirs.pth")
    assert snapshot.chain == import_state(tmp_path / "theirs.pth", spec).chain


def test_web_rwkv_states_are_plain_safetensors(tmp_path: Path) -> None:
    spec, state = net("7")
    export_state(tmp_path / "x.st", state, spec.generation, "web-rwkv")
    found = load_file(tmp_path / "x.st")
    assert torch.equal(found["blocks.1.att.time_state"], state.tensors["wkv"][1].mT)
