"""How well a model predicts a text, last words and choices, and what a precision costs against another.

Everything is summed while reading, 256 tokens at a time, so that memory does not grow with the file. Each
document starts from a blank state that has read the end of text (id 0), as in the usual LAMBADA protocol;
where id 0 is a character, from nothing, and the first token is not scored.

T tokens of a chunk   V vocabulary
"""

from __future__ import annotations

import math
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import torch

from chatrwkv.engine.tasks.examples import Question, Text
from chatrwkv.errors import BadValue, GenerationError, NumericalError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from torch import Tensor

    from chatrwkv.engine.model import LoadedModel
    from chatrwkv.engine.state import Scratch, State
    from chatrwkv.engine.tasks.examples import Example

CHUNK = 256
"""Tokens of one pass; logits of a large vocabulary are 64 MiB then."""
LEAD = 0.5
"""Nats between the reference's two likeliest tokens from which on it counts as sure."""


@dataclass(frozen=True, slots=True)
class Position:
    """The loss over the tokens at `first` to `last` of their documents, counted from 1."""

    first: int
    last: int
    n: int
    loss: float


@dataclass(frozen=True, slots=True)
class LastWords:
    """Documents whose last word was asked for, LAMBADA's way."""

    n: int
    accuracy: float
    """Share of words whose every token is the likeliest."""
    probability: float
    """Mean probability of the word."""
    perplexity: float
    """exp of the mean loss of a word."""


@dataclass(frozen=True, slots=True)
class Choices:
    """Multiple choice."""

    n: int
    accuracy: float
    """By log-probability a byte of the choice."""
    accuracy_by_sum: float
    """By the whole log-probability, which favours short choices."""
    chance: float


@dataclass(frozen=True, slots=True)
class Against:
    """The difference from the same model in another precision, over every scored token."""

    dtype: str
    n: int
    mean_kl: float
    """KL(reference, model) in nats."""
    top1: float
    """Share of positions with the same likeliest token."""
    n_sure: int
    top1_sure: float
    """The same where the reference leads by at least `LEAD`."""


@dataclass(frozen=True, slots=True)
class Evaluation:
    """All that was measured."""

    model: str
    device: str
    dtype: str
    is_native: bool
    """Whether it ran on the native path."""
    n_documents: int
    n_tokens: int
    n_bytes: int
    loss: float
    """Nats a token."""
    bits_per_byte: float
    by_position: tuple[Position, ...]
    by_source: dict[str, float]
    """Bits per byte of each `source`; empty when no line names one."""
    last_words: LastWords | None
    choices: Choices | None
    against: Against | None
    seconds: float


@dataclass(slots=True)
class _Scores:
    """What one chunk says of each of its tokens, (T,) each."""

    loss: Tensor
    is_likeliest: Tensor
    kl: Tensor | None = None
    is_same: Tensor | None = None
    lead: Tensor | None = None


class _Reader:
    """One document under one model."""

    def __init__(self, loaded: LoadedModel) -> None:
        self._model = loaded.model
        self._begin = [0] if not loaded.tokenizer.bytes_of(0) else []
        self._scratch: Scratch
        self._last: Tensor | None

    def start(self) -> None:
        """From a blank state."""
        self._scratch = self._model.blank().thaw()
        self._last = self._model.scan([self._begin], self._scratch)[0] if self._begin else None

    def mark(self) -> tuple[State, Tensor | None]:
        """Where it is."""
        return self._scratch.freeze(0), self._last

    def back_to(self, mark: tuple[State, Tensor | None]) -> None:
        """Go on from `mark`."""
        self._scratch, self._last = mark[0].thaw(), mark[1]

    def log_probs(self, ids: Sequence[int]) -> Tensor:
        """Of every token that may stand in each place, (T, V), or (T - 1, V) if nothing precedes the first."""
        logits = self._model.scan([ids], self._scratch, all_logits=True)[0].float()
        before = logits[:-1] if self._last is None else torch.cat((self._last[None], logits[:-1]))
        self._last = logits[-1].clone()
        return before.log_softmax(-1)


