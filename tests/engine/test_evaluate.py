"""Measurements of quality against the same sums written out."""

from __future__ import annotations

import json
import math
from pathlib import Path

import pytest
import torch

from chatrwkv.engine.events import ModelInfo
from chatrwkv.engine.model import LoadedModel
from chatrwkv.engine.tasks import evaluate as module
from chatrwkv.engine.tasks.evaluate import evaluate
from chatrwkv.engine.tasks.examples import Question, Text, read_examples
from chatrwkv.errors import BadValue, GenerationError, NumericalError
from tests import checkpoints
from tests.checkpoints import Size
from tests.engine.generations import model_from
from tests.fakes import ByteTokenizer

SIZE = Size(2, 64, 32, 257)


class CharacterTokenizer(ByteTokenizer):
    """Ids without an end of text: id 0 is a byte."""

    def encode(self, text):
        return list(text.encode())

    def bytes_of(self, token_id):
        return bytes([token_id])


def loaded(seed=0, *, tokenizer=None, dtype="fp32", size=SIZE, shift=0.0):
    tensors = checkpoints.rwkv7(size, seed)
    tensors["head.weight"] = tensors["head.weight"] + shift
    model = model_from(tensors)
    info = ModelInfo(
        name="tiny", path="tiny", generation="7", n_layer=2, n_embd=64, n_vocab=257, n_params=1,
        fingerprint="f", tokenizer_id="t", device="cpu", dtype=dtype, state_bytes=1, card_family="",
    )  # fmt: skip
    tokens = tokenizer or ByteTokenizer()
    return LoadedModel(model, tokens, "tiny", Path("tiny"), "cpu", dtype, frozenset(), info)


def log_probs(net, ids):
    logits = net.model.scan([ids], net.model.blank().thaw(), all_logits=True)[0]
    return logits.double().log_softmax(-1)


def losses(net, ids):
    """Of ids[1:], from one pass over everything."""
    return -log_probs(net, ids)[:-1].gather(1, torch.tensor(ids[1:])[:, None])[:, 0]


def test_bits_per_byte_are_the_sum_over_every_token_of_every_chunk(monkeypatch):
    """A border between chunks that loses or doubles a token would hardly show in a mean."""
    monkeypatch.setattr(module, "CHUNK", 7)
    net, text = loaded(), "Grün ist die Hoffnung, und lang ist der Weg."
    found = evaluate(net, [Text((text[:9], text[9:]), "a"), Text(("x",), "b")])
    want = losses(net, [0, *ByteTokenizer().encode(text)]).sum()
    x = losses(net, [0, *ByteTokenizer().encode("x")]).sum()
    n_bytes = len(text.encode())
    assert (found.n_documents, found.n_tokens, found.n_bytes) == (2, n_bytes + 1, n_bytes + 1)
    assert found.bits_per_byte == pytest.approx(float(want + x) / math.log(2) / (n_bytes + 1), rel=1e-5)
    assert found.by_source == pytest.approx(
        {"a": float(want) / math.log(2) / n_bytes, "b": float(x) / math.log(2)}, rel=1e-5
    )


def test_loss_by_position_counts_from_the_start_of_each_document():
    net, texts = loaded(), ["abcdefghi", "xyz"]
    found = evaluate(net, [Text((text,)) for text in texts])
    rows = [losses(net, [0, *ByteTokenizer().encode(text)]) for text in texts]
    assert [(p.first, p.last, p.n) for p in found.by_position] == [
        (1, 1, 2), (2, 2, 2), (3, 4, 3), (5, 8, 4), (9, 16, 1),
    ]  # fmt: skip
    assert found.by_position[2].loss == pytest.approx(
        float(rows[0][2:4].sum() + rows[1][2:3].sum()) / 3, rel=1e-5
    )
    assert sum(p.n * p.loss for p in found.by_position) == pytest.approx(found.loss * found.n_tokens)


def test_first_token_is_not_scored_where_no_id_means_the_start():
    net = loaded(tokenizer=CharacterTokenizer())
    found = evaluate(net, [Text(("hello",))])
    assert found.n_tokens == 4
    assert found.loss * 4 == pytest.approx(float(losses(net, list(b"hello")).sum()), rel=1e-5)


def test_last_word_is_right_only_if_every_token_is_the_likeliest(tmp_path):
    """One letter of a word is no word."""
    net, before = loaded(), "once upon a"
    ids = [0, *ByteTokenizer().encode(before)]
    word: list[int] = []
    for _ in range(3):  # what the model itself would say
        word.append(int(log_probs(net, [*ids, *word])[-1].argmax()))
    last = bytes(i % 256 for i in word).decode("latin-1")
    example = Text((before, last), word=1)
    net.tokenizer.encode = lambda text: word if text == last else ids[1:]
    found = evaluate(net, [example])
    assert found.last_words is not None
    assert found.last_words.accuracy == 1
    total = float(losses(net, [*ids, *word])[-3:].sum())
    assert found.last_words.probability == pytest.approx(math.exp(-total), rel=1e-4)
    assert found.last_words.perplexity == pytest.approx(math.exp(total), rel=1e-4)
    word[2] = (word[2] + 1) % 257
    found = evaluate(net, [example])
    assert found.last_words is not None
    assert found.last_words.accuracy == 0


