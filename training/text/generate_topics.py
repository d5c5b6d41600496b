"""Talk about one animal or country over several turns: "it", "there" and "and a cow?" need the turn before."""

from __future__ import annotations

from typing import TYPE_CHECKING

from training.text import facts
from training.text.wording import article, pick, said, sentence, stream

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from random import Random

    from training.text.library import Dialogue

# What an animal is; the other answers come from the tables of facts.
ANIMALS = {
    "cow": "A cow is a large farm animal that gives milk.",
    "dog": "A dog is a friendly animal that lives with people.",
    "cat": "A cat is a small animal that many people keep as a pet.",
    "sheep": "A sheep is a farm animal that gives wool.",
    "duck": "A duck is a water bird.",
    "horse": "A horse is a strong animal that people can ride.",
    "lion": "A lion is a large wild cat.",
    "owl": "An owl is a bird of the night.",
    "bee": "A bee is a flying insect that makes honey.",
    "mouse": "A mouse is a very small animal with a long tail.",
    "hen": "A hen is a farm bird that lays eggs.",
    "frog": "A frog is a small animal that jumps and swims.",
    "goat": "A goat is a farm animal with horns.",
    "goose": "A goose is a large water bird.",
    "bear": "A bear is a large wild animal with thick fur.",
    "pig": "A pig is a clever farm animal.",
    "elephant": "An elephant is the largest animal on land.",
    "penguin": "A penguin is a bird that swims but cannot fly.",
    "spider": "A spider is a small animal that makes webs.",
    "rabbit": "A rabbit is a small animal with long ears.",
    "snail": "A snail is a slow animal with a shell.",
    "ant": "An ant is a small and strong insect.",
    "butterfly": "A butterfly is an insect with bright wings.",
    "squirrel": "A squirrel is a small animal that climbs trees.",
}
# Question about the animal and its answer; "{v}" is the value of the table, "{a}" the animal with its article.
ANIMAL_ASKS: tuple[tuple[Mapping[str, str], str, str], ...] = (
    (
        facts.SOUNDS,
        "What sound does it make? / What does it say? / Which sound does it make? / What noise does it make?",
        "{A} says {v}.",
    ),
    (
        facts.FOODS,
        "What does it eat? / And what does it eat? / What does it like to eat? / What is its food?",
        "{A} eats {v}.",
    ),
    (
        facts.LEGS,
        "How many legs does it have? / How many legs has it? / And how many legs does it have?",
        "{A} has {v} legs.",
    ),
    (
        facts.HOMES,
        "Where does it live? / And where does it live? / Where is its home?",
        "{A} lives in a {v}.",
    ),
    (
        facts.YOUNG,
        "What is a young one called? / What do you call a young one? / What is its child called?",
        "A young {n} is called a {v}.",
    ),
)
COUNTRY_ASKS: tuple[tuple[Mapping[str, str], str, str], ...] = (
    (
        facts.CAPITALS,
        "What is its capital? / What is the capital? / And the capital? / Which city is the capital?",
        "The capital of {n} is {v}.",
    ),
    (
        facts.LANGUAGES,
        "What language do they speak? / What do people speak there? / Which language do they speak there?",
        "People in {n} speak {v}.",
    ),
    (facts.CONTINENTS, "Where is it? / Which continent is it in? / Where is that?", "{N} is in {v}."),
)
ASK_ABOUT = (
    "Tell me about {k}. / What is {k}? / Tell me something about {k}. / Do you know {k}? / I have a question about {k}. / "
    "Let us talk about {k}. / What do you know about {k}? / Can you tell me something about {k}?"
)
MORE = "And {k}? / What about {k}? / And what about {k}? / How about {k}? / Same question: {k}?"


def animal(rng: Random) -> Dialogue:
    """An animal, then what it eats, says or needs, now and then of another animal."""
    name = rng.choice(list(ANIMALS))
    texts = [pick(rng, ASK_ABOUT).format(k=article(name)), ANIMALS[name]]
    asked = [entry for entry in ANIMAL_ASKS if name in entry[0]]
    for table, ask, answer in rng.sample(asked, min(len(asked), rng.choice((1, 1, 2, 2, 3)))):
        texts += [pick(rng, ask), _animal_answer(name, table, answer)]
    if rng.random() < 0.35:
        table, _, answer = next(
            entry for entry in asked if texts[-1] == _animal_answer(name, entry[0], entry[2])
        )
        other = rng.choice([key for key in table if key != name])
        texts += [pick(rng, MORE).format(k=article(other)), _animal_answer(other, table, answer)]
    return said(*texts)


