"""Read the hand-written text: intents and dialogues as the files beside this one hold them."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

TEXT_DIR = Path(__file__).parent
EVAL_DIR = TEXT_DIR.parent / "eval"

Turn = tuple[str, str]
Dialogue = list[Turn]


@dataclass(frozen=True, slots=True)
class Intent:
    """One thing a person may want to say: its wordings, its answers, and follow-ups that need them."""

    name: str
    ask: tuple[str, ...]
    answer: tuple[str, ...]
    follow_ask: tuple[str, ...] = ()
    follow_answer: tuple[str, ...] = ()


def normalise(text: str) -> str:
    """Lower case, letters, digits and + - * / = only, single spaces; the raw text where nothing is left."""
    kept = re.sub(r"[^a-z0-9+*/=-]+", " ", text.lower().replace("'", ""))
    return " ".join(kept.split()) or text.strip()


def rows(path: Path) -> Iterator[dict[str, object]]:
    """The JSON objects of a file, one a line."""
    with path.open(encoding="utf-8") as lines:
        for line in lines:
            yield json.loads(line)


def intents(folder: Path = TEXT_DIR) -> Iterator[tuple[Path, list[Intent]]]:
    """Every file that holds intents, with its intents; a follow-up belongs to the answer before it."""
    for path in sorted(folder.glob("*.jsonl")):
        found = [_intent(row) for row in rows(path) if "intent" in row]
        if found:
            yield path, found


def dialogues(folder: Path = TEXT_DIR) -> Iterator[tuple[Path, list[Dialogue]]]:
    """Every file that holds dialogues, with its dialogues."""
    for path in sorted(folder.glob("*.jsonl")):
        found = [
            [(role, text) for role, text in _pairs(row["turns"])] for row in rows(path) if "turns" in row
        ]
        if found:
            yield path, found


@cache
def held_out() -> frozenset[str]:
    """The graded (last) turns of the held-out prompts, normalised; training text must not contain them."""
    last = (_pairs(row["turns"])[-1][1] for row in rows(EVAL_DIR / "prompts_heldout.jsonl"))
    return frozenset(normalise(text) for text in last)


def _intent(row: dict[str, object]) -> Intent:
    follow = row.get("next", ((), ()))
    assert isinstance(follow, list | tuple)
    follow_ask, follow_answer = follow
    return Intent(
        name=str(row["intent"]),
        ask=_strings(row["ask"]),
        answer=_strings(row["answer"]),
        follow_ask=_strings(follow_ask),
        follow_answer=_strings(follow_answer),
    )


def _strings(value: object) -> tuple[str, ...]:
    assert isinstance(value, list | tuple)
    return tuple(str(item) for item in value)


def _pairs(value: object) -> list[Turn]:
    assert isinstance(value, list)
    return [(str(role), str(text)) for role, text in value]
