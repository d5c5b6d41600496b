"""Short stories from plots with slots that fit together, and questions about the story just told."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from training.text.wording import article, pick, said, sentence, stream, words

if TYPE_CHECKING:
    from collections.abc import Iterator
    from random import Random

    from training.text.library import Dialogue

HEROES = words(
    "fox bear rabbit mouse owl cat dog duck frog hedgehog squirrel snail turtle penguin elephant lion hen goat pig horse "
    "sparrow crow beaver badger mole bee ant spider wolf sheep donkey monkey giraffe tiger whale seal parrot camel swan"
)
PEOPLE = words(
    "girl boy baker king queen farmer painter gardener sailor teacher knight princess fisherman wizard giant"
)
THINGS = words(
    "robot boat lamp clock cloud star kite train teapot snowman pencil balloon shoe bell leaf drop stone"
)
NAMES = words(
    "Pip Milo Luna Tilly Bruno Nell Otto Daisy Finn Ruby Toby Wanda Gus Poppy Hugo Mimi Oskar Lottie Sam Bo Rosie Fred "
    "Ella Max Ida Theo Nora Jasper Flo Teddy"
)
# Traits that can be "very" and "too".
TRAITS = words("small shy lazy curious quiet young old sleepy cheerful proud")
PLACES = words(
    "in a dark forest;near a blue lake;in a green valley;on a high hill;by the sea;in a small village;under an old bridge;"
    "in a quiet garden;on a little island;at the edge of a wood;behind an old mill;in a warm barn;near a wide river",
    ";",
)
OBJECTS = words(
    "golden key;red ball;blue bottle;silver spoon;old map;tiny bell;green umbrella;wooden flute;shiny coin;paper boat;"
    "warm blanket;round mirror;big pumpkin;lost glove;yellow kite;little lantern;glass marble;strange egg",
    ";",
)
FRIENDS = words("mouse hare duck frog owl cat hedgehog crow beetle snail squirrel robin lamb mole")
FOODS = words("soup;cake;honey;bread and cheese;pancakes;apples;warm milk;berries;cookies;nuts", ";")
WEATHERS = words("storm;thick fog;strong wind;snowstorm;heavy rain;thunderstorm", ";")

# One plot a line: {h} hero, {N} its name, {t} trait, {p} place, {o} object, {f} friend, {e} food, {w} weather,
# {l} lesson; behind the bar the lessons that fit.
PLOTS = """\
Once there was a {t} {h} called {N} who lived {p}. One day {N} found a {o}. A {f} came by and asked for it. {N} gave it away, and the {f} brought {e} the next day. So {N} learned that {l}.|sharing makes things better;a gift often comes back;kind hearts have many friends
Once upon a time, a {h} named {N} lived {p}. {N} was very {t}. One night a {w} came, and a {f} knocked at the door. {N} let it in, and they had {e} together. Since then {N} knows that {l}.|an open door brings friends;two are warmer than one;a bad night can bring a good friend
There was a {h} called {N} {p}. {N} had lost a {o} and was sad. A {t} {f} helped to look for it. They found it under a stone, laughed, and had {e}. In the end, {l}.|a friend is worth more than a treasure;four eyes see more than two;asking for help is better than crying
A {t} {h} called {N} wanted to see the world. {N} packed a {o} and some food and left. On the way, {N} met a {f} who wanted to come too. They got into a {w}, but they were brave. Then they went home, {p}, and had {e}.
Long ago, {p}, lived a {h} called {N}. Everybody said that {N} was too {t}. But when a {w} came, only {N} knew what to do, with the help of a {o}. All the others said thank you with {e}.
{N} was a {t} {h} who lived {p}. Every evening {N} told the stars a joke, but they never laughed. One night a {f} laughed. The two became friends, and now they tell jokes together.
One morning {N} the {h} woke up and found a {o} at the door. {N} asked all the neighbours whose it was. At last a {f} said: it is a gift for you, because you are always so kind. {N} was a {t} {h}, and now a happy one, too.
A {h} called {N} and a {f} lived {p}. They both wanted the same {o}. They argued all day, until the wind took it away. Then they laughed, had {e} and stayed friends. They learned that {l}.|arguing makes nobody rich;a friend is better than a thing;sharing is better than fighting
{N} the {h} had a {o} and did not know what it was for. A {f} said: throw it away. But {N} kept it. When a {w} came, the {o} showed the way home, {p}. So {N} learned that {l}.|patience is worth the wait;each thing has its day;asking twice is no shame
There was once a {t} {h} named {N}. {N} wanted to bake something for a {f}, but had only {e}. The {f} tasted it and smiled: "It is the best thing that I ever had." They sat {p} until the moon came up."""
ASK_ANY = (
    "Tell me a story. / Tell me a short story. / Please tell me a story. / Can you tell me a story? / A story, please. / "
    "I want to hear a story. / Make up a story. / Write a short story. / Do you know a story? / Tell me another story. / "
    "Tell me a bedtime story. / Story please / One story, please. / Could you tell me a story?"
)
ASK_ABOUT = (
    "Tell me a story about {k}. / Tell me a short story about {k}. / A story about {k}, please. / Can you tell me a story about {k}? / "
    "Write a story about {k}. / Make up a story about {k}. / I want a story about {k}. / Do you know a story about {k}? / "
    "Please tell me a story about {k}. / Write a short story with {k} in it. / A short story about {k} / Tell a tale about {k}. / "
    "I want to hear a tale about {k}. / Tell me something about {k} in a forest, as a story. / A little tale with {k}, please. / "
    "Could you write me a story about {k}? / Story about {k} / I would like a story about {k}."
)


@dataclass(frozen=True, slots=True)
class Story:
    """A told story and the slots it was made with."""

    text: str
    plot: str
    slots: dict[str, str]

    def has(self, slot: str) -> bool:
        """Whether the plot uses the slot."""
        return "{" + slot + "}" in self.plot


def told(rng: Random, hero: str, name: str = "") -> Story:
    """A story about the hero."""
    plot, _, lessons = rng.choice(PLOTS.splitlines()).partition("|")
    slots = {
        "h": hero,
        "N": name or rng.choice(NAMES),
        "t": rng.choice(TRAITS),
        "p": rng.choice(PLACES),
        "o": rng.choice(OBJECTS),
        "f": rng.choice([friend for friend in FRIENDS if friend != hero]),
        "e": rng.choice(FOODS),
        "w": rng.choice(WEATHERS),
        "l": rng.choice(words(lessons, ";")),
    }
    text = plot.format(**slots)
    for noun in (slots["t"], slots["h"], slots["f"], slots["o"]):
        text = text.replace(f" a {noun}", f" {article(noun)}").replace(f"A {noun}", sentence(article(noun)))
    return Story(sentence(text), plot, slots)


def any_story(rng: Random) -> Dialogue:
    """A story without a wish."""
    story = told(rng, rng.choice(HEROES))
    return said(pick(rng, ASK_ANY), story.text, *_after(rng, story))


def story_about(rng: Random) -> Dialogue:
    """A story about the animal, person or thing that was asked for."""
    story = told(rng, rng.choice(rng.choices((HEROES, PEOPLE, THINGS), (6, 2, 2))[0]))
    hero = story.slots["h"]
    asked = rng.choice(
        (article(hero), article(hero), f"a little {hero}", f"{article(story.slots['t'])} {hero}")
    )
    return said(pick(rng, ASK_ABOUT).format(k=asked), story.text, *_after(rng, story))


def story_named(rng: Random) -> Dialogue:
    """A story whose hero has the name that was asked for."""
    name, hero = rng.choice(NAMES), rng.choice(HEROES)
    story = told(rng, hero, name)
    ask = pick(
        rng,
        "Tell me a story about {k} called {n}. / Tell me a story about {n} the {h}. / A story about {k} named {n}, please. / "
        "Write a story about {n} the {h}.",
    )
    return said(ask.format(k=article(hero), n=name, h=hero), story.text, *_after(rng, story))


MAKERS = ((3, any_story), (8, story_about), (2, story_named))


def dialogues(rng: Random, n: int) -> Iterator[Dialogue]:
    """`n` dialogues with a story."""
    return stream(rng, n, MAKERS)


def _talk(story: Story) -> list[tuple[str, str]]:
    """What can be asked or said about this story, each with its answer."""
    talk = [
        (
            "What was the {h} called? / What is the name of the {h}? / Who was the story about? / What was its name?",
            "The {h} was called {N}.",
        ),
        (
            "Nice story. / I like that story. / That was nice. / What a lovely story. / That is a good story.",
            "Thank you! I am glad that you like it.",
        ),
        (
            "Is it true? / Did that really happen? / Is this a true story?",
            "No, I made it up. But it could be true.",
        ),
        (
            "Who made up this story? / Did you make that up? / Where is that story from?",
            "I made it up, word by word.",
        ),
    ]
    if story.has("p"):
        ask = "Where did {N} live? / Where did the {h} live? / Where was that? / Where does the story happen?"
        talk.append((ask, "That was {p}."))
    if story.has("f"):
        ask = "Who did {N} meet? / Who was the other animal? / Who else is in the story? / Who came along?"
        talk.append((ask, "There was also a {f}."))
    if story.has("o") and "found" in story.plot:
        talk.append(
            ("What did {N} find? / What did the {h} find? / What was it that {N} found?", "{N} found a {o}.")
        )
    if story.has("e"):
        talk.append(
            ("What did they eat? / What did they have to eat? / And what did they eat?", "They had {e}.")
        )
    if story.has("l"):
        ask = "What did {N} learn? / What is the moral? / What do we learn from that? / What does the story teach? / And the moral?"
        talk.append((ask, "The story says that {l}."))
    return talk


def _after(rng: Random, story: Story) -> list[str]:
    """Up to three questions or remarks after the story."""
    hero = story.slots["h"]
    talk = _talk(story)
    rng.shuffle(talk)
    texts: list[str] = []
    for ask, answer in talk[: rng.choice((0, 0, 1, 1, 2, 3))]:
        texts += [pick(rng, ask).format(**story.slots), _with_article(answer.format(**story.slots), story)]
    if texts and rng.random() < 0.2:
        other = told(rng, rng.choice([animal for animal in HEROES if animal != hero]))
        texts += [
            pick(
                rng, "Another one, please. / Tell me another one. / One more story? / Another story, please."
            ),
            other.text,
        ]
    return texts


def _with_article(text: str, story: Story) -> str:
    for noun in (story.slots["f"], story.slots["o"]):
        text = text.replace(f" a {noun}", f" {article(noun)}")
    return text
