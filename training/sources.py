"""Reads and cleans the text the model learns from.

A folder of sources holds `chat/*.jsonl.xz` (one `{"src", "turns": [[role, text], ...]}` a line) and
`text/*.txt.xz` (documents separated by NUL). Nothing here knows of tokens.
"""

from __future__ import annotations

import json
import lzma
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path

USER = "user"
ASSISTANT = "assistant"

# Stems, matched at the start of a word; short on purpose: a source that needs a long list is left out.
_PROFANE = re.compile(
    r"\b(fuck|shit|bitch|cunt|nigg|faggot|whore|slut|porn|pussy|penis|vagina|dildo|blowjob|asshole|"
    r"bastard|rape[ds]?\b|rapist|masturbat|motherf|horny|boobs|tits\b|dick(s|head)?\b|cock(s|sucker)?\b|cum\b|"
    r"anal\b|sex(y|ual|ually)?\b|nude|naked|nazi|hitler|suicid|terroris)",
    re.IGNORECASE,
)
# Self-introductions and addresses in the one source made of students' private chats.
_PERSONAL = re.compile(
    r"\b(my name is|my name's|i am called|this is|i'm|im|call me|hey|hi|hello)\s+[A-Z][a-z]+\b|"
    r"\b(BYU|byu|Provo|provo|Utah|utah|mission|bishop|church)\b|@|\d{3}[-. ]\d{3,4}"
)
_ENDINGS = (".", "!", "?", '."', '!"', '?"', ".'", ".)", ":", "...")
_SPACES = re.compile(r"[ \t\u00a0]+")
_LINE_ENDS = re.compile(r"\s*\n\s*")
_NOT_WORD = re.compile(r"[^a-z0-9]+")


@dataclass(frozen=True, slots=True)
class Dialogue:
    """A conversation: alternating turns that start with the user."""

    source: str
    turns: tuple[tuple[str, str], ...]


def normalise(text: str) -> str:
    """The form in which two questions count as the same: lower case, letters and digits only."""
    return _NOT_WORD.sub(" ", text.lower().replace("'", "")).strip()


def clean(text: str) -> str:
    """One turn without double spaces and without blank lines, which would end a turn in the template."""
    return _LINE_ENDS.sub("\n", _SPACES.sub(" ", text.replace("\r", ""))).strip()


def is_clean(text: str) -> bool:
    """Whether the text has none of the words of the short profanity list."""
    return _PROFANE.search(text) is None


def is_finished(text: str) -> bool:
    """Whether a reply ends as a sentence does."""
    return text.rstrip().endswith(_ENDINGS)


def is_impersonal(text: str) -> bool:
    """Whether the text gives no name, place or number of a private person away (byu_chitchat)."""
    return _PERSONAL.search(text) is None


def _sentence_case(text: str) -> str:
    """Lower-case chat made presentable: the first letter of each sentence, and the word I."""
    text = re.sub(r"\bi\b", "I", text)
    text = re.sub(r"(^|[.!?]\s+)([a-z])", lambda m: m.group(1) + m.group(2).upper(), text)
    return text if is_finished(text) or not text else text + "."


def tidy(source: str, turns: Iterable[tuple[str, str]]) -> Dialogue | None:
    """A dialogue fit for training, or None: cleaned, alternating, user first, a reply last."""
    cleaned = [(role, clean(text)) for role, text in turns]
    if source in {"self_dialogue", "byu_chitchat", "topical_chat"}:
        # the assistant must not learn to answer without capitals and full stops
        cleaned = [(r, _sentence_case(t) if r == ASSISTANT else t) for r, t in cleaned]
    while cleaned and cleaned[0][0] != USER:
        cleaned = cleaned[1:]
    kept: list[tuple[str, str]] = []
    for role, text in cleaned:
        if not text or (kept and kept[-1][0] == role):
            break
        kept.append((role, text))
    if kept and kept[-1][0] == USER:
        kept.pop()
    # brackets are place holders: [user 2 name]
    if len(kept) < 2 or not all(is_clean(t) and "[" not in t for _, t in kept):
        return None
    if source == "byu_chitchat" and not all(is_impersonal(t) for _, t in kept):
        return None
    if source != "ms_chitchat" and not all(is_finished(t) for r, t in kept if r == ASSISTANT):
        return None
    return Dialogue(source, tuple(kept))


def read_lines(path: Path) -> Iterator[str]:
    """Lines of a plain or xz-compressed text file."""
    opener = lzma.open if path.suffix == ".xz" else open
    with opener(path, "rt", encoding="utf-8") as file:
        for line in file:
            if line.strip():
                yield line


def dialogues(path: Path) -> list[Dialogue]:
    """The usable, distinct conversations of one `.jsonl` or `.jsonl.xz` file."""
    source = path.name.split(".")[0]
    seen: set[str] = set()
    kept: list[Dialogue] = []
    for line in read_lines(path):
        turns = [(str(role), str(text)) for role, text in json.loads(line)["turns"]]
        dialogue = tidy(source, turns)
        if dialogue is None:
            continue
        key = normalise(" / ".join(text for _, text in dialogue.turns))
        if key not in seen:
            seen.add(key)
            kept.append(dialogue)
    return kept


def documents(path: Path) -> list[str]:
    """The distinct documents of one NUL-separated `.txt` or `.txt.xz` file, blank lines removed."""
    opener = lzma.open if path.suffix == ".xz" else open
    with opener(path, "rt", encoding="utf-8") as file:
        parts = file.read().split("\0")
    cleaned = (clean(part) for part in parts)
    return [text for text in dict.fromkeys(cleaned) if len(text) > 200 and is_clean(text)]