class _Scorer:
    """Readers of the model and the reference side by side."""

    def __init__(self, loaded: LoadedModel, reference: LoadedModel | None) -> None:
        self._readers = [_Reader(loaded), *([_Reader(reference)] if reference else [])]

    def start(self) -> None:
        for reader in self._readers:
            reader.start()

    def mark(self) -> list[tuple[State, Tensor | None]]:
        return [reader.mark() for reader in self._readers]

    def back_to(self, marks: list[tuple[State, Tensor | None]]) -> None:
        for reader, mark in zip(self._readers, marks, strict=True):
            reader.back_to(mark)

    def read(self, ids: Sequence[int]) -> _Scores:
        """Read at most `CHUNK` tokens."""
        found = [reader.log_probs(ids) for reader in self._readers]
        log_p = found[0]
        wanted = torch.tensor(ids[len(ids) - len(log_p) :], device=log_p.device)[:, None]
        loss = -log_p.gather(1, wanted)[:, 0]
        if not bool(loss.isfinite().all()):
            raise NumericalError(
                "The model produced values that are no numbers.", hint="Use the precision fp32 or bf16."
            )
        likeliest = log_p.argmax(-1)
        scores = _Scores(loss, likeliest == wanted[:, 0])
        if len(found) == 2:
            reference = found[1].to(log_p.device)
            scores.kl = (reference.exp() * (reference - log_p)).sum(-1)
            best = reference.topk(2, -1)
            scores.is_same = likeliest == best.indices[:, 0]
            scores.lead = best.values[:, 0] - best.values[:, 1]
        return scores


@dataclass(slots=True)
class _Sums:
    """Everything added up so far."""

    n_documents: int = 0
    n_tokens: int = 0
    n_bytes: int = 0
    loss: float = 0.0
    positions: dict[int, list[float]] = field(default_factory=dict)  # power of two: [n, loss]
    sources: dict[str, list[float]] = field(default_factory=dict)  # source: [bytes, loss]
    words: list[float] = field(default_factory=lambda: [0, 0.0, 0.0, 0.0])  # n, right, probability, loss
    questions: list[float] = field(default_factory=lambda: [0, 0.0, 0.0, 0.0])  # n, right, by sum, chance
    against: list[float] = field(default_factory=lambda: [0, 0.0, 0.0, 0, 0.0])  # n, kl, same, sure, same

    def add(self, scores: _Scores, first: int) -> None:
        """Tokens whose first stands at position `first` of its document."""
        self.n_tokens += len(scores.loss)
        loss = scores.loss.double().cpu()
        self.loss += float(loss.sum())
        for i, value in enumerate(loss.tolist(), first):
            entry = self.positions.setdefault((i - 1).bit_length(), [0, 0.0])
            entry[0] += 1
            entry[1] += value
        if scores.kl is None or scores.is_same is None or scores.lead is None:
            return
        is_sure = scores.lead >= LEAD
        parts = (scores.kl.double(), scores.is_same, is_sure, scores.is_same & is_sure)
        for i, value in enumerate((len(loss), *(float(part.sum()) for part in parts))):
            self.against[i] += value

    def positions_found(self) -> tuple[Position, ...]:
        """The spans 1, 2, 3-4, 5-8 and so on."""
        return tuple(
            Position((1 << power >> 1) + 1 if power else 1, 1 << power, int(n), loss / n)
            for power, (n, loss) in sorted(self.positions.items())
        )


def evaluate(
    loaded: LoadedModel,
    examples: Iterable[Example],
    *,
    reference: LoadedModel | None = None,
    cancelled: Callable[[], bool] = bool,
    read: Callable[[int], None] | None = None,
) -> Evaluation:
    """Measure a model over `examples`.

    Args:
        loaded: the model in question.
        examples: texts and questions, in any order.
        reference: the same model in another precision, for KL and agreement.
        cancelled: asked after each chunk.
        read: called with the UTF-8 bytes of each example's text once it is done.

    Raises:
        BadValue: there is nothing to score, or the vocabularies differ.
        GenerationError: stopped, or no usable numbers.
    """
    if reference is not None and reference.model.spec.n_vocab != loaded.model.spec.n_vocab:
        raise BadValue("The two models have different vocabularies.", hint="Compare a model with itself.")
    sums, start = _Sums(), time.perf_counter()
    run = _Run(loaded, _Scorer(loaded, reference), sums, cancelled)
    with torch.inference_mode():
        for example in examples:
            n_bytes = run.text(example) if isinstance(example, Text) else run.question(example)
            if read is not None:
                read(n_bytes)
    if not sums.n_tokens and not sums.questions[0]:
        raise BadValue("There is nothing to score.", hint="The file needs at least two tokens of text.")
    return _result(loaded, reference, sums, time.perf_counter() - start)


