"""The built-in model's vocabulary: World format, longest match, nothing across a turn's border."""

import pytest

from chatrwkv.engine import WorldTokenizer
from training import vocab

TEXTS = [
    "User: Hello there, how are you?\n\nAssistant: I am well, thank you.\n\n",
    "User: What is 12 + 7?\n\nAssistant: 12 plus 7 is 19.\n\n",
    "She said: \"Don't go!\" and they'll stay, café and naïve, 東京 🙂\n",
] * 4


@pytest.fixture(scope="module")
def path(tmp_path_factory):
    target = tmp_path_factory.mktemp("vocab") / "vocab.txt"
    vocab.write(target, vocab.train_entries(TEXTS, 400))
    return target


def test_every_byte_and_every_role_has_an_entry(path):
    """A text with a byte that has no entry could not be encoded at all."""
    entries = set(vocab.Vocabulary(path).entries)
    assert {bytes([i]) for i in range(256)} <= entries
    assert {b"User:", b"Assistant:", b"System:", b"\n\n"} <= entries


def test_world_tokenizer_reads_the_file_and_encodes_alike(path):
    """Ids of training that differ from ids of chatting would make the model see noise."""
    world, own = WorldTokenizer.from_file(path), vocab.Vocabulary(path)
    assert world.n_vocab == len(own.entries)
    for text in [*TEXTS, "odd   spaces\n\n\nand\ttabs", "ab1c's 2nd ~~ x", "ÄÖÜ ß \u200b"]:
        assert own.encode(text) == world.encode(text)
        assert own.decode(own.encode(text)) == text


def test_pieces_of_a_turn_encode_the_same_apart_and_together(path):
    """The application encodes turn by turn; an entry across the border would change the ids."""
    own = vocab.Vocabulary(path)
    pieces = ["User: Hello there\n\n", "Assistant:", " I am well.", "\n\n", "User: go\n\n"]
    assert own.encode("".join(pieces)) == [i for piece in pieces for i in own.encode(piece)]


def test_a_role_costs_one_token(path):
    """Every turn pays for its role."""
    own = vocab.Vocabulary(path)
    assert [len(own.encode(role)) for role in vocab.ROLES] == [1, 1, 1]
