"""Things told in one turn and asked for in a later one, with small talk in between."""

from __future__ import annotations

from typing import TYPE_CHECKING

from training.text import names
from training.text.memories import (
    CITIES,
    COLOURS,
    FILLERS,
    LIKES,
    MEMORIES,
    NAMES,
    OBJECTS,
    PET_NAMES,
    SECRETS,
)
from training.text.wording import listed, pick, said, sentence, stream, words

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from random import Random

    from training.text.library import Dialogue
    from training.text.memories import Memory

RARE_SHARE = 0.5
RARELY: dict[str, Callable[[Random], str]] = {
    NAMES[0]: names.drawn,
    PET_NAMES[0]: names.drawn,
    CITIES[0]: names.place,
    LIKES[0]: lambda rng: rng.choice(names.THINGS_LIKED),
    SECRETS[0]: names.word,
    "8": lambda rng: str(rng.randint(3, 110)),
    "1": lambda rng: str(rng.randint(1, 999)),
}
"""What else may stand where the list begins with this value."""

NOT_TOLD = "You have not told me yet. / I do not know that. You have not told me. / You did not tell me yet. Will you?"


def recall(rng: Random) -> Dialogue:
    """One thing told, sometimes small talk, then the question for it."""
    memory, slots = _drawn(rng)
    texts = [_fill(rng, memory.told, slots), _fill(rng, memory.noted, slots)]
    for ask, answer in rng.sample(FILLERS, rng.choice((0, 0, 0, 1, 1, 2))):
        texts += [ask, answer]
    return said(*texts, *_question(rng, memory, slots))


def recall_at_once(rng: Random) -> Dialogue:
    """Told and asked in one message."""
    memory, slots = _drawn(rng)
    told = _fill(rng, memory.told, slots)
    ask, answer = _question(rng, memory, slots)
    return said(f"{told} {ask}", answer)


def recall_two(rng: Random) -> Dialogue:
    """Two things told, then both asked for, in any order."""
    first, second = _drawn(rng), _drawn(rng)
    while second[0] is first[0] or second[0].answered == first[0].answered:
        second = _drawn(rng)
    texts: list[str] = []
    for memory, slots in (first, second):
        texts += [_fill(rng, memory.told, slots), _fill(rng, memory.noted, slots)]
    order = [first, second]
    rng.shuffle(order)
    for memory, slots in order[: rng.choice((1, 2))]:
        texts += _question(rng, memory, slots)
    return said(*texts)


def told_name(rng: Random, name: str) -> Dialogue:
    """The person says their name."""
    slots = {"x": name, "X": name}
    return said(_fill(rng, MEMORIES[0][1].told, slots), _fill(rng, MEMORIES[0][1].noted, slots))


def asked_name(rng: Random, name: str) -> Dialogue:
    """The person asks for the name that they said."""
    return said(*_question(rng, MEMORIES[0][1], {"x": name, "X": name}))


def not_told(rng: Random) -> Dialogue:
    """A question for something that was never said: the honest answer."""
    (told, slots), (asked, others) = _drawn(rng), _drawn(rng)
    while asked is told or asked.answered == told.answered or "{y}" in asked.answered:
        asked, others = _drawn(rng)
    texts = [_fill(rng, told.told, slots), _fill(rng, told.noted, slots)] if rng.random() < 0.6 else []
    return said(*texts, _question(rng, asked, others)[0], pick(rng, NOT_TOLD))


def corrected(rng: Random) -> Dialogue:
    """A name that is corrected: the later one counts."""
    wrong, right = rng.sample([*rng.sample(NAMES, 4), names.drawn(rng), names.drawn(rng)], 2)
    ask = pick(rng, MEMORIES[0][1].asked)
    change = pick(
        rng,
        "No, my name is {}. / Sorry, I meant {}. / I was joking. My name is {}. / Not {w}, but {}. / My real name is {}.",
    )
    return said(
        f"My name is {wrong}.",
        f"Nice to meet you, {wrong}.",
        change.format(right, w=wrong),
        f"I see. Hello, {right}.",
        ask,
        f"Your name is {right}.",
    )


def shopping(rng: Random) -> Dialogue:
    """A list of things, given back whole, longer or shorter."""
    items = rng.sample(
        words("milk bread eggs butter rice cheese apples soap tea sugar salt flour honey onions"), 4
    )
    ask = pick(
        rng,
        "What is on my list? / What do I need to buy? / Read me my list. / What do I have to buy? / Tell me my list.",
    )
    start = pick(
        rng, "I need to buy {}. / My list: {}. / Please remember my shopping list: {}. / I have to buy {}."
    )
    texts = [start.format(listed(items[:3])), pick(rng, "All right. / I will remember that. / Noted.")]
    if rng.random() < 0.4:
        texts += [
            pick(rng, "And {}. / Add {}, please. / I also need {}.").format(items[3]),
            f"All right, {items[3]} too.",
        ]
        return said(*texts, ask, f"You need {listed(items)}.")
    return said(*texts, ask, f"You need {listed(items[:3])}.")


