"""State files: every bit is under a checksum, and nothing a file claims is believed before it is checked."""

from __future__ import annotations

import dataclasses
import json
import os
import random
import stat
import struct
import subprocess
import sys
from hashlib import sha256

import pytest
import torch
from safetensors import safe_open

from chatrwkv.engine.identity import EMPTY_CHAIN, extend
from chatrwkv.engine.state import Snapshot, State
from chatrwkv.engine.statefile import load_attached, load_state, peek_state, save_state
from chatrwkv.errors import StateCorrupt, StateError, StateMismatch, StateVersion
from tests.effort import little_effort

FINGERPRINT = "ab" * 32
METADATA = {"model": "tiny", "created": "2026-01-02T03:04:05", "note": 'ü "quoted"\n'}


def small_snapshot():
    generator = torch.Generator().manual_seed(7)
    tensors = {
        "att_shift": torch.randn(2, 8, generator=generator),
        "wkv": torch.randn(2, 2, 4, 4, generator=generator),
        "ffn_shift": torch.randn(2, 8, generator=generator),
    }
    return Snapshot(
        State(tensors), torch.randn(11, generator=generator), 3, extend(EMPTY_CHAIN, [1, 2, 3]), FINGERPRINT
    )


@pytest.fixture
def saved(tmp_path):
    path = tmp_path / "one.rwkvstate"
    save_state(path, small_snapshot(), METADATA)
    return path


def reseal(table, data=b""):
    """A file whose header checksum is right, whatever it claims."""
    table.setdefault("__metadata__", {})["chatrwkv.header_sha256"] = "0" * 64
    return seal(json.dumps(table, separators=(",", ":")).encode(), data)


def seal(text, data=b""):
    header = struct.pack("<Q", len(text)) + text
    key = b'"chatrwkv.header_sha256":"'
    at = header.index(key) + len(key)
    return header[:at] + sha256(header).hexdigest().encode() + header[at + 64 :] + data


def parts(path):
    raw = path.read_bytes()
    (length,) = struct.unpack_from("<Q", raw)
    return json.loads(raw[8 : 8 + length]), raw[8 + length :]


def test_a_snapshot_comes_back_whole(saved):
    """Logits, counts and chain belong to the mind as much as the matrices."""
    before = small_snapshot()
    snapshot, metadata = load_state(saved, fingerprint=FINGERPRINT)
    assert snapshot.state.digest() == before.state.digest()
    assert torch.equal(snapshot.logits, before.logits)
    assert (snapshot.n_tokens, snapshot.chain, snapshot.fingerprint) == (3, before.chain, FINGERPRINT)
    assert metadata == METADATA


def test_peek_tells_what_is_inside(saved):
    """The list of states is drawn from this alone."""
    info = peek_state(saved)
    assert (info.fingerprint, info.n_tokens, info.model) == (FINGERPRINT, 3, "tiny")
    assert (info.created, info.n_bytes) == (METADATA["created"], saved.stat().st_size)
    assert info.metadata == METADATA


