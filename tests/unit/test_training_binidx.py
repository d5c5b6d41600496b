"""RWKV-LM's token files: the bytes on disk, the order of samples, and rows that train."""

from __future__ import annotations

import json
import struct
import sys

import numpy as np
import pytest

from training import binidx, train, vocab
from training.corpus import TEXT

DOCUMENTS = [[5, 6, 7], [8, 0], [9] * 40]


@pytest.fixture
def prefix(tmp_path):
    binidx.write(tmp_path / "data", DOCUMENTS)
    return tmp_path / "data"


def test_the_index_has_the_published_layout(prefix):
    """Magic, version, dtype 8, sequences, documents + 1, lengths, byte offsets, document index."""
    raw = prefix.with_name("data.idx").read_bytes()
    assert raw[:9] == b"MMIDIDX\x00\x00"
    assert struct.unpack_from("<QBQQ", raw, 9) == (1, 8, 3, 4)
    assert np.frombuffer(raw, "<i4", 3, 34).tolist() == [4, 2, 41]
    assert np.frombuffer(raw, "<i8", 3, 46).tolist() == [0, 8, 12]
    assert np.frombuffer(raw, "<i8", 4, 70).tolist() == [0, 1, 2, 3]
    assert len(raw) == 102
    assert prefix.with_name("data.bin").read_bytes()[:8] == struct.pack("<4H", 5, 6, 7, 0)


def test_what_is_written_is_read_back_with_one_id_0_behind_each(prefix):
    file = binidx.Binidx(prefix)
    assert len(file) == 3
    assert [file.document(i).tolist() for i in range(3)] == [[5, 6, 7, 0], [8, 0], [9] * 40 + [0]]
    assert len(file.tokens) == 47


def test_magic_primes_are_the_published_ones():
    """1,498,226,207 tokens at context 4,096 are 9.07 mini-epochs; the prime at 512 is published too."""
    assert binidx.magic_prime(1_498_226_207, 4096) == 365_759
    assert binidx.magic_prime(1_498_226_207, 512) == 2_926_181
    assert round(binidx.mini_epochs(1_498_226_207, 4096), 2) == 9.07


def test_samples_visit_every_place_once():
    """i^3 is a permutation modulo a prime 3n + 2."""
    prime = binidx.magic_prime(32 * 1000, 32)
    assert prime % 3 == 2
    starts = {binidx.sample_start(i, prime, 32) for i in range(1, prime + 1)}
    assert starts == {32 * i for i in range(prime)}


def test_large_sample_numbers_stay_exact():
    """i^3 leaves 64 bits at 2.1 million samples."""
    prime, number = 2_926_181, 2_900_001
    factor = int(prime * (5**0.5 - 1) / 2)
    by_steps = factor * (number * number % prime) % prime * number % prime
    assert binidx.sample_start(number, prime, 512) == by_steps * 512


def test_rows_are_the_samples_and_train(tmp_path, monkeypatch, capsys):
    """From lines of text and of turns, by both commands, to a file that the trainer reads."""
    vocab.write(tmp_path / "vocab.txt", vocab.train_entries(["User: hi there.\n\n"] * 3, 299))
    rows = [
        {"text": "Once upon a time there was a fox."},
        {"turns": [["user", "hi"], ["assistant", "Hello."]]},
    ]
    (tmp_path / "data.jsonl").write_text("\n".join(json.dumps(row) for row in rows * 40))
    out = tmp_path / "packed"
    pack = [
        "x",
        "pack",
        str(tmp_path / "data.jsonl"),
        "--vocab",
        str(tmp_path / "vocab.txt"),
        "--out",
        str(out),
    ]
    monkeypatch.setattr(sys, "argv", [*pack, "--repeat", "2"])
    binidx.main()
    file = binidx.Binidx(out)
    assert len(file) == 160
    words = vocab.Vocabulary(tmp_path / "vocab.txt")
    texts = {words.decode(file.document(i)[:-1].tolist()) for i in range(160)}
    assert texts == {"Once upon a time there was a fox.", "User: hi\n\nAssistant: Hello.\n\n"}
    command = ["x", "rows", str(out), "--context", "32", "--samples", "6", "--out", str(tmp_path / "rows")]
    monkeypatch.setattr(sys, "argv", command)
    binidx.main()
    assert "mini-epochs" in capsys.readouterr().out
    found = train.load_rows(tmp_path / "rows" / "train.npz")
    assert found["ids"].shape == (6, 32)
    assert found["ids"][2].tolist() == file.sample(3, 32)[:-1].tolist()
    assert found["targets"][2].tolist() == file.sample(3, 32)[1:].tolist()
    assert (found["roles"] == TEXT).all()


def test_what_cannot_be_used_is_told(tmp_path, prefix):
    with pytest.raises(ValueError, match="16 bits"):
        binidx.write(tmp_path / "large", [[70_000]])
    with pytest.raises(ValueError, match="no document"):
        binidx.write(tmp_path / "none", [])
    with pytest.raises(ValueError, match="too few"):
        binidx.magic_prime(1000, 512)
    index = prefix.with_name("data.idx")
    raw = index.read_bytes()
    for damaged, why in (
        (raw[:-1], "bytes"),
        (b"X" + raw[1:], "no binidx"),
        (raw[:9] + b"\2" + raw[10:], "version 2"),
    ):
        index.write_bytes(damaged)
        with pytest.raises(ValueError, match=why):
            binidx.Binidx(prefix)
    index.write_bytes(raw)
    prefix.with_name("data.bin").write_bytes(b"\0" * 80)
    with pytest.raises(ValueError, match="fewer"):
        binidx.Binidx(prefix)
