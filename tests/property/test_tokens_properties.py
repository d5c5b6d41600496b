"""Encoding loses nothing and agrees with the rule written down slowly."""

from __future__ import annotations

import tempfile
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import tokenizers
from hypothesis import given
from hypothesis import strategies as st

from chatrwkv.engine.tokens.bpe import BpeTokenizer
from chatrwkv.engine.tokens.characters import CharacterTokenizer
from chatrwkv.engine.tokens.detok import Utf8Stream
from chatrwkv.engine.tokens.single_bytes import SingleByteTokenizer
from chatrwkv.engine.tokens.tokenizer import WORLD_VOCABULARY, WorldTokenizer, parse_vocabulary
from chatrwkv.engine.tokens.words import WordTokenizer
from tests.bpe_file import write

if TYPE_CHECKING:
    from collections.abc import Callable

    from chatrwkv.engine.tokens.tokenizer import Tokenizer


@cache
def world() -> WorldTokenizer:
    return WorldTokenizer.bundled()


@cache
def known() -> dict[bytes, int]:
    return {raw: i for i, raw in parse_vocabulary(WORLD_VOCABULARY.read_bytes()).items()}


def longest_match(raw: bytes) -> list[int]:
    ids = []
    while raw:
        n = next(n for n in range(min(128, len(raw)), 0, -1) if raw[:n] in known())
        ids.append(known()[raw[:n]])
        raw = raw[n:]
    return ids


snippets = st.sampled_from(
    [" the", "return ", "    ", "\n\n", "User:", "世界", "，", "ing", "0", "12", "==="]
)
texts = st.lists(snippets | st.text(max_size=4)).map("".join)


@given(texts)
def test_decode_of_encode_is_the_text(text: str):
    assert world().decode(world().encode(text)) == text


@given(texts.map(str.encode) | st.binary())
def test_encoding_is_the_longest_match_at_each_place(raw: bytes):
    assert world().encode_raw(raw) == longest_match(raw)


@cache
def pile() -> tuple[BpeTokenizer, tokenizers.Tokenizer]:
    """Ours, and the package's own over the same file."""
    with tempfile.TemporaryDirectory() as folder:
        path = write(Path(folder) / "20B_tokenizer.json")
        return BpeTokenizer.from_file(path), tokenizers.Tokenizer.from_file(str(path))


# the tokenizer, and ids to draw from: those of the vocabulary and some beyond
KINDS: dict[str, tuple[Callable[[], Tokenizer], int]] = {
    "world": (world, 65_536),
    "20b": (lambda: pile()[0], 270),
    "characters": (
        lambda: CharacterTokenizer({0: " ", 1: "\n", 2: "é", 3: "世", 4: "🦜", 5: "\ue083"}, "t"),
        8,
    ),
    "words": (lambda: WordTokenizer({"<pad>": 0, "p:3c:f": 1, "t12": 2}, "t"), 4),
    "bytes": (SingleByteTokenizer.of_bytes, 256),
    "abc": (SingleByteTokenizer.of_abc, 130),
}


@pytest.mark.parametrize("kind", KINDS)
@given(data=st.data())
def test_streamed_text_of_any_ids_equals_decoding_them_at_once(kind: str, data: st.DataObject):
    make, n = KINDS[kind]
    tokenizer = make()
    ids = data.draw(st.lists(st.integers(0, n - 1)))
    stream = Utf8Stream()
    shown = "".join(stream.feed(tokenizer.bytes_of(i)) for i in ids) + stream.finish()
    assert shown == tokenizer.decode(ids)


@pytest.mark.parametrize("kind", KINDS)
@given(text=texts | st.text(alphabet="é世🦜 \n"))
def test_streamed_text_never_shows_half_a_character(kind: str, text: str):
    """Ids of real text: a replacement sign between two of them would flash up and go away again."""
    tokenizer = KINDS[kind][0]()
    stream = Utf8Stream()
    shown = [stream.feed(tokenizer.bytes_of(i)) for i in tokenizer.encode(text)]
    assert "\ufffd" not in "".join(shown).replace("\ufffd", "", text.count("\ufffd"))
    assert stream.pending == b""


@given(texts)
def test_the_pile_tokens_are_decoded_as_the_package_decodes_them(text: str):
    """Our table of bytes is read off the vocabulary; the package has a decoder of its own."""
    ours, theirs = pile()
    assert ours.decode(ours.encode(text)) == theirs.decode(ours.encode(text))
