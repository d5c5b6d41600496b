"""Which tokenizer a model gets."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from chatrwkv.engine.tokens.characters import CharacterTokenizer
from chatrwkv.engine.tokens.choice import KINDS, kind_for, tokenizer_for
from chatrwkv.engine.tokens.single_bytes import SingleByteTokenizer
from chatrwkv.engine.tokens.tokenizer import WorldTokenizer
from chatrwkv.errors import BadValue, ModelFormatError, ModelUnsupported

if TYPE_CHECKING:
    from pathlib import Path


@pytest.mark.parametrize(
    ("n_vocab", "kind"),
    [
        (65536, "world"), (65530, "world"), (65529, "20b"), (50432, "20b"), (50277, "20b"), (50278, "20b"), (50304, "20b"),
        (20096, "midi"), (8849, "characters"), (6064, "characters"), (256, "bytes"), (128, "abc"),
    ],
)  # fmt: skip
def test_size_of_the_vocabulary_tells_the_kind(n_vocab: int, kind: str):
    assert kind_for(n_vocab) == kind


def test_published_sizes_without_a_file_need_none(tmp_path: Path):
    model = tmp_path / "model.pth"
    assert isinstance(tokenizer_for(model, 65536), WorldTokenizer)
    assert isinstance(tokenizer_for(model, 256), SingleByteTokenizer)
    assert tokenizer_for(model, 128).end_id == 3


def test_vocabulary_beside_the_model_wins_over_its_size(tmp_path: Path):
    """The built-in model has 4,096 ids in the World format."""
    model = tmp_path / "model.safetensors"
    lines = [f"{byte + 1} {bytes([byte])!r} 1" for byte in range(256)]
    (tmp_path / "vocab.txt").write_text("\n".join(lines), encoding="utf-8")
    assert tokenizer_for(model, 65536).n_vocab == 257
    (tmp_path / "model.vocab.txt").write_text("\n".join([*lines, "257 'ab' 2"]), encoding="utf-8")
    assert tokenizer_for(model, 4096).n_vocab == 258
    assert tokenizer_for(model, 258, "bytes").n_vocab == 256
    with pytest.raises(ModelFormatError, match="258 ids, the model only 200"):
        tokenizer_for(model, 200)


def test_file_that_is_missing_is_named_with_its_place(tmp_path: Path):
    with pytest.raises(ModelUnsupported, match="vocabulary of 50277") as caught:
        tokenizer_for(tmp_path / "RWKV-4-Pile.pth", 50277)
    assert "20B_tokenizer.json" in caught.value.hint
    assert str(tmp_path) in caught.value.hint


def test_character_vocabulary_is_found_under_the_models_own_name(tmp_path: Path):
    (tmp_path / "enwik8.json").write_text(json.dumps({"1": "a"}), encoding="utf-16")
    assert isinstance(tokenizer_for(tmp_path / "enwik8.pth", 6064), CharacterTokenizer)


def test_unknown_kind_is_refused_with_the_known_ones(tmp_path: Path):
    with pytest.raises(BadValue, match="no tokenizer 'gpt2'") as caught:
        tokenizer_for(tmp_path / "model.pth", 65536, "gpt2")
    assert all(kind in caught.value.hint for kind in KINDS)
