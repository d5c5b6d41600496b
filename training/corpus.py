"""Turns sources into documents: lists of (role, text) pieces in the app's own chat template.

A document is what starts from a blank state: a conversation, or a piece of a story. Pieces are encoded one
by one, as the application does, so that training sees the very ids that chatting produces.
"""

from __future__ import annotations

import hashlib
import random
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from training import drills, sources
from training.text import generate, generate_arithmetic, library, paraphrase

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

PAD, PROMPT, REPLY, TEXT = range(4)
"""Roles of a token: padding, the person's turn and the template, the model's turn, plain text."""

VOICE = "ms_chitchat_friendly"
"""The one Microsoft voice the model takes."""
CHATS = ("self_dialogue", "synthetic_persona_chat", "topical_chat", "byu_chitchat", "openassistant_100trees")
QUESTIONS = ("dolly_short", "webquestions")
"""Only the questions of these are used, each with an honest refusal."""
_REFUSALS = (
    "I do not know that. I am a very small model.",
    "I am too small to know that. A larger model may help you.",
    "That is more than I know. I am only a small demo model.",
    "I do not know. I know only a few simple things.",
    "Sorry, I do not know that one. A larger RWKV model could tell you.",
    "I cannot answer that well. I am small, and I would only guess.",
    "I have no answer to that. Try a larger model from the models list.",
    "That is beyond me. I am small and know little.",
)
# The voice denies having a name and refuses jokes and stories, which this model does not.
_NOT_OURS = re.compile(
    r"\b(have a name|no name|nameless|joke|story|stories|sing|Microsoft|Cortana|my name|on-?line|search|"
    r"comedy|funny on command|my talents|my train of thought|Ouija|swing and a miss|better answerer|"
    r"not me, but hello|many likes|BFFs|La la la|work in progress|here to chat|digital|made me|created by|"
    r"line of code|follow your heart|don't know you|Evening|Morning|hard time imagining)\b",
    re.IGNORECASE,
)
_SENTENCE = re.compile(r"(?<=[.!?\"])\s+")
HELD_OUT_PERCENT = 2
PAIR_REPEATS = 2
"""A hand-written dialogue has one wording where an intent has seventeen, so it is shown more often."""
INTENT_REPEATS = {"intents_self": 3, "intents_app": 2}
"""What the model is and how the program is used must be right before anything else."""
SUMS = 0.15
"""Further sums, beside those among the generated dialogues: the slowest to learn."""
GENERATED = 1.0
"""Generated dialogues for each hand-written one."""
REPHRASED = 0.4
"""Turns whose sentence is built anew: without it the model knows a question by its first words only."""
HURRIED = 0.12
"""Turns with chat spellings and slips."""


@dataclass(frozen=True, slots=True)
class Document:
    """Pieces of text with their roles; `source` names where they came from."""

    source: str
    pieces: tuple[tuple[int, str], ...]

    @property
    def is_held_out(self) -> bool:
        """Whether the document belongs to the test set: 2 %, chosen by a hash of its first piece."""
        return _is_held_out(self.pieces[0][1])


def _is_held_out(text: str) -> bool:
    digest = hashlib.sha256(sources.normalise(text).encode()).digest()
    return digest[0] * 256 + digest[1] < 65536 * HELD_OUT_PERCENT // 100


def conversation(source: str, turns: library.Dialogue | tuple[tuple[str, str], ...]) -> Document:
    r"""Turns in the template `User: ...\\n\\nAssistant: ...\\n\\n`."""
    pieces: list[tuple[int, str]] = []
    for role, text in turns:
        if role == "user":
            pieces.append((PROMPT, f"User: {text}\n\n"))
        else:
            pieces += [(PROMPT, "Assistant:"), (REPLY, f" {text}\n\n")]
    return Document(source, tuple(pieces))


def banned_questions() -> frozenset[str]:
    """Normalised last turns of the held-out prompts: no user turn of the training text may equal one."""
    return library.held_out()


def allowed(turns: library.Dialogue | tuple[tuple[str, str], ...], banned: frozenset[str]) -> bool:
    """Whether no user turn is a held-out prompt."""
    return not any(role == "user" and library.normalise(text) in banned for role, text in turns)


_BEFORE = [
    "Hey, ",
    "So, ",
    "And ",
    "Well, ",
    "OK, ",
    "Hm, ",
    "Tell me, ",
    "Please: ",
    "One question: ",
    "Say, ",
    "By the way, ",
    "Now, ",
    "Oh, ",
    "Good. ",
    "Nice. ",
    "Thanks. ",
    "I see. ",
    "Another thing: ",
    "Listen, ",
    "Let me ask: ",
]
_AFTER = (
    ", please",
    " please",
    " then",
    " now",
    ", thanks",
    ", OK",
    " for me",
    ", my friend",
    ", if you can",
)


def _framed(text: str, rng: random.Random) -> str:
    """A turn with words around it that change nothing."""
    if rng.random() < 0.6:
        before = rng.choice(_BEFORE)
        is_sentence = before[-2] in ".:"
        return before + (text if is_sentence or text.startswith("I ") else text[:1].lower() + text[1:])
    bare = text.rstrip(".!?")
    return bare + rng.choice(_AFTER) + text[len(bare) :]


def varied(text: str, rng: random.Random) -> str:
    """A turn in other words, unless those would give a held-out wording away."""
    other = _vary(text, rng)
    return text if _is_held_out(other) else other


