"""Questions whose answers stand in a table: capitals, opposites, days, words abroad, and "and Italy?" after them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from training.text import facts
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
NEXT = "And {}? / And {}? / What about {}? / And for {}? / {}? / And what about {}? / How about {}? / Now {}. / Ok, and {}?"


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
    "what is the capital of {k}? / what is the capital of {k}? / what's the capital of {k}? / capital of {k}? / "
    "which city is the capital of {k}? / what is {k}'s capital? / do you know the capital of {k}? / "
    "name the capital of {k}. / tell me the capital of {k}. / the capital of {k}? / what is the capital city of {k}? / "
    "{k}: what is the capital? / I am in {k}. What is the capital? / I have a question about {k}. What is the capital? / what city is the capital of {k}? / I need the capital of {k}.",
    "The capital of {k} is {v}.",
)
CONTINENTS = Kind(
    facts.CONTINENTS,
    "where is {k}? / in which continent is {k}? / which continent is {k} in? / where on Earth is {k}? / "
    "on what continent is {k}? / do you know where {k} is?",
    "{k} is in {v}.",
)
LANGUAGES = Kind(
    facts.LANGUAGES,
    "what language do people speak in {k}? / which language is spoken in {k}? / what do they speak in {k}? / "
    "what is the language of {k}? / which language do they speak in {k}?",
    "People in {k} speak {v}.",
)
OPPOSITES = Kind(
    facts.OPPOSITES,
    "what is the opposite of {k}? / what is the opposite of {k}? / what's the opposite of {k}? / opposite of {k}? / "
    "what is the contrary of {k}? / tell me the opposite of {k}. / name the opposite of {k}. / the opposite of {k}? / "
    "do you know the opposite of {k}? / which word is the opposite of {k}? / {k} and its opposite? / "
    "give me the opposite of {k}. / {k} has which opposite?",
    "The opposite of {k} is {v}.",
)
SYNONYMS = Kind(
    facts.SYNONYMS,
    "what is another word for {k}? / what is a synonym for {k}? / another word for {k}? / give me a synonym for {k}. / "
    "what means the same as {k}? / which word means {k}? / how else can I say {k}? / a synonym for {k}, please.",
    "Another word for {k} is {v}.",
)
PLURALS = Kind(
    facts.PLURALS,
    "what is the plural of {k}? / what's the plural of {k}? / plural of {k}? / tell me the plural of {k}. / "
    "how do you write more than one {k}? / one {k}, two what? / what do you call more than one {k}? / "
    "do you know the plural of {k}?",
    "The plural of {k} is {v}.",
)
PASTS = Kind(
    facts.PASTS,
    "what is the past of {k}? / what is the past tense of {k}? / past tense of {k}? / what is the past form of {k}? / "
    "tell me the past tense of {k}. / how do you say {k} in the past?",
    "The past tense of {k} is {v}.",
)
SOUNDS = Kind(
    facts.SOUNDS,
    "what does {k} say? / what sound does {k} make? / what noise does {k} make? / which sound does {k} make? / "
    "how does {k} sound? / what sound do you hear from {k}? / make the sound of {k}. / tell me what {k} says. / "
    "what is the sound of {k}?",
    "{k} says {v}.",
    with_article=True,
)
HOMES = Kind(
    facts.HOMES,
    "where does {k} live? / what is the home of {k} called? / where does {k} sleep? / what is the home of {k}? / "
    "in what does {k} live? / where is {k} at home?",
    "{k} lives in a {v}.",
    with_article=True,
)
YOUNG = Kind(
    facts.YOUNG,
    "what is a young {n} called? / what do you call a baby {n}? / what is a baby {n} called? / "
    "what is the name for a young {n}? / how do you call a little {n}? / what is the child of {k} called?",
    "A young {n} is called a {v}.",
    with_article=True,
)
COLOURS = Kind(
    facts.COLOURS,
    "what colour is {k}? / what color is {k}? / which colour is {k}? / what is the colour of {k}? / "
    "which colour does {k} have? / tell me the colour of {k}. / what colour has {k}? / do you know the colour of {k}?",
    "{k} is {v}.",
)
LEGS = Kind(
    facts.LEGS,
    "how many legs does {k} have? / how many legs has {k}? / how many legs does {k} have? / "
    "do you know how many legs {k} has? / tell me how many legs {k} has. / how many legs are there on {k}? / "
    "{k} has how many legs? / count the legs of {k}.",
    "{k} has {v} legs.",
    with_article=True,
)
FOODS = Kind(
    facts.FOODS,
    "what does {k} eat? / what do you feed {k}? / what is the food of {k}? / tell me what {k} eats. / "
    "do you know what {k} eats? / what does {k} like to eat?",
    "{k} eats {v}.",
    with_article=True,
)
PLACES = Kind(
    facts.PLACES,
    "where do I find {k}? / where can I find {k}? / where are {k}? / where do you find {k}?",
    "You find {k} in {v}.",
    follow=False,
)
USES = Kind(
    facts.USES,
    "what do you do with {k}? / what is the use of {k}? / what can I do with {k}? / what do people do with {k}? / "
    "what do I need {k} for? / why do people have {k}?",
    "With {k} you can {v}.",
)
JOBS = Kind(
    facts.JOBS,
    "what does {k} do? / what is the job of {k}? / what is {k}? / what does {k} do all day? / tell me what {k} does. / "
    "what is the work of {k}?",
    "{k} {v}.",
    with_article=True,
)
RHYMES = Kind(
    facts.RHYMES,
    "what rhymes with {k}? / which word rhymes with {k}? / give me a rhyme for {k}. / tell me a word that rhymes with {k}. / "
    "a rhyme for {k}, please. / find a rhyme for {k}. / do you know a rhyme for {k}?",
    "{k} rhymes with {v}.",
)
UNITS = Kind(
    facts.UNITS,
    "how many {k}? / how many {k}? / do you know how many {k}? / tell me how many {k}. / can you tell me how many {k}? / "
    "please tell me how many {k}.",
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
        "I want to say {w} in {t}. / turn {w} into {t}. / give me the {t} word for {w}.",
    ).format(w=quoted, t=tongue)
    texts = [sentence(ask), _abroad(word, tongue)]
    for _ in range(rng.choice((0, 0, 1, 1, 2))):
        if rng.random() < 0.6:
            tongue = rng.choice([t for t in facts.TONGUES if t != tongue])
            ask = pick(
                rng,
                "And in {}? / In {}? / And what is it in {}? / What about {}? / And {}? / Now in {}, please.",
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
        "tell me the {u} {w} {h}. / do you know which {u} comes {w} {h}?",
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
        more = f"And {word} that? / And then? / And the next? / {sentence(word)} that? / And {word} {here}?"
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
