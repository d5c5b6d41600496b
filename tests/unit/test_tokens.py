"""The World tokenizer: the vocabulary file, the published vectors, the byte level."""

from __future__ import annotations

import ast
from functools import cache
from hashlib import sha256

import pytest

from chatrwkv.engine.tokens.tokenizer import WORLD_VOCABULARY, WorldTokenizer, parse_vocabulary
from chatrwkv.errors import ModelFormatError, ModelNotFound

BYTES = {byte + 1: bytes([byte]) for byte in range(256)}


@cache
def world() -> WorldTokenizer:
    return WorldTokenizer.bundled()


# Vectors of the fact sheet, section 16, made with the `rwkv` package.
VECTORS = [
    ("Hello, world!", [33155, 45, 40213, 34]),
    ("User: hi\n\nAssistant:", [24281, 59, 4571, 261, 5585, 41693, 59]),
    ("你好，世界。", [10464, 11685, 19137, 10267, 14610, 10080]),
    ("def f(x):\n    return x**2\n", [7334, 337, 41, 121, 501, 28352, 42178, 355, 520, 51, 11]),
    ("🦜 naïve café", [3319, 167, 157, 46644, 37946]),
    ("1234567 3.14", [632, 654, 676, 56, 286, 47, 634]),
    ("\r\n\t  x", [3332, 267, 121]),
]


def test_bundled_vocabulary_is_the_published_file():
    raw = WORLD_VOCABULARY.read_bytes()
    assert sha256(raw).hexdigest() == "e6dee3d4e31b4d5c40ac99508ac6c701ceef4bed681bf2167ce9a908552bca89"
    assert world().tokenizer_id == "e6dee3d4e31b4d5c"


@pytest.mark.parametrize(("text", "ids"), VECTORS)
def test_world_ids_equal_the_published_vectors(text: str, ids: list[int]):
    assert world().encode(text) == ids
    assert world().decode(ids) == text


def test_fast_path_of_the_parser_equals_literal_eval_on_every_line():
    """Taking the bytes between plain quotes as they stand must mean what Python means."""
    expected = {}
    for line in WORLD_VOCABULARY.read_text(encoding="utf-8").splitlines():
        first, last = line.index(" "), line.rindex(" ")
        value = ast.literal_eval(line[first + 1 : last])
        expected[int(line[:first])] = value if isinstance(value, bytes) else value.encode()
    assert parse_vocabulary(WORLD_VOCABULARY.read_bytes()) == expected


def test_world_knows_which_ids_of_a_model_have_no_entry():
    assert world().n_vocab == 65530
    assert world().unused(65536) == frozenset(range(65530, 65536))
    assert world().unused(65530) == frozenset()


def test_end_of_text_is_read_as_nothing_and_never_encoded():
    assert world().bytes_of(0) == b""
    assert world().bytes_of(65535) == b""
    assert world().bytes_of(-1) == b""
    assert world().decode([0, 33155, 65535]) == "Hello"
    assert 0 not in world().encode("<|endoftext|>\0")


def test_every_world_byte_token_decodes_in_a_stream_of_its_neighbours():
    """R27: a token of half a character must not become U+FFFD when the other half follows."""
    tokenizer = world()
    for text in ("🦜", "é", "世", "\U0001f3f4\u200d\u2620\ufe0f"):
        ids = [byte + 1 for byte in text.encode()]
        assert tokenizer.decode(ids) == text


def test_longest_match_is_not_additive():
    """Why ids, not text, are the truth: the border of two encodings matters."""
    assert world().encode("\n\n") != world().encode("\n") + world().encode("\n")


def test_lone_surrogate_is_encoded_as_a_question_mark():
    """A file name or a terminal can hand one over; it has no UTF-8."""
    assert world().decode(world().encode("a\ud800b")) == "a?b"


def test_vocabulary_with_windows_line_ends_is_the_same_vocabulary(tmp_path):
    """The `rwkv` wheel ships CRLF; the identity must not depend on it."""
    path = tmp_path / "vocab.txt"
    path.write_bytes(WORLD_VOCABULARY.read_bytes().replace(b"\n", b"\r\n"))
    assert WorldTokenizer.from_file(path).tokenizer_id == world().tokenizer_id


def written(entries: dict[int, bytes]) -> bytes:
    return b"".join(b"%d %s %d\n" % (i, repr(raw).encode(), len(raw)) for i, raw in entries.items())


def test_small_vocabulary_with_gaps_masks_the_ids_without_entry(tmp_path):
    path = tmp_path / "vocab.txt"
    path.write_bytes(written(BYTES | {300: b"the ", 301: b"there"}))
    tokenizer = WorldTokenizer.from_file(path)
    assert tokenizer.encode("there the ") == [301, 33, 300]
    assert tokenizer.unused(303) == frozenset(range(257, 300)) | {302}


@pytest.mark.parametrize(
    ("line", "problem"),
    [
        (b"257 'ab' 3", "says 3 bytes, but its token has 2"),
        (b"257 'a\\'b 4", "no Python literal"),
        (b"257 __import__('os') 4", "no Python literal"),
        (b"257 ('a', 'b') 2", "no Python literal"),
        (b"257 12 2", "no Python literal"),
        (b"hello", "is not `ID LITERAL LENGTH`"),
        (b"", "is not `ID LITERAL LENGTH`"),
        (b"257 'ab'", "is not `ID LITERAL LENGTH`"),
        (b"0 'ab' 2", "the id 0, which is taken"),
        (b"256 'ab' 2", "the id 256, which is taken"),
        (b"257 '' 0", "says 0 bytes"),
        (b"99999999999 'ab' 2", "is not `ID LITERAL LENGTH`"),
    ],
)
def test_broken_vocabulary_line_is_named(line: bytes, problem: str):
    with pytest.raises(ModelFormatError, match=r"line 257 .*") as caught:
        parse_vocabulary(written(BYTES) + line + b"\n258 'zz' 2\n")
    assert problem in caught.value.message


def test_vocabulary_without_a_single_byte_is_refused():
    """Without it some text could not be encoded at all."""
    with pytest.raises(ModelFormatError, match="single byte 65"):
        WorldTokenizer({i: raw for i, raw in BYTES.items() if raw != b"A"})


def test_token_with_two_ids_is_refused():
    with pytest.raises(ModelFormatError, match="two ids"):
        parse_vocabulary(written(BYTES | {257: b"a"}))


def test_vocabulary_that_is_not_utf8_is_refused():
    with pytest.raises(ModelFormatError, match="UTF-8"):
        parse_vocabulary(b"1 '\xff' 1\n")


def test_missing_vocabulary_is_one_sentence(tmp_path):
    with pytest.raises(ModelNotFound, match="cannot be read"):
        WorldTokenizer.from_file(tmp_path / "vocab.txt")


def test_tokenizer_made_from_entries_has_an_identity_of_its_own():
    assert WorldTokenizer(BYTES).tokenizer_id == WorldTokenizer(dict(reversed(BYTES.items()))).tokenizer_id
    assert WorldTokenizer(BYTES).tokenizer_id != WorldTokenizer(BYTES | {257: b"ab"}).tokenizer_id