def _vary(text: str, rng: random.Random) -> str:
    """A turn as people type it: in another build, with words around it, without capitals or marks, or with slips."""
    if rng.random() < REPHRASED:
        text = paraphrase.rephrased(text, rng)
    elif rng.random() < 0.15:
        text = _framed(text, rng)
    if rng.random() < HURRIED:
        return paraphrase.typed_fast(text, rng)
    chance = rng.random()
    if chance < 0.12:
        text = text[:1].lower() + text[1:]
    elif chance < 0.22:
        text = text.lower()
    elif chance < 0.30:
        text = text[:1].upper() + text[1:]
    if rng.random() < 0.15:
        text = text.rstrip(".!?")
    if len(text) > 12 and rng.random() < 0.03:
        at = rng.randrange(1, len(text) - 1)
        text = text[:at] + text[at + 1 :]
    return text or "?"


def written(rng: random.Random) -> list[library.Dialogue]:
    """Every hand-written wording once with one of its answers, and every hand-written dialogue."""
    found: list[library.Dialogue] = []
    for path, intents in library.intents():
        for intent in intents * INTENT_REPEATS.get(path.stem, 1):
            for ask in intent.ask:
                turns = [("user", ask), ("assistant", rng.choice(intent.answer))]
                if intent.follow_ask and rng.random() < 0.5:
                    turns += [
                        ("user", rng.choice(intent.follow_ask)),
                        ("assistant", rng.choice(intent.follow_answer)),
                    ]
                found.append(turns)
    for _, dialogues in library.dialogues():
        found += dialogues * PAIR_REPEATS
    return found


def own(rng: random.Random, banned: frozenset[str], refused: list[str]) -> Iterator[Document]:
    """One pass over the hand-written text, mixed with generated turns and refusals, some to a conversation."""
    items = written(rng)
    n = len(items)
    items += generate.dialogues(rng, int(n * GENERATED))
    items += generate_arithmetic.dialogues(rng, int(n * SUMS))
    items = [turns for turns in items if not _is_held_out(turns[0][1])]
    items += [drills.nonsense(rng) for _ in range(n // 60)]
    for question in rng.sample(refused, min(len(refused), n // 25)):
        items.append([("user", question), ("assistant", rng.choice(_REFUSALS))])
    rng.shuffle(items)
    at = 0
    while at < len(items):
        n = rng.choices((1, 2, 3, 4), weights=(45, 25, 18, 12))[0]
        chosen, at = items[at : at + n], at + n
        turns = [(r, varied(t, rng) if r == "user" else t) for part in chosen for r, t in part]
        if allowed(turns, banned):
            yield conversation("own", turns)


def own_held_out() -> list[Document]:
    """The wordings that `own` leaves out, with their first answer."""
    rng = random.Random(0)
    return [conversation("own", turns) for turns in written(rng) if _is_held_out(turns[0][1])]


def refused_questions(folder: Path | None) -> list[str]:
    """Questions of the world that a small model should not try to answer."""
    if folder is None:
        return []
    found = []
    for name in QUESTIONS:
        for dialogue in sources.dialogues(folder / "chat" / f"{name}.jsonl.xz"):
            text = dialogue.turns[0][1]
            if len(text) < 120 and "\n" not in text:
                found.append(text)
    return found


def voice(folder: Path, banned: frozenset[str]) -> list[Document]:
    """Small talk in one voice, without the replies that contradict this model."""
    found = sources.dialogues(folder / "chat" / f"{VOICE}.jsonl.xz")
    return [
        conversation("voice", d.turns)
        for d in found
        if allowed(d.turns, banned) and not _NOT_OURS.search(d.turns[0][1] + " " + d.turns[1][1])
    ]


def chats(folder: Path, name: str, banned: frozenset[str], turns_at_most: int = 12) -> list[Document]:
    """Scraped conversations, cut so that a piece starts with the user and fits a row."""
    documents = []
    for dialogue in sources.dialogues(folder / "chat" / f"{name}.jsonl.xz"):
        turns = dialogue.turns
        for at in range(0, len(turns), turns_at_most):
            part = turns[at : at + turns_at_most]
            if allowed(part, banned):
                documents.append(conversation(name, part))
    return documents


def prose(folder: Path, name: str, piece_chars: int = 1300) -> list[Document]:
    """Stories and books in pieces that begin with a sentence."""
    documents = []
    for text in sources.documents(folder / "text" / f"{name}.txt.xz"):
        piece = ""
        for sentence in _SENTENCE.split(text.replace("\n", " ")):
            if piece and len(piece) + len(sentence) > piece_chars:
                documents.append(Document(name, ((TEXT, piece),)))
                piece = ""
            piece = f"{piece} {sentence}".strip()
        if len(piece) > 100:
            documents.append(Document(name, ((TEXT, piece),)))
    return documents


def plain_texts() -> Iterator[str]:
    """All hand-written text, for counting words."""
    for turns in written(random.Random(0)):
        yield from (text for _, text in turns)
    for _ in range(2):
        for turns in generate.dialogues(random.Random(2), 2000):
            yield from (text for _, text in turns)


def vocabulary_texts(folder: Path | None) -> Iterator[str]:
    """Text for training the vocabulary, in about the shares of the training mix."""
    rng = random.Random(1)
    for _ in range(8):
        for document in own(rng, frozenset(), []):
            yield "".join(text for _, text in document.pieces)
    if folder is None:
        return
    banned = banned_questions()
    groups = [
        voice(folder, banned) * 4,
        prose(folder, "fairytales") * 2,
        rng.sample(prose(folder, "books_easy"), 3000),
    ]
    groups += [chats(folder, name, banned) for name in CHATS[:4]]
    for group in groups:
        for document in group[:12000]:
            yield "".join(text for _, text in document.pieces)
