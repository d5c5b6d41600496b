"""From sources to rows: filters, the template, packing, and the prompts that must stay unseen."""

import itertools
import json
import lzma
import random

import pytest

from training import corpus, data, drills, sources, vocab
from training.corpus import PAD, PROMPT, REPLY
from training.text import library


@pytest.fixture(scope="module")
def vocabulary(tmp_path_factory):
    path = tmp_path_factory.mktemp("vocab") / "vocab.txt"
    vocab.write(path, vocab.train_entries(["User: hi\n\nAssistant: Hello there.\n\n"] * 3, 300))
    return vocab.Vocabulary(path)


def hello(reply="Hello there."):
    return corpus.conversation("x", [("user", "hi"), ("assistant", reply)])


@pytest.mark.parametrize(
    ("source", "turns"),
    [
        ("x", [("user", "you shit"), ("assistant", "Well.")]),
        ("x", [("user", "hi"), ("assistant", "and then I")]),
        ("byu_chitchat", [("user", "hey Kevin how are you"), ("assistant", "Good.")]),
        ("byu_chitchat", [("user", "my number is 555-0199"), ("assistant", "Thanks.")]),
        ("x", [("user", "only one turn")]),
    ],
)
def test_unfit_dialogues_are_left_out(source, turns):
    """Profanity, unfinished replies, private names and numbers, and turns without a reply."""
    assert sources.tidy(source, turns) is None


def test_a_dialogue_starts_with_the_user_and_ends_with_a_reply():
    """A reply to nothing teaches the model to talk without being asked."""
    turns = [("assistant", "Welcome."), ("user", "hi"), ("assistant", "Hello."), ("user", "bye")]
    found = sources.tidy("x", turns)
    assert found is not None
    assert found.turns == (("user", "hi"), ("assistant", "Hello."))


def test_blank_lines_inside_a_turn_become_single():
    """Two newlines end a turn in the template."""
    assert sources.clean("one \n\n  two\r\n") == "one\ntwo"


def test_repeated_dialogues_are_read_once(tmp_path):
    """Duplicates differ in case and marks only."""
    path = tmp_path / "x.jsonl.xz"
    rows = [[["user", ask], ["assistant", "Yes."]] for ask in ("Is it so?", "is it so", "Or not?")]
    with lzma.open(path, "wt") as file:
        file.writelines(json.dumps({"turns": turns}) + "\n" for turns in rows)
    assert [d.turns[0][1] for d in sources.dialogues(path)] == ["Is it so?", "Or not?"]


def test_conversation_is_the_template_byte_for_byte():
    """The application feeds exactly this."""
    document = corpus.conversation(
        "x", [("user", "hi"), ("assistant", "Hello."), ("user", "bye"), ("assistant", "See you.")]
    )
    text = "".join(piece for _, piece in document.pieces)
    assert text == "User: hi\n\nAssistant: Hello.\n\nUser: bye\n\nAssistant: See you.\n\n"


def test_each_position_predicts_its_successor_and_the_end_is_id_0(vocabulary):
    """Off by one, the model learns to repeat its input."""
    encoded = data.encode(hello(), vocabulary)
    assert vocabulary.decode(encoded.ids) == "User: hi\n\nAssistant: Hello there.\n\n"
    assert encoded.targets == [*encoded.ids[1:], 0]
    reply = [t for t, role in zip(encoded.targets, encoded.roles, strict=True) if role == REPLY]
    assert vocabulary.decode(reply[:-1]) == " Hello there.\n\n"
    assert reply[-1] == 0
    assert encoded.roles[0] == PROMPT


def test_packing_keeps_every_document_whole(vocabulary):
    """A document cut at a row's end would begin in the middle of a reply in the next row."""
    packer = data.Packer(random.Random(3))
    documents = [data.encode(hello("Hello " * (i % 40) + "there."), vocabulary) for i in range(120)]
    for document in documents:
        packer.add(document)
    rows = packer.finish().arrays()
    assert rows["ids"].shape[1] == data.ROW
    assert (rows["starts"][:, 0] == 1).all()
    found = []
    for ids, targets, roles in zip(rows["ids"], rows["targets"], rows["roles"], strict=True):
        counted = [
            (i, t) for i, t, role in zip(ids.tolist(), targets.tolist(), roles, strict=True) if role != PAD
        ]
        assert all(following[0] == t for (_, t), following in itertools.pairwise(counted) if t)
        found += [t for _, t in counted if t == 0]
    assert len(found) == len(documents)


def test_padding_counts_for_nothing_and_starts_blank(vocabulary):
    """A row's empty end must not be a document of zeros."""
    packer = data.Packer(random.Random(1))
    packer.add(data.encode(hello(), vocabulary))
    rows = packer.finish().arrays()
    n = int((rows["ids"][0] != 0).sum()) + int(rows["ids"][0][0] == 0)
    assert not rows["roles"][0, n:].any()
    assert rows["starts"][0, n] == 1


def test_no_user_turn_of_the_own_text_is_a_held_out_prompt():
    """The held-out score would measure memory, not understanding."""
    banned = corpus.banned_questions()
    assert len(banned) == 30
    rng = random.Random(7)
    documents = [d for _ in range(3) for d in corpus.own(rng, banned, [])] + corpus.own_held_out()
    for document in documents:
        for role, text in document.pieces:
            if role == PROMPT and text.startswith("User:"):
                assert library.normalise(text.removeprefix("User:")) not in banned


@pytest.mark.parametrize("name", ["voice", "self_dialogue"])
def test_public_dialogues_with_a_held_out_prompt_are_left_out(tmp_path, name):
    """A held-out wording may stand in a public source by chance."""
    file = corpus.VOICE if name == "voice" else name
    (tmp_path / "chat").mkdir()
    rows = [[["user", ask], ["assistant", "All right."]] for ask in ("Is it late?", "Howdy, little machine!")]
    with lzma.open(tmp_path / "chat" / f"{file}.jsonl.xz", "wt") as lines:
        lines.writelines(json.dumps({"turns": turns}) + "\n" for turns in rows)
    found = data.read_sources(tmp_path, [name], corpus.banned_questions())[name]
    assert [d.pieces[0][1] for d in found] == ["User: Is it late?\n\n"]


def test_held_out_wordings_never_train():
    """The test set by source is chosen by a hash, so that it stays the same when text is added."""
    held = {sources.normalise(d.pieces[0][1]) for d in corpus.own_held_out()} - {"user"}
    assert held
    firsts = {sources.normalise(d.pieces[0][1]) for d in corpus.own(random.Random(2), frozenset(), [])}
    assert len(held & firsts) <= 2  # a slip of the finger may hit a wording now and then


def test_shares_of_a_mix_are_kept_by_tokens(vocabulary):
    """By documents, a source of long texts would crowd out the others."""
    short, long = data.encode(hello(), vocabulary), data.encode(hello("Hello there. " * 20), vocabulary)

    def endless(document):
        while True:
            yield document

    _, given = data.mix(
        {"a": endless(short), "b": endless(long)},
        {"a": 0.75, "b": 0.25},
        20000,
        data.Packer(random.Random(1)),
    )
    assert given["a"] / sum(given.values()) == pytest.approx(0.75, abs=0.02)


def test_nonsense_is_answered_and_never_empty():
    """An empty user turn would train the model on a blank question."""
    rng = random.Random(0)
    for _ in range(50):
        (_, ask), (_, reply) = drills.nonsense(rng)
        assert ask.strip()
        assert sources.is_finished(reply)