def test_choice_is_scored_from_the_mind_after_the_question():
    """Choices must not read each other, and a longer one must not lose by its length alone."""
    net, choices = loaded(3), ("yes", "no, and that is certain", "q")
    found = [evaluate(net, [Question("Is it?  ", choices, answer)]) for answer in range(3)]
    question = [0, *ByteTokenizer().encode("Is it?")]
    scores = []
    for choice in choices:
        ids = ByteTokenizer().encode(f" {choice}")
        scores.append(-float(losses(net, [*question, *ids])[-len(ids) :].sum()))
    by_byte = [score / (len(choice) + 1) for score, choice in zip(scores, choices, strict=True)]
    results = [one.choices for one in found]
    assert [r.accuracy for r in results if r] == [float(i == by_byte.index(max(by_byte))) for i in range(3)]
    assert [r.accuracy_by_sum for r in results if r] == [
        float(i == scores.index(max(scores))) for i in range(3)
    ]
    assert results[0] is not None
    assert results[0].chance == pytest.approx(1 / 3)


def test_kl_and_agreement_follow_their_formulas():
    text = "The quick brown fox jumps over the lazy dog." * 8
    net, other = loaded(), loaded(shift=0.01, dtype="bf16")
    net.model.scan([[1]], net.model.blank().thaw())
    tensors = checkpoints.rwkv7(SIZE, 0)
    tensors["head.weight"] = (tensors["head.weight"] * 1.1).bfloat16().float()
    other = LoadedModel(
        model_from(tensors), other.tokenizer, "tiny", other.path, "cpu", "bf16", frozenset(), other.info
    )
    found = evaluate(other, [Text((text,))], reference=net).against
    ids = [0, *ByteTokenizer().encode(text)]
    p, q = (log_probs(one, ids)[:-1] for one in (net, other))
    top = p.topk(2).values
    is_sure = top[:, 0] - top[:, 1] >= 0.5
    is_same = p.argmax(-1) == q.argmax(-1)
    assert found is not None
    assert (found.dtype, found.n, found.n_sure) == ("fp32", len(ids) - 1, int(is_sure.sum()))
    assert found.mean_kl == pytest.approx(float((p.exp() * (p - q)).sum(-1).mean()), rel=1e-3)
    assert found.top1 == pytest.approx(float(is_same.double().mean()))
    assert found.top1_sure == pytest.approx(float(is_same[is_sure].double().mean()))
    same = evaluate(net, [Text((text,))], reference=loaded()).against
    assert same is not None
    assert (same.mean_kl, same.top1, same.top1_sure) == (0, 1, 1)


def test_stops_between_chunks(monkeypatch):
    monkeypatch.setattr(module, "CHUNK", 4)
    asked = []

    def cancelled():
        asked.append(1)
        return len(asked) == 3

    with pytest.raises(GenerationError, match="stopped"):
        evaluate(loaded(), [Text(("x" * 100,))], cancelled=cancelled)
    assert len(asked) == 3


def test_numbers_that_are_none_are_an_error_and_no_result():
    with pytest.raises(NumericalError):
        evaluate(loaded(shift=float("nan")), [Text(("abc",))])


def test_nothing_to_score_and_other_vocabularies_are_refused():
    with pytest.raises(BadValue, match="nothing to score"):
        evaluate(loaded(), [Text(())])
    other = loaded(size=Size(2, 64, 32, 300))
    with pytest.raises(BadValue, match="vocabularies"):
        evaluate(loaded(), [Text(("abc",))], reference=other)


# -- the files --------------------------------------------------------------------------------------------


def written(tmp_path, *rows):
    path = tmp_path / "rows.jsonl"
    path.write_text("\n".join(row if isinstance(row, str) else json.dumps(row) for row in rows))
    return path


def test_last_word_keeps_all_of_the_text(tmp_path):
    """Three pieces that do not add up to the text would change its bits per byte."""
    texts = ["a b\n c  d.\n\n", "User: hi\n\nAssistant: yes", "one", "  two  "]
    found = list(read_examples(written(tmp_path, *({"text": text, "source": "s"} for text in texts))))
    assert ["".join(one.pieces) for one in found if isinstance(one, Text)] == texts
    assert [list(one.pieces)[one.word] if one.word >= 0 else "" for one in found if isinstance(one, Text)] == [
        "  d.", " yes", "", "",
    ]  # fmt: skip


def test_answer_may_be_a_number_a_letter_or_the_choice(tmp_path):
    rows = [{"question": "q", "choices": ["x", "b"], "answer": answer} for answer in (1, "B", "b")]
    assert [one.answer for one in read_examples(written(tmp_path, *rows)) if isinstance(one, Question)] == [
        1,
        1,
        1,
    ]


@pytest.mark.parametrize(
    "row",
    ["{", "[1]", {"question": "q"}, {"text": ""}, {"question": "q", "choices": ["a"], "answer": 0},
     {"question": "q", "choices": ["a", "b"], "answer": 2}, {"question": "q", "choices": ["a", "b"], "answer": True},
     "[" * 100_000],
)  # fmt: skip
def test_line_that_cannot_be_used_is_named(tmp_path, row):
    with pytest.raises(BadValue, match="Line 2 of rows"):
        list(read_examples(written(tmp_path, {"text": "a b"}, row)))


def test_pieces_of_a_long_text_add_up(tmp_path):
    """A whole file in memory at once has no bound."""
    path, text = tmp_path / "long.txt", "".join(f"line {i}\n" for i in range(20_000))
    path.write_text(text)
    for example in read_examples(path):
        assert isinstance(example, Text)
        pieces = list(example.pieces)
        assert "".join(pieces) == text
        assert len(pieces) > 2
        assert all(piece.endswith("\n") for piece in pieces)


def test_file_that_is_no_text_is_refused(tmp_path):
    path = tmp_path / "x.txt"
    path.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(BadValue, match="not UTF-8"):
        evaluate(loaded(), read_examples(path))
