"""Turns that mean something only after the turn before: it, there, say that again, what did I ask, another one."""

from __future__ import annotations

import re
from functools import cache
from typing import TYPE_CHECKING

from training.text import facts, library, names
from training.text.generate_facts import CAPITALS, CONTINENTS, FOODS, HOMES, LANGUAGES, LEGS, SOUNDS, YOUNG
from training.text.memories import PET_NAMES, PETS
from training.text.wording import article, pick, said, stream, words

if TYPE_CHECKING:
    from collections.abc import Iterator
    from random import Random

    from training.text.generate_facts import Kind
    from training.text.library import Dialogue, Intent

AGAIN = (
    "Say that again. / Can you say that again? / Once more, please. / Repeat that, please. / I missed that. Once more? / "
    "Repeat your answer. / Could you repeat that? / What did you say? / What was that? / Say it again, please. / "
    "Sorry, what did you say? / I did not read that. Again? / What did you just tell me? / Tell me that again. / "
    "Your last answer again, please. / I looked away. What did you say?"
)
SHORTER = (
    "Say that again shorter. / Shorter, please. / Too long. Shorter? / The short version, please. / In one sentence, please. / "
    "Can you make that shorter? / Say it in fewer words. / Cut it down a little. / Keep it short. / Only the first part, please."
)
ASKED = (
    "What did I just ask? / What did I ask you? / What was my question? / Repeat my question. / Do you remember my question? / "
    "What did I want to know? / Say my question again. / What was it that I asked? / Tell me what I asked. / "
    "My last question was what? / What did I say just now? / I forgot my own question. What was it?"
)
MORE = (
    "Another one. / One more. / One more, please. / Do you have more? / More! / Next one. / Give me another. / "
    "That was good, one more. / I know that one. Another? / A different one, please. / Not that one. Another. / "
    "Can I have another one? / And another? / Do you know another one? / Again, but a new one. / Let me hear one more. / "
    "Give me another one. / Got another? / I want another one. / Tell me one more. / Ha. And one more? / Next, please. / "
    "You surely have another one. / Now a different one."
)
WHY_NOT = (
    "Why not? / And why? / Why is that? / Why don't you know? / How come? / Why can't you? / But why? / Why? / "
    "What keeps you from it? / What is the reason?"
)
NO_REASON = (
    "I am a small model, and I am offline. / Because I am small and run offline on your machine. / "
    "I am only a small demo model without a window to the world. / I am too small, and nothing from outside reaches me."
)
REFUSING = words("weather_now time_now news people_famous prices places_near call_me write_code write_long")
GIVING = words("joke riddle fun_fact quote tongue_twister poem story_any name_pet name_person idea")
ANIMALS: tuple[tuple[Kind, str], ...] = (
    (
        SOUNDS,
        "What does it say? / What sound does it make? / And what does it say? / What noise does it make? / How does it sound?",
    ),
    (LEGS, "How many legs does it have? / And how many legs has it? / How many legs? / Count its legs."),
    (
        FOODS,
        "What does it eat? / And what does it eat? / What do I feed it? / What is its food? / What does it like to eat?",
    ),
    (
        YOUNG,
        "What is its baby called? / What is its young called? / And its baby? / What do you call its young?",
    ),
    (HOMES, "Where does it live? / And where does it live? / What is its home? / Where does it sleep?"),
)
COUNTRIES: tuple[tuple[Kind, str], ...] = (
    (
        CAPITALS,
        "What is its capital? / And the capital? / What is the capital there? / Which city is the capital of it? / Its capital?",
    ),
    (CONTINENTS, "Where is it? / And where is that? / Which continent is it in? / Where is that country?"),
    (
        LANGUAGES,
        "What do they speak there? / Which language is spoken there? / And the language? / What language do people speak there?",
    ),
)
TALK_ABOUT = "Let us talk about {}. / I want to know something about {}. / I have a question about {}. / Do you know {}? / Next topic: {}."
GO_AHEAD = (
    "Yes, what would you like to know? / Good. What is your question? / I know a little about it. Go ahead."
)


@cache
def _intents() -> dict[str, Intent]:
    return {intent.name: intent for _, found in library.intents() for intent in found}


@cache
def _exchanges() -> tuple[tuple[str, str], ...]:
    """Short questions with short answers, from all that was written by hand."""
    found = [(ask, answer) for i in _intents().values() for ask in i.ask[::4] for answer in i.answer[:2]]
    found += [(d[0][1], d[1][1]) for _, dialogues in library.dialogues() for d in dialogues]
    return tuple((q, a) for q, a in found if len(q) < 60 and len(a) < 110 and '"' not in q + a)


def again(rng: Random) -> Dialogue:
    """The same answer once more."""
    ask, answer = rng.choice(_exchanges())
    return said(ask, answer, pick(rng, AGAIN), answer)


