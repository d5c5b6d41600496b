"""The wrapper around `tokenizers`, over a small byte-level BPE made here."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from chatrwkv.engine.tokens.bpe import BpeTokenizer, _character
from chatrwkv.engine.tokens.detok import Utf8Stream
from chatrwkv.errors import ModelFormatError, ModelNotFound
from tests.bpe_file import NEWLINE, SPACE, write

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write(tmp_path_factory.mktemp("bpe") / "20B_tokenizer.json")


@pytest.fixture(scope="module")
def tokenizer(path: Path) -> BpeTokenizer:
    return BpeTokenizer.from_file(path)


def test_alphabet_is_that_of_the_published_tokenizers():
    assert (NEWLINE, SPACE) == ("Ċ", "Ġ")
    assert len({_character(byte) for byte in range(256)}) == 256


@pytest.mark.parametrize("text", ["hi a", "你好，世界", "🦜 naïve", "    x\t\r\n", "a\n\nb", "\0\x7f\xad"])
def test_text_survives_the_round_trip(tokenizer: BpeTokenizer, text: str):
    assert tokenizer.decode(tokenizer.encode(text)) == text


def test_bytes_of_single_ids_make_the_text_in_a_stream(tokenizer: BpeTokenizer):
    """R27: `tokenizers` itself decodes half a character to U+FFFD."""
    stream = Utf8Stream()
    ids = tokenizer.encode("世🦜")
    shown = [stream.feed(tokenizer.bytes_of(token_id)) for token_id in ids]
    assert len(ids) == 7
    assert "".join(shown) == "世🦜"


def test_two_newlines_at_the_end_become_two_tokens(tokenizer: BpeTokenizer):
    """535 at the end of a prompt is a token that the models never saw there; 187 187 is what they saw."""
    newline = 0x0A + 1
    assert tokenizer.encode("hi\n\n") == [259, newline, newline]
    assert tokenizer.encode("hi\n\n\n") == [259, 258]
    assert tokenizer.encode("") == []


def test_written_end_of_text_is_only_text(tokenizer: BpeTokenizer):
    """Pasting `<|endoftext|>` must not end the conversation."""
    ids = tokenizer.encode("a<|endoftext|>b")
    assert 0 not in ids
    assert tokenizer.decode(ids) == "a<|endoftext|>b"
    assert tokenizer.bytes_of(0) == b""


def test_ids_beyond_the_vocabulary_are_unused(tokenizer: BpeTokenizer):
    assert tokenizer.n_vocab == 262
    assert tokenizer.unused(264) == {262, 263}
    assert tokenizer.bytes_of(261) == b"    "
    assert tokenizer.bytes_of(262) == b""


def test_lone_surrogate_is_encoded_as_a_question_mark(tokenizer: BpeTokenizer):
    assert tokenizer.decode(tokenizer.encode("a\ud800")) == "a?"


def test_identity_is_that_of_the_file(tokenizer: BpeTokenizer, path: Path):
    assert tokenizer.tokenizer_id == BpeTokenizer.from_file(path).tokenizer_id
    assert len(tokenizer.tokenizer_id) == 16


def test_file_that_is_no_tokenizer_is_one_sentence(tmp_path: Path):
    bad = tmp_path / "20B_tokenizer.json"
    with pytest.raises(ModelNotFound, match="cannot be read"):
        BpeTokenizer.from_file(bad)
    bad.write_bytes(b"<html>")
    with pytest.raises(ModelFormatError, match="is not a tokenizer file"):
        BpeTokenizer.from_file(bad)
    bad.write_bytes(b"\xff\xfe")
    with pytest.raises(ModelFormatError, match="is not a tokenizer file"):
        BpeTokenizer.from_file(bad)


def test_vocabulary_that_is_not_written_in_bytes_is_refused(path: Path, tmp_path: Path):
    """Another kind of BPE would load and then print wrong characters."""
    content = json.loads(path.read_text(encoding="utf-8"))
    content["model"]["vocab"]["世"] = 261
    other = tmp_path / "tokenizer.json"
    other.write_text(json.dumps(content), encoding="utf-8")
    with pytest.raises(ModelFormatError, match="not written in bytes"):
        BpeTokenizer.from_file(other)