def echo(rng: Random) -> Dialogue:
    """Repeat after me."""
    text = rng.choice(
        (
            *(item.replace("-", " ") for item in LIKES),
            *(f"the {o} is {c}" for o, c in zip(OBJECTS, COLOURS * 2, strict=False)),
            *(f"I like {item}" for item in LIKES[:20]),
            *(
                "good morning",
                "red leather",
                "one two three",
                "banana boat",
                "the quick fox",
                "hello world",
                "blue moon",
            ),
            *rng.sample(NAMES, 10),
            *(names.drawn(rng) for _ in range(60)),
            *(f"{names.word(rng)} {names.word(rng)}" for _ in range(30)),
        )
    )
    ask = pick(
        rng,
        "Repeat after me: {} / Say {} / Say: {} / Repeat: {} / Please say {} / Can you say {}? / Echo: {} / Write {}",
    )
    if rng.random() < 0.15:
        return said(
            pick(rng, "Say {} twice. / Write {} two times. / Repeat {} twice.").format(text),
            f"{sentence(text)}, {text}.",
        )
    return said(ask.format(text), sentence(text) + ".")


def choose(rng: Random) -> Dialogue:
    """A choice between two things, then which one it was."""
    a, b = rng.sample([item.replace("-", " ") for item in LIKES], 2)
    ask = pick(
        rng,
        "{a} or {b}? / What is better, {a} or {b}? / Do you prefer {a} or {b}? / Choose: {a} or {b}? / "
        "Which one would you take, {a} or {b}? / Should I take {a} or {b}?",
    )
    taken, other = rng.choice(((a, b), (b, a)))
    answer = pick(rng, "I would take {t}. / I choose {t}. / {T}, I think. / Let me choose {t} this time.")
    texts = [sentence(ask.format(a=a, b=b)), answer.format(t=taken, T=sentence(taken))]
    if rng.random() < 0.5:
        more = pick(rng, "Why? / Why {t}? / Why not {o}? / And why?").format(t=taken, o=other)
        texts += [
            more,
            pick(rng, "I just like the word {t}. / No deep reason: {t} came to mind first.").format(t=taken),
        ]
    return said(*texts)


def secret_order(rng: Random) -> Dialogue:
    """The first, second or last of three things."""
    items = rng.sample([item for item in LIKES if "-" not in item], 3)
    place, word = rng.choice(((0, "first"), (1, "second"), (2, "last")))
    ask = pick(
        rng,
        "Which word is the {w}: {i}? / What is the {w} word here: {i}? / {i}. Which one is the {w}? / Tell me the {w} of these: {i}.",
    )
    return said(sentence(ask.format(w=word, i=", ".join(items))), f"The {word} word is {items[place]}.")


MAKERS = (
    (50, recall),
    (10, recall_at_once),
    (14, recall_two),
    (6, not_told),
    (3, corrected),
    (4, shopping),
    (7, echo),
    (6, choose),
    (3, secret_order),
)


def dialogues(rng: Random, n: int) -> Iterator[Dialogue]:
    """`n` dialogues that need the turn before."""
    return stream(rng, n, MAKERS)


def _drawn(rng: Random) -> tuple[Memory, dict[str, str]]:
    memory = rng.choices([m for _, m in MEMORIES], [weight for weight, _ in MEMORIES])[0]
    x, y = _value(rng, memory.first), _value(rng, memory.second)
    return memory, {"x": x, "y": y, "X": sentence(x), "Y": sentence(y)}


def _value(rng: Random, values: tuple[str, ...]) -> str:
    """One of the values; half of the names, places and words of a kind that no list holds."""
    rare = RARELY.get(values[0]) if rng.random() < RARE_SHARE else None
    return rare(rng) if rare else rng.choice(values)


def _fill(rng: Random, wordings: str, slots: dict[str, str]) -> str:
    return sentence(pick(rng, wordings).format(**slots))


def _question(rng: Random, memory: Memory, slots: dict[str, str]) -> list[str]:
    ask = _fill(rng, memory.asked, slots)
    if ask.startswith("Who is "):
        return [ask, f"{slots['y']} is your {slots['x']}."]
    return [ask, _fill(rng, memory.answered, slots)]