def shorter(rng: Random) -> Dialogue:
    """Only the first sentence of the answer."""
    while True:
        ask, answer = rng.choice(_exchanges())
        first = re.split(r"(?<=[.!])\s", answer)[0]
        if first != answer and len(first.split()) > 3:
            return said(ask, answer, pick(rng, SHORTER), first)


def asked(rng: Random) -> Dialogue:
    """The person's own last question."""
    ask, answer = rng.choice([pair for pair in rng.sample(_exchanges(), 40) if pair[0].endswith("?")])
    return said(ask, answer, pick(rng, ASKED), f'You asked: "{ask}"')


def another(rng: Random) -> Dialogue:
    """Another joke, riddle or idea than the one before."""
    intent = _intents()[rng.choice(GIVING)]
    answers = rng.sample(intent.answer, min(len(intent.answer), rng.choice((2, 2, 3))))
    texts = [rng.choice(intent.ask), answers[0]]
    for answer in answers[1:]:
        texts += [pick(rng, MORE), answer]
    return said(*texts)


def why_not(rng: Random) -> Dialogue:
    """Why the model does not know or cannot do something."""
    intent = _intents()[rng.choice(REFUSING)]
    return said(rng.choice(intent.ask), rng.choice(intent.answer), pick(rng, WHY_NOT), pick(rng, NO_REASON))


def pet(rng: Random) -> Dialogue:
    """An animal, and in the next turn its name, which the reply repeats."""
    kind, name = rng.choice(PETS), names.drawn(rng) if rng.random() < 0.6 else rng.choice(PET_NAMES)
    told = pick(
        rng,
        "I have a {}. / I got a {}. / We have a {} at home. / My {} is so sweet. / Today I got a new {}. / I love my {}.",
    )
    named = pick(
        rng,
        "{} / It is called {}. / Its name is {}. / {}. / We call it {}. / The name is {}. / It's {}. / {}, of course.",
    )
    noted = pick(
        rng, "{n} is a good name for a {k}. / What a fine name for a {k}: {n}. / Say hello to {n} from me."
    )
    texts = [
        told.format(kind),
        pick(rng, "How nice! What is it called? / And what is its name? / What is your {} called?").format(
            kind
        ),
    ]
    texts += [named.format(name), noted.format(n=name, k=kind)]
    if rng.random() < 0.4:
        texts += [
            pick(rng, "What is my {} called? / What was its name again? / Do you remember its name?").format(
                kind
            )
        ]
        texts += [f"Your {kind} is called {name}."]
    return said(*texts)


def animal(rng: Random) -> Dialogue:
    """Several questions about one animal, which is named once."""
    return _about(rng, ANIMALS)


def country(rng: Random) -> Dialogue:
    """Several questions about one country, which is named once."""
    return _about(rng, COUNTRIES)


def back_again(rng: Random) -> Dialogue:
    """The opposite of an opposite, or the country of a capital."""
    if rng.random() < 0.5:
        word, other = rng.choice([(k, v) for k, v in facts.OPPOSITES.items() if facts.OPPOSITES.get(v) == k])
        more = pick(
            rng,
            "And the opposite of that? / And of {o}? / And the other way round? / And what is the opposite of {o}?",
        )
        return said(
            f"What is the opposite of {word}?",
            f"The opposite of {word} is {other}.",
            more.format(o=other),
            f"The opposite of {other} is {word}.",
        )
    land, city = rng.choice(list(facts.CAPITALS.items()))
    ask = pick(
        rng,
        "Which country has the capital {c}? / {c} is the capital of what? / Of which country is {c} the capital?",
    )
    return said(ask.format(c=city), f"{city} is the capital of {land}.")


def _about(rng: Random, kinds: tuple[tuple[Kind, str], ...]) -> Dialogue:
    counted = [key for kind, _ in kinds for key in kind.table]
    key = rng.choice(sorted({key for key in counted if counted.count(key) > 1}))
    known = [(kind, asks) for kind, asks in kinds if key in kind.table]
    known = rng.sample(known, min(len(known), rng.choice((2, 2, 3))))
    texts = [known[0][0].ask(rng, key), known[0][0].answer(rng, key)]
    if rng.random() < 0.35:
        name = article(key) if kinds is ANIMALS else key
        texts = [pick(rng, TALK_ABOUT).format(name), pick(rng, GO_AHEAD)]
        known = known[:1] + known
    for kind, asks in known[1:]:
        texts += [pick(rng, asks), kind.answer(rng, key)]
    return said(*texts)


MAKERS = (
    (5, again),
    (3, shorter),
    (3, asked),
    (7, another),
    (3, why_not),
    (4, pet),
    (6, animal),
    (6, country),
    (3, back_again),
)


def dialogues(rng: Random, n: int) -> Iterator[Dialogue]:
    """`n` dialogues whose later turns lean on the earlier ones."""
    return stream(rng, n, MAKERS)