class _Run:
    """One evaluation in progress."""

    def __init__(
        self, loaded: LoadedModel, scorer: _Scorer, sums: _Sums, cancelled: Callable[[], bool]
    ) -> None:
        self._encode = loaded.tokenizer.encode
        self._scorer = scorer
        self._sums = sums
        self._cancelled = cancelled

    def _chunks(self, ids: Sequence[int]) -> Iterable[_Scores]:
        for at in range(0, len(ids), CHUNK):
            if self._cancelled():
                raise GenerationError("The evaluation was stopped.")
            yield self._scorer.read(ids[at : at + CHUNK])

    def text(self, example: Text) -> int:
        """Score one document; its length in bytes."""
        sums, position, n_bytes, before = self._sums, 1, 0, self._sums.loss
        self._scorer.start()
        for index, piece in enumerate(example.pieces):
            n_bytes += len(piece.encode())
            word_loss, is_right = 0.0, True
            for scores in self._chunks(self._encode(piece)):
                sums.add(scores, position)
                position += len(scores.loss)
                if index == example.word:
                    word_loss += float(scores.loss.sum())
                    is_right &= bool(scores.is_likeliest.all())
            if index == example.word:
                for i, value in enumerate((1, is_right, math.exp(-word_loss), word_loss)):
                    sums.words[i] += value
        sums.n_documents += 1
        sums.n_bytes += n_bytes
        if example.source:
            entry = sums.sources.setdefault(example.source, [0, 0.0])
            entry[0] += n_bytes
            entry[1] += sums.loss - before
        return n_bytes

    def question(self, example: Question) -> int:
        """Score every choice from the mind after the question; the bytes of all."""
        self._scorer.start()
        for _ in self._chunks(self._encode(example.question.rstrip())):
            pass
        mark, scores = self._scorer.mark(), []
        for choice in example.choices:
            self._scorer.back_to(mark)
            text = choice if choice[0].isspace() else f" {choice}"
            total = -sum(float(part.loss.sum()) for part in self._chunks(self._encode(text)))
            scores.append((total / len(text.encode()), total))
        best = [max(range(len(scores)), key=lambda i: scores[i][kind]) for kind in (0, 1)]
        right = [float(index == example.answer) for index in best]
        for i, value in enumerate((1, *right, 1 / len(scores))):
            self._sums.questions[i] += value
        return len(example.question.encode()) + sum(len(choice.encode()) for choice in example.choices)


def _result(loaded: LoadedModel, reference: LoadedModel | None, sums: _Sums, seconds: float) -> Evaluation:
    words, questions = sums.words, sums.questions
    n_words, n_questions = int(words[0]), int(questions[0])
    n, kl, same, n_sure, same_sure = sums.against
    against = None
    if reference is not None and n:
        share = same_sure / n_sure if n_sure else 1.0
        against = Against(reference.dtype, int(n), kl / n, same / n, int(n_sure), share)
    return Evaluation(
        model=loaded.name,
        device=loaded.device,
        dtype=loaded.dtype,
        is_native=hasattr(loaded.model, "engine") or bool(getattr(loaded.model, "is_native", False)),
        n_documents=sums.n_documents,
        n_tokens=sums.n_tokens,
        n_bytes=sums.n_bytes,
        loss=sums.loss / max(1, sums.n_tokens),
        bits_per_byte=sums.loss / math.log(2) / max(1, sums.n_bytes),
        by_position=sums.positions_found(),
        by_source={name: loss / math.log(2) / n for name, (n, loss) in sorted(sums.sources.items())},
        last_words=LastWords(n_words, words[1] / n_words, words[2] / n_words, math.exp(words[3] / n_words))
        if n_words
        else None,
        choices=Choices(n_questions, *(value / n_questions for value in questions[1:]))
        if n_questions
        else None,
        against=against,
        seconds=seconds,
    )
