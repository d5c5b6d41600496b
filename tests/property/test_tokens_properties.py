"""Encoding loses nothing and agrees with the rule written down slowly."""

from __future__ import annotations

from functools import cache

from hypothesis import given
from hypothesis import strategies as st

from chatrwkv.engine.tokens.detok import Utf8Stream
from chatrwkv.engine.tokens.tokenizer import WORLD_VOCABULARY, WorldTokenizer, parse_vocabulary


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


@given(st.lists(st.integers(0, 65535)))
def test_streamed_text_of_any_ids_equals_decoding_them_at_once(ids: list[int]):
    stream = Utf8Stream()
    shown = "".join(stream.feed(world().bytes_of(i)) for i in ids) + stream.finish()
    assert shown == world().decode(ids)