def pet(rng: Random) -> Dialogue:
    """The same questions about an animal that the person has."""
    name = rng.choice([key for key in ANIMALS if key not in {"lion", "bear", "elephant", "penguin"}])
    start = pick(
        rng,
        "I have {k}. / There is {k} in my garden. / I saw {k} today. / We have {k} at home. / I like {k} most of all animals.",
    )
    note = pick(rng, "How nice! What do you want to know about it? / {K} is a fine animal. / How nice, {k}.")
    slots = {"k": article(name), "K": sentence(article(name))}
    texts = [start.format(**slots), note.format(**slots)]
    asked = [entry for entry in ANIMAL_ASKS if name in entry[0]]
    for table, ask, answer in rng.sample(asked, min(len(asked), rng.choice((1, 2)))):
        texts += [pick(rng, ask), _animal_answer(name, table, answer)]
    return said(*texts)


def country(rng: Random) -> Dialogue:
    """A country, then its capital, language and place, now and then of another country."""
    name = rng.choice(list(facts.LANGUAGES))
    texts = [pick(rng, ASK_ABOUT).format(k=name), _country_answer(rng, name)]
    asked = [entry for entry in COUNTRY_ASKS if name in entry[0]]
    table, answer = asked[0][0], asked[0][2]
    for table, ask, answer in rng.sample(asked, rng.choice((1, min(2, len(asked)), len(asked)))):
        texts += [pick(rng, ask), _filled(name, table, answer)]
    if rng.random() < 0.4:
        other = rng.choice([key for key in table if key != name])
        texts += [pick(rng, MORE).format(k=other), _filled(other, table, answer)]
    return said(*texts)


def which_one(rng: Random) -> Dialogue:
    """Three things named, then asked for by their place or kind."""
    kind, other = rng.sample(sorted({*facts.KINDS.values()}), 2)
    inside = [key for key, value in facts.KINDS.items() if value == kind]
    outside = [key for key, value in facts.KINDS.items() if value == other]
    items = [rng.choice(inside), rng.choice(outside)]
    wanted = items[0]
    rng.shuffle(items)
    ask = pick(
        rng,
        "Which one is {k}: {a} or {b}? / {a} or {b}: which one is {k}? / Which of these is {k}, {a} or {b}?",
    )
    texts = [
        sentence(ask.format(k=article(kind), a=items[0], b=items[1])),
        f"{sentence(wanted)} is {article(kind)}.",
    ]
    if rng.random() < 0.5:
        rest = next(item for item in items if item != wanted)
        texts += [
            pick(rng, "And the other one? / And {r}? / What is {r}, then?").format(r=rest),
            f"{sentence(rest)} is {article(other)}.",
        ]
    return said(*texts)


def why_because(rng: Random) -> Dialogue:
    """A wish with a reason, then the question for the reason."""
    plan, reason = rng.choice(
        (
            ("go to bed", "I am tired"),
            ("eat something", "I am hungry"),
            ("stay at home", "it is raining"),
            ("take an umbrella", "the sky is grey"),
            ("call my mother", "it is her birthday"),
            ("buy new shoes", "my old ones are broken"),
            ("learn Spanish", "I will travel to Spain"),
            ("take the bus", "my car is broken"),
            ("open the window", "it is hot in here"),
            ("close the window", "it is cold"),
            ("go to the doctor", "my back hurts"),
            ("bake a cake", "friends are coming"),
            ("get up early", "my train leaves at six"),
            ("write a letter", "my friend lives far away"),
            ("drink some water", "I am thirsty"),
            ("go to the shop", "there is no milk left"),
        )
    )
    about = reason.replace("I am", "you are").replace("my ", "your ").replace("I will", "you will")
    yours = plan.replace("my ", "your ")
    start = pick(
        rng, "I want to {p} because {r}. / I will {p} because {r}. / I have to {p}, because {r}."
    ).format(p=plan, r=reason)
    texts = [start, pick(rng, "That sounds right. / A good reason. / I see. / That makes sense.")]
    if rng.random() < 0.5:
        texts += [
            pick(rng, "Why do I want that? / What is my reason? / Why did I say that?"),
            f"Because {about}.",
        ]
    else:
        texts += [
            pick(rng, "What do I want to do? / What was my plan? / What did I say I want to do?"),
            f"You want to {yours}.",
        ]
    return said(*texts)


MAKERS = ((10, animal), (4, pet), (9, country), (4, which_one), (4, why_because))


def dialogues(rng: Random, n: int) -> Iterator[Dialogue]:
    """`n` dialogues about a topic."""
    return stream(rng, n, MAKERS)


def _animal_answer(name: str, table: Mapping[str, str], answer: str) -> str:
    return answer.format(A=sentence(article(name)), n=name, v=table[name])


def _country_answer(rng: Random, name: str) -> str:
    place = facts.CONTINENTS.get(name)
    if place is None:
        return pick(
            rng, "I know a little about {n}. What would you like to know? / {N} is a country. Ask me."
        ).format(n=name, N=sentence(name))
    return pick(
        rng, "{N} is a country in {p}. / {N} is a country in {p}. What would you like to know?"
    ).format(N=sentence(name), p=place)


def _filled(name: str, table: Mapping[str, str], answer: str) -> str:
    return answer.format(n=name, N=sentence(name), v=table[name])
