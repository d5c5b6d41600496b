"""What `evaluate` reads: a plain text, or one JSON object a line. Lazily, so that no file is too large.

    {"text": "...", "source": "optional"}                       bits per byte, and the last word
    {"question": "...", "choices": ["...", "..."], "answer": 1}  multiple choice

`answer` counts from 0, or is a letter, or the text of the right choice. Knows no torch and no tokenizer.
"""

from __future__ import annotations

import json
import re
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TextIO

from chatrwkv.errors import BadValue

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path

_PIECE_CHARS = 1 << 16
_LAST_WORD = re.compile(r"(?s)(.*\S)(\s+\S+)(\s*)")
_MAX_CHOICES = 26  # letters


@dataclass(frozen=True, slots=True)
class Text:
    """One document, in pieces that are encoded one by one."""

    pieces: Iterable[str]
    source: str = ""
    word: int = -1
    """Which piece is the last word, with the white space before it; -1 when none is asked for."""


@dataclass(frozen=True, slots=True)
class Question:
    """One question of multiple choice."""

    question: str
    choices: tuple[str, ...]
    answer: int


Example = Text | Question


@dataclass(frozen=True, slots=True)
class Exhibit:
    """One model of the museum, and what it said."""

    name: str
    generation: str
    n_params: int
    state_bytes: int
    """After the reply; it grows in RWKV-1."""
    bits_per_byte: float
    """On held-out text."""
    reply: str
    tok_s: float
    """Of the reply."""


def read_examples(path: Path) -> Iterator[Example]:
    """Every example of a file: JSON lines if the name ends in .jsonl, else one text.

    Raises:
        BadValue: the file cannot be read, or a line is not what it should be.
    """
    with _told(path), path.open(encoding="utf-8") as file:
        if path.suffix == ".jsonl":
            yield from _lines(file, path.name)
        else:
            yield Text(_pieces(path, file))


@contextmanager
def _told(path: Path) -> Iterator[None]:
    try:
        yield
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not UTF-8"
        raise BadValue(f"{path} cannot be read: {reason}.", hint="Give a text or a .jsonl file.") from error


def _pieces(path: Path, file: TextIO) -> Iterator[str]:
    """The text in pieces that end with a line, so that no token is lost at a border but those over it."""
    with _told(path):
        while piece := file.read(_PIECE_CHARS):
            yield piece + file.readline(_PIECE_CHARS)


def _lines(file: TextIO, name: str) -> Iterator[Example]:
    for number, line in enumerate(file, 1):
        if not line.strip():
            continue
        try:
            yield parse(json.loads(line))
        except (ValueError, RecursionError) as error:
            raise BadValue(
                f"Line {number} of {name} cannot be used: {error}.",
                hint='It must be {"text": ...} or {"question": ..., "choices": [...], "answer": ...}.',
            ) from error


def parse(row: Any) -> Example:
    """One line of a file, decoded."""
    if not isinstance(row, dict):
        raise ValueError("it is no JSON object")  # noqa: TRY004 -- told by line in `_lines`
    if isinstance(row.get("text"), str) and row["text"]:
        found = _LAST_WORD.fullmatch(row["text"])
        source = str(row.get("source", ""))
        if found is None:
            return Text((row["text"],), source)
        return Text(tuple(part for part in found.groups() if part), source, word=1)
    question, choices = row.get("question"), row.get("choices")
    if not isinstance(question, str) or not question.strip():
        raise ValueError('it has neither "text" nor "question"')
    if not isinstance(choices, list) or not all(isinstance(choice, str) and choice for choice in choices):
        raise ValueError('"choices" is no list of texts')
    if not 2 <= len(choices) <= _MAX_CHOICES:
        raise ValueError(f"there are {len(choices)} choices")
    return Question(question, tuple(choices), _answer(row.get("answer"), choices))


def _answer(answer: Any, choices: list[str]) -> int:
    if isinstance(answer, str):
        if answer in choices:
            return choices.index(answer)
        if len(answer) == 1 and answer.isascii() and answer.isalpha():
            answer = ord(answer.upper()) - ord("A")
    if type(answer) is not int or not 0 <= answer < len(choices):
        raise ValueError(f'"answer" is {answer!r}, which is none of {len(choices)} choices')
    return answer
