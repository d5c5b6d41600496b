"""Questions whose answers stand in a table: capitals, opposites, days, words abroad, and "and Italy?" after them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from training.text import facts, questions
from training.text.wording import article, pick, said, sentence, stream, words

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from random import Random

    from training.text.library import Dialogue
    from training.text.wording import Maker

POLITE = (
    "{} / {} / {} / {} / {} / {} / {} / {} / Tell me, {} / Hey, {} / So, {} / Quick question: {} / I have a question: {} / "
    "Sorry, {} / Ok, {} / Please, {} / I forgot: {} / My child asks: {} / At school they asked me: {} / Help me: {} / Once more: {}"
)
NEXT = questions.NEXT


@dataclass(frozen=True, slots=True)
class Kind:
    """A table with its questions and its answer; {k} is the key with its article, {n} without, {v} the value."""

    table: Mapping[str, str]
    asks: str
    answers: str
    with_article: bool = False
    follow: bool = True

    def key(self, key: str) -> str:
        """The key as the sentences need it."""
        return article(key) if self.with_article else key

    def ask(self, rng: Random, key: str) -> str:
        """One question, now and then with a polite start."""
        asks = self.asks.split(" / ")[0] if " does " in key or " are there" in key else self.asks
        text = sentence(pick(rng, asks).format(k=self.key(key), n=key))
        opening = pick(rng, POLITE)
        if opening == "{}" or not text.startswith(("What", "Which", "How", "Where", "Who")):
            return text
        return opening.format(text[0].lower() + text[1:])

    def answer(self, rng: Random, key: str) -> str:
        """The answer, which says the key again."""
        return sentence(pick(rng, self.answers).format(k=self.key(key), n=key, v=self.table[key]))

    def make(self, rng: Random) -> Dialogue:
        """A question and, one time in three, one or two more that only name the next key."""
        keys = rng.sample(list(self.table), rng.choice((1, 1, 2, 3)) if self.follow else 1)
        texts = [self.ask(rng, keys[0]), self.answer(rng, keys[0])]
        for key in keys[1:]:
            texts += [sentence(pick(rng, NEXT).format(self.key(key))), self.answer(rng, key)]
        return said(*texts)


CAPITALS = Kind(
    facts.CAPITALS,
    questions.CAPITALS,
    "The capital of {k} is {v}.",
)
CONTINENTS = Kind(
    facts.CONTINENTS,
    questions.CONTINENTS,
    "{k} is in {v}.",
)
LANGUAGES = Kind(
    facts.LANGUAGES,
    questions.LANGUAGES,
    "People in {k} speak {v}.",
)
OPPOSITES = Kind(
    facts.OPPOSITES,
    questions.OPPOSITES,
    "The opposite of {k} is {v}.",
)
SYNONYMS = Kind(
    facts.SYNONYMS,
    questions.SYNONYMS,
    "Another word for {k} is {v}.",
)
PLURALS = Kind(
    facts.PLURALS,
    questions.PLURALS,
    "The plural of {k} is {v}.",
)
PASTS = Kind(
    facts.PASTS,
    questions.PASTS,
    "The past tense of {k} is {v}.",
)
SOUNDS = Kind(
    facts.SOUNDS,
    questions.SOUNDS,
    "{k} says {v}.",
    with_article=True,
)
HOMES = Kind(
    facts.HOMES,
    questions.HOMES,
    "{k} lives in a {v}.",
    with_article=True,
)
YOUNG = Kind(
    facts.YOUNG,
    questions.YOUNG,
    "A young {n} is called a {v}.",
    with_article=True,
)
COLOURS = Kind(
    facts.COLOURS,
    questions.COLOURS,
    "{k} is {v}.",
)
LEGS = Kind(
    facts.LEGS,
    questions.LEGS,
    "{k} has {v} legs.",
    with_article=True,
)
FOODS = Kind(
    facts.FOODS,
    questions.FOODS,
    "{k} eats {v}.",
    with_article=True,
)
PLACES = Kind(
    facts.PLACES,
    questions.PLACES,
    "You find {k} in {v}.",
    follow=False,
)
USES = Kind(
    facts.USES,
    questions.USES,
    "With {k} you can {v}.",
)
JOBS = Kind(
    facts.JOBS,
    questions.JOBS,
    "{k} {v}.",
    with_article=True,
)
RHYMES = Kind(
    facts.RHYMES,
    questions.RHYMES,
    "{k} rhymes with {v}.",
)
UNITS = Kind(
    facts.UNITS,
    questions.UNITS,
    "{v}.",
    follow=False,
)


def translation(rng: Random) -> Dialogue:
    """A word in another language, then another language or another word."""
    word, tongue = rng.choice(list(facts.WORDS_ABROAD)), rng.choice(facts.TONGUES)
    quoted = rng.choice((f'"{word}"', word, f"'{word}'"))
    ask = pick(
        rng,
        "how do you say {w} in {t}? / what is {w} in {t}? / translate {w} into {t}. / translate {w} to {t}. / "
        "how do I say {w} in {t}? / say {w} in {t}. / what is the {t} word for {w}? / {w} in {t}? / "
        "what does {w} mean in {t}? / can you say {w} in {t}? / please translate {w} into {t}. / "
        "{t} for {w}? / how does one say {w} in {t}? / can you translate {w} into {t}? / "
        "I want to say {w} in {t}. / turn {w} into {t}. / give me the {t} word for {w}. / "
        + questions.TRANSLATE,
    ).format(w=quoted, t=tongue)
    texts = [sentence(ask), _abroad(word, tongue)]
    for _ in range(rng.choice((0, 0, 1, 1, 2))):
        if rng.random() < 0.6:
            tongue = rng.choice([t for t in facts.TONGUES if t != tongue])
            ask = pick(
                rng,
                "And in {}? / In {}? / And what is it in {}? / What about {}? / And {}? / Now in {}, please. / "
                "The same in {}? / And how do they say it in {}? / What would it be in {}? / {}, too? / And for {}?",
            )
            texts += [ask.format(tongue), _abroad(word, tongue)]
        else:
            word = rng.choice([w for w in facts.WORDS_ABROAD if w != word])
            ask = pick(rng, 'And "{}"? / And {}? / What about {}? / And the word {}? / Now {}, please.')
            texts += [ask.format(word), _abroad(word, tongue)]
    return said(*texts)


def what_language(rng: Random) -> Dialogue:
    """A foreign word, to be explained in English."""
    word = rng.choice([w for w in facts.WORDS_ABROAD if len(w) > 2])
    place = rng.randrange(len(facts.TONGUES))
    foreign = facts.WORDS_ABROAD[word][place]
    ask = pick(
        rng,
        'What does "{f}" mean? / What is "{f}" in English? / What does {f} mean in English? / Translate "{f}".',
    )
    meanings = {w for w, abroad in facts.WORDS_ABROAD.items() if foreign in abroad}
    if len(meanings) > 1:
        return translation(rng)
    return said(ask.format(f=foreign), f'"{foreign}" means "{word}" in English.')


def day_order(rng: Random) -> Dialogue:
    """The day before or after, and from there on."""
    return _order(rng, facts.DAYS, "day")


def month_order(rng: Random) -> Dialogue:
    """The month before or after, and from there on."""
    return _order(rng, facts.MONTHS, "month")


def season_order(rng: Random) -> Dialogue:
    """The season before or after."""
    return _order(rng, facts.SEASONS, "season")


def month_length(rng: Random) -> Dialogue:
    """How many days a month has, or which month it is in the year."""
    place = rng.randrange(12)
    month = facts.MONTHS[place]
    if rng.random() < 0.5:
        days = "28 days, and 29 in a leap year" if place == 1 else f"{facts.MONTH_DAYS[place]} days"
        ask = pick(
            rng,
            "How many days has {m}? / How many days does {m} have? / How long is {m}? / How many days are in {m}?",
        )
        return said(ask.format(m=month), f"{month} has {days}.")
    ordinal = words("first second third fourth fifth sixth seventh eighth ninth tenth eleventh twelfth")[
        place
    ]
    ask = pick(
        rng,
        "What is the {o} month? / Which month is the {o} of the year? / What is the {o} month of the year?",
    )
    return said(ask.format(o=ordinal), f"The {ordinal} month of the year is {month}.")


def lists(rng: Random) -> Dialogue:
    """The days, the months, the seasons in full."""
    name, items = rng.choice(
        (("days of the week", facts.DAYS), ("months", facts.MONTHS), ("seasons", facts.SEASONS))
    )
    ask = pick(
        rng,
        "Name the {}. / What are the {}? / List the {}. / Tell me the {}. / Which {} are there? / Can you name the {}?",
    )
    return said(ask.format(name), f"The {name} are {', '.join(items[:-1])} and {items[-1]}.")


def spelling(rng: Random) -> Dialogue:
    """A word letter by letter, or its length, or its first letter."""
    word = rng.choice(facts.SPELLING)
    kind = rng.random()
    if kind < 0.5:
        ask = pick(
            rng,
            'How do you spell {w}? / Spell {w}. / Can you spell "{w}"? / Spell the word {w}. / Please spell {w}.',
        )
        return said(ask.format(w=word), f"{sentence(word)} is spelled {'-'.join(word.upper())}.")
    if kind < 0.75:
        ask = pick(
            rng,
            "What is the first letter of {w}? / What letter does {w} start with? / Which letter does {w} begin with?",
        )
        return said(ask.format(w=word), f"{sentence(word)} starts with the letter {word[0].upper()}.")
    ask = pick(
        rng,
        'How many letters has the word {w}? / How many letters are in {w}? / How many letters does "{w}" have?',
    )
    return said(ask.format(w=word), f"The word {word} has {len(word)} letters: {'-'.join(word.upper())}.")


def kind_of(rng: Random) -> Dialogue:
    """What kind of thing it is, and yes or no to a guess."""
    thing, kind = rng.choice(list(facts.KINDS.items()))
    named = (
        thing
        if thing[0].isupper()
        or kind in {"metal", "colour", "food", "drink"}
        or thing in {"football", "chess"}
        else article(thing)
    )
    if rng.random() < 0.5:
        ask = pick(rng, "Is {n} {k}? / Would you say that {n} is {k}?").format(n=named, k=article(kind))
        return said(ask, f"Yes, {named} is {article(kind)}.")
    wrong = rng.choice(
        [
            other
            for other in sorted({*facts.KINDS.values()})
            if other not in {kind, "food", "animal", "colour", "city"}
        ]
    )
    ask = f"Is {named} {article(wrong)}?"
    return said(ask, f"No, {named} is {article(kind)}.")


def _maker(kind: Kind) -> Maker:
    return kind.make


def _order(rng: Random, items: list[str] | tuple[str, ...], unit: str) -> Dialogue:
    place = rng.randrange(len(items))
    step, word = rng.choice(((1, "after"), (1, "after"), (-1, "before")))
    here, there = items[place], items[(place + step) % len(items)]
    ask = pick(
        rng,
        "what {u} comes {w} {h}? / which {u} comes {w} {h}? / what comes {w} {h}? / what {u} is {w} {h}? / "
        "what is the {u} {w} {h}? / which {u} is {w} {h}? / {w} {h} comes which {u}? / "
        "tell me the {u} {w} {h}. / do you know which {u} comes {w} {h}? / " + questions.ORDER,
    )
    if step == 1 and rng.random() < 0.3:
        ask = pick(
            rng,
            "today is {h}. what is tomorrow? / it is {h} today. what {u} is tomorrow? / if today is {h}, what is tomorrow?"
            if unit == "day"
            else "it is {h} now. what {u} comes next? / {h} ends. what {u} is next? / if it is {h}, what is the next {u}?",
        )
    text = (
        sentence(ask.format(u=unit, w=word, h=here)).replace(". what", ". What").replace(". which", ". Which")
    )
    texts = [text, f"{sentence(word)} {here} comes {there}."]
    for _ in range(rng.choice((0, 0, 1, 2))):
        place += step
        here, there = items[place % len(items)], items[(place + step) % len(items)]
        more = (
            f"And {word} that? / And then? / And the next? / {sentence(word)} that? / And {word} {here}? / "
            f"What comes {word} that? / And what is {word} that? / Which one is {word} that? / And which {unit} {word} that?"
        )
        texts += [pick(rng, more), f"{sentence(word)} {here} comes {there}."]
    return said(*texts)


def _abroad(word: str, tongue: str) -> str:
    foreign = facts.WORDS_ABROAD[word][facts.TONGUES.index(tongue)]
    return f'"{sentence(word)}" in {tongue} is "{foreign}".'


TABLES: tuple[tuple[int, Kind], ...] = (
    (14, CAPITALS),
    (3, CONTINENTS),
    (3, LANGUAGES),
    (12, OPPOSITES),
    (4, SYNONYMS),
    (5, PLURALS),
    (3, PASTS),
    (6, SOUNDS),
    (2, HOMES),
    (3, YOUNG),
    (5, COLOURS),
    (4, LEGS),
    (3, FOODS),
    (1, PLACES),
    (2, USES),
    (2, JOBS),
    (4, RHYMES),
    (6, UNITS),
)
OTHERS: tuple[tuple[int, Callable[[Random], Dialogue]], ...] = (
    (12, translation),
    (2, what_language),
    (5, day_order),
    (5, month_order),
    (2, season_order),
    (3, month_length),
    (2, lists),
    (6, spelling),
    (4, kind_of),
)
MAKERS: tuple[tuple[int, Maker], ...] = (*((weight, _maker(kind)) for weight, kind in TABLES), *OTHERS)


def dialogues(rng: Random, n: int) -> Iterator[Dialogue]:
    """`n` dialogues about facts."""
    return stream(rng, n, MAKERS)