def test_peek_imports_no_torch(saved):
    """The start screen lists states before torch is there."""
    code = (
        "import sys, pathlib; from chatrwkv.engine import peek_state;"
        f"peek_state(pathlib.Path({str(saved)!r})); assert 'torch' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)


def test_the_file_is_plain_safetensors(saved):
    """Other tools must be able to read it."""
    with safe_open(saved, framework="pt") as file:
        assert set(file.keys()) == {"logits", "state.att_shift", "state.wkv", "state.ffn_shift"}
        assert torch.equal(file.get_tensor("state.wkv"), small_snapshot().state.tensors["wkv"])
        assert file.metadata()["note"] == METADATA["note"]


def test_every_flipped_bit_of_the_header_and_a_thousand_elsewhere_are_found(saved):
    """A flipped bit in a float is a state that speaks slightly wrong and is never noticed."""
    raw = saved.read_bytes()
    (length,) = struct.unpack_from("<Q", raw)
    chance = random.Random(3)
    everywhere = [chance.randrange(8 * len(raw)) for _ in range(1000)]
    for bit in [*range(0, 8 * (8 + length), 5), *everywhere]:
        damaged = bytearray(raw)
        damaged[bit // 8] ^= 1 << bit % 8
        saved.write_bytes(damaged)
        with pytest.raises((StateCorrupt, StateVersion)):
            load_state(saved)


def test_every_truncation_and_extension_is_found(saved):
    """A full disk or a broken copy leaves a prefix."""
    raw = saved.read_bytes()
    for keep in [0, 1, 7, 8, 9, 200, *range(400, len(raw), 37), len(raw) - 1]:
        saved.write_bytes(raw[:keep])
        with pytest.raises(StateCorrupt):
            load_state(saved)
    saved.write_bytes(raw + b"\0")
    with pytest.raises(StateCorrupt):
        peek_state(saved)


def hostile_files():
    entry = {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]}
    own = {
        "chatrwkv.version": "1",
        "chatrwkv.n_tokens": "0",
        "chatrwkv.chain": EMPTY_CHAIN,
        "chatrwkv.fingerprint": "f",
    }

    def table(**tensors):
        return {"__metadata__": dict(own)} | tensors

    many = table(**{f"t{i}": entry for i in range(5000)})
    twice = seal(b'{"__metadata__":{"chatrwkv.header_sha256":"' + b"0" * 64 + b'"},"a":1,"a":2}')
    return {
        "header of 2**63 bytes": struct.pack("<Q", 1 << 63) + b"{}",
        "header of 2**64 - 1 bytes": struct.pack("<Q", (1 << 64) - 1) + b"{}",
        "10**6 tensors": struct.pack("<Q", 60_000_000) + b'{"a":1,' * 10_000,
        "5000 tensors in a sealed header": reseal(many, b"\0" * 4),
        "negative shape": reseal(table(a={**entry, "shape": [-1, -1]}), b"\0" * 4),
        "negative offsets": reseal(table(a={**entry, "data_offsets": [-4, 0]}), b""),
        "shape of 2**62": reseal(table(a={**entry, "shape": [2**62]}), b"\0" * 4),
        "shape of 10**4000": reseal(table(a={**entry, "shape": [10**4000]}), b"\0" * 4),
        "shape is a number": reseal(table(a={**entry, "shape": 4}), b"\0" * 4),
        "shape of true": reseal(table(a={**entry, "shape": [True]}), b"\0" * 4),
        "unknown dtype": reseal(table(a={**entry, "dtype": "F8"}), b"\0" * 4),
        "overlap": reseal(table(a=entry, b=entry), b"\0" * 4),
        "gap": reseal(table(a={**entry, "data_offsets": [4, 8]}), b"\0" * 8),
        "offsets beyond the file": reseal(table(a={**entry, "shape": [2**30], "data_offsets": [0, 2**32]})),
        "a name twice": twice,
        "nested 20,000 deep": seal(
            b'{"__metadata__":{"chatrwkv.header_sha256":"' + b"0" * 64 + b'"},"a":' + b"[" * 20_000
        ),
        "a list": seal(b'[{"chatrwkv.header_sha256":"' + b"0" * 64 + b'"}]'),
        "no data for logits": reseal(table()),
        "tokens of minus one": reseal({"__metadata__": {**own, "chatrwkv.n_tokens": "-1"}}),
        "chain of letters": reseal({"__metadata__": {**own, "chatrwkv.chain": "z" * 64}}),
        "a chain that is a number": reseal({"__metadata__": {**own, "chatrwkv.chain": 7}}),
        "metadata is no table": reseal({"__metadata__": {**own}, "a": "x"}),
        "not a state": b"\x89PNG\r\n\x1a\n" * 100,
    }


@pytest.mark.parametrize("name", hostile_files())
def test_a_hostile_file_is_refused_fast_and_cheap(name, tmp_path):
    """What a header claims must not be allocated, parsed or waited for."""
    path = tmp_path / "x.rwkvstate"
    path.write_bytes(hostile_files()[name])
    with little_effort(), pytest.raises(StateCorrupt) as caught:
        load_state(path)
    assert str(path.name) in caught.value.message
    assert caught.value.hint


def test_another_model_and_a_newer_format_say_so(saved, tmp_path):
    """Each refusal has its own class, since the next step differs."""
    with pytest.raises(StateMismatch, match="tiny"):
        load_state(saved, fingerprint="cd" * 32)
    table, data = parts(saved)
    table["__metadata__"]["chatrwkv.version"] = "3"
    saved.write_bytes(reseal(table, data))
    with pytest.raises(StateVersion, match="format 3"):
        load_state(saved)


def test_what_is_no_file_is_refused_without_waiting(tmp_path):
    """Opening a FIFO would block for ever."""
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    for path in (fifo, tmp_path, tmp_path / "missing"):
        with pytest.raises(StateError):
            peek_state(path)


def test_saving_is_all_or_nothing_and_private(saved, monkeypatch):
    """A crash while saving must leave the old file, and no other user may read a conversation."""
    assert stat.S_IMODE(saved.stat().st_mode) == 0o600
    before = saved.read_bytes()

    def full(handle):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(StateError, match="No space left"):
        save_state(saved, small_snapshot(), {})
    assert saved.read_bytes() == before
    assert [path.name for path in saved.parent.iterdir()] == [saved.name]


def test_metadata_cannot_pass_for_our_own(tmp_path):
    """A caller's key must not replace a checksum."""
    path = tmp_path / "x.rwkvstate"
    save_state(path, small_snapshot(), {"chatrwkv.chain": "forged", "a": '"chatrwkv.header_sha256":"'})
    snapshot, metadata = load_state(path)
    assert snapshot.chain == small_snapshot().chain
    assert metadata == {"a": '"chatrwkv.header_sha256":"'}


def test_integer_tensors_and_empty_ones_survive(tmp_path):
    """Generations whose state grows hold token ids, and none at the start."""
    state = State({"ids": torch.tensor([[5, 6]]), "none": torch.empty(0, 4)})
    path = tmp_path / "x.rwkvstate"
    save_state(path, Snapshot(state, torch.zeros(3), 2, EMPTY_CHAIN, "f"), {})
    snapshot, _ = load_state(path)
    assert snapshot.state.digest() == state.digest()


def test_a_rounded_file_is_half_as_large_and_says_so(tmp_path):
    snapshot = dataclasses.replace(small_snapshot(), state=State({"wkv": torch.randn(2, 4, 16, 16)}))
    save_state(tmp_path / "whole.rwkvstate", snapshot, {})
    save_state(tmp_path / "half.rwkvstate", snapshot, {}, rounded=True)
    whole, half = (peek_state(tmp_path / f"{name}.rwkvstate") for name in ("whole", "half"))
    assert (whole.is_rounded, half.is_rounded) == (False, True)
    assert whole.n_bytes - half.n_bytes >= snapshot.state.n_bytes / 2 - 64
    back = load_state(tmp_path / "half.rwkvstate")[0]
    assert back.state.tensors["wkv"].dtype is torch.float32
    torch.testing.assert_close(
        back.state.tensors["wkv"], snapshot.state.tensors["wkv"], rtol=2**-11, atol=1e-7
    )
    assert torch.equal(back.logits, snapshot.logits)
    assert back.chain == snapshot.chain


def test_numbers_beyond_half_precision_are_kept_whole(tmp_path):
    """RWKV-4 starts its exponents at -1e38; rounded they would be -inf, and the state useless."""
    state = State({"pp": torch.full((1, 4), -1e38), "aa": torch.ones(1, 4)})
    save_state(tmp_path / "a.rwkvstate", dataclasses.replace(small_snapshot(), state=state), {}, rounded=True)
    back = load_state(tmp_path / "a.rwkvstate")[0]
    assert torch.equal(back.state.tensors["pp"], state.tensors["pp"])


def test_what_is_attached_may_be_long_and_is_checked_like_the_state(tmp_path):
    """A conversation of 2 M tokens does not fit a header that is read before anything is known to be true."""
    path, attached = tmp_path / "a.rwkvstate", {"conversation": bytes(range(256)) * 40_000, "empty": b""}
    save_state(path, small_snapshot(), METADATA, attached=attached)
    info = peek_state(path)
    assert info.attached == {"conversation", "empty"}
    assert info.metadata == METADATA
    assert {name: load_attached(path, name) for name in info.attached} == attached
    snapshot, _ = load_state(path, fingerprint=FINGERPRINT)
    assert snapshot.state.digest() == small_snapshot().state.digest()
    with pytest.raises(StateCorrupt, match="no picture"):
        load_attached(path, "picture")
    raw = bytearray(path.read_bytes())
    raw[raw.index(attached["conversation"]) + 5_000_000] ^= 1
    path.write_bytes(raw)
    for read in (lambda: load_attached(path, "conversation"), lambda: load_state(path)):
        with pytest.raises(StateCorrupt, match="checksum"):
            read()


def test_a_file_with_nothing_attached_is_still_read_by_older_programs(saved):
    table, _ = parts(saved)
    assert table["__metadata__"]["chatrwkv.version"] == "1"
