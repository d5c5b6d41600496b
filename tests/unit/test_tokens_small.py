"""The vocabularies before and beside World: characters, bytes, ABC and MIDI words."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from chatrwkv.engine.events import FinishReason
from chatrwkv.engine.tokens.characters import UNKNOWN, CharacterTokenizer, refine
from chatrwkv.engine.tokens.single_bytes import SingleByteTokenizer
from chatrwkv.engine.tokens.words import WordTokenizer
from chatrwkv.errors import ModelFormatError, ModelNotFound
from tests.engine.replying import alone, ask
from tests.fakes import FakeModel, loaded

if TYPE_CHECKING:
    from pathlib import Path

CHARACTERS = {"0": " ", "1": "\n", "2": "a", "3": "世", "4": "\U0001f99c", "5": UNKNOWN}


@pytest.mark.parametrize("encoding", ["utf-16", "utf-8", "utf-8-sig"])
def test_characters_are_read_from_any_of_the_published_encodings(tmp_path: Path, encoding: str):
    path = tmp_path / "vocab.json"
    path.write_text(json.dumps(CHARACTERS, ensure_ascii=False), encoding=encoding)
    tokenizer = CharacterTokenizer.from_file(path)
    assert tokenizer.encode("a世 🦜\n") == [2, 3, 0, 4, 1]
    assert tokenizer.decode([2, 3, 0, 4, 1]) == "a世 🦜\n"
    assert tokenizer.n_vocab == 6


def characters(**changes: str) -> CharacterTokenizer:
    entries = {int(token_id): text for token_id, text in (CHARACTERS | changes).items()}
    return CharacterTokenizer(entries, "test")


def test_unknown_character_is_read_as_such_but_never_drawn():
    """AI-Writer's code sets its logit to -inf; printed, it is an empty box."""
    assert characters().encode("a?a") == [2, 5, 2]
    assert characters().unused(8) == {5, 6, 7}


def test_unknown_character_without_an_entry_is_left_out():
    assert characters(**{"5": "b"}).encode("a?b") == [2, 5]


def test_words_in_a_character_vocabulary_match_longest_first():
    assert characters(**{"6": "aaa", "7": "aa"}).encode("aaaaa") == [6, 7]


def test_id_zero_of_a_character_vocabulary_is_text_and_ends_nothing():
    """Read as the end of text, a novel would stop at its first space."""
    tokenizer = characters()
    assert tokenizer.end_id is None
    assert tokenizer.bytes_of(0) == b" "

    class Spaces(FakeModel):
        def step(self, token_ids, scratch):
            return self._read([[token_id] for token_id in token_ids], scratch)

    model = Spaces(n_vocab=6, speaks=[0])
    made = loaded(model, tokenizer=tokenizer)  # type: ignore[arg-type]  # a Tokenizer all the same
    finished = alone(made, ask("a", max_tokens=4, stop_on_end=False)).finished
    assert (finished.reason, finished.text) == (FinishReason.LENGTH, "    ")


@pytest.mark.parametrize(
    "content", ["[]", "nonsense", '{"x": "a"}', '{"1": 2}', '{"1": ""}', '{"-1": "a"}', '{"9999999": "a"}']
)
def test_file_that_is_no_character_vocabulary_is_one_sentence(tmp_path: Path, content: str):
    path = tmp_path / "vocab.json"
    with pytest.raises(ModelNotFound):
        CharacterTokenizer.from_file(path)
    path.write_text(content, encoding="utf-8")
    with pytest.raises(ModelFormatError, match=r"vocab\.json"):
        CharacterTokenizer.from_file(path)


def test_prompt_for_ai_writer_is_refined_as_in_its_training():
    assert refine("  one \r\n\n\u3000two\u3000\n\n") == "\none\ntwo"
    assert refine(" \n ") == "\n"


def test_bytes_are_their_own_ids():
    tokenizer = SingleByteTokenizer.of_bytes()
    assert tokenizer.encode("é\0") == [0xC3, 0xA9, 0]
    assert tokenizer.decode([0xC3, 0xA9, 0]) == "é\0"
    assert (tokenizer.n_vocab, tokenizer.end_id) == (256, None)


def test_abc_tunes_end_with_three_and_never_draw_the_beginning():
    tokenizer = SingleByteTokenizer.of_abc()
    assert tokenizer.encode("X:1\n") == [88, 58, 49, 10]
    assert (tokenizer.n_vocab, tokenizer.end_id) == (128, 3)
    assert tokenizer.unused(128) == {2}
    assert tokenizer.bytes_of(2) == tokenizer.bytes_of(3) == b""
    assert tokenizer.encode("é\x03") == [63, 63, 63]


def midi(path: Path, **changes: object) -> Path:
    model = {
        "type": "WordLevel",
        "vocab": {"<pad>": 0, "p:3c:f": 1, "t10": 2},
        "unk_token": "<unk>",
    } | changes
    path.write_text(json.dumps({"model": model}), encoding="utf-8")
    return path


def test_midi_words_are_split_at_white_space_in_lower_case(tmp_path: Path):
    tokenizer = WordTokenizer.from_file(midi(tmp_path / "tokenizer-midi.json"))
    assert tokenizer.encode("P:3C:F  t10\nx99 <pad>") == [1, 2]
    assert tokenizer.decode([1, 2]) == " p:3c:f t10"
    assert tokenizer.end_id == 0
    assert tokenizer.bytes_of(0) == b""


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"type": "BPE"}, "kind BPE"),
        ({"vocab": 3}, "not a tokenizer"),
        ({"vocab": {"a": -1}}, "kind WordLevel"),
    ],
)
def test_file_that_is_no_word_vocabulary_is_one_sentence(
    tmp_path: Path, changes: dict[str, object], words: str
):
    with pytest.raises(ModelNotFound):
        WordTokenizer.from_file(tmp_path / "none.json")
    with pytest.raises(ModelFormatError, match=words):
        WordTokenizer.from_file(midi(tmp_path / "tokenizer-midi.json", **changes))
