"""Greetings, moods, thanks and questions about the model itself, put together from parts that go with each other."""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING

from training.text import library
from training.text.wording import pick, said, sentence, stream

if TYPE_CHECKING:
    from collections.abc import Iterator
    from random import Random

    from training.text.library import Dialogue, Intent

TO_WHOM = " / there / you / friend / my friend / little model / bot / little one / sprout / computer / dear model / everyone / buddy / stranger"
TODAY = " / today / this morning / this evening / right now / in there / these days / so far / tonight / at the moment / down there"
PLEASANT = (
    " / , nice to be here / , it is me / , I am new here / , good to see you / , what a day / , long time no see / , here I am / "
    ", I just got up / , I have some time / , I found you by chance / , let us chat / , first time here / , I came to talk / "
    ", nice to see you / , I am back"
)
PARTS: dict[str, tuple[str, ...]] = {
    "greet_hello": (
        "{a} {b}{c}",
        "hello / hi / hey / hello again / hi again / oh hi / hey hey / well hello / greetings / hiya / howdy / yo / a big hello / hello hello",
        TO_WHOM,
        PLEASANT,
    ),
    "greet_morning": (
        "{a} {b}{c}",
        "good morning / morning / a good morning / good morning to you / a lovely morning / g'morning / hello and good morning / such a nice morning",
        TO_WHOM,
        " / , did you sleep well / , I just woke up / , the sun is up / , time for coffee / , how was your night / , a new day begins",
    ),
    "greet_evening": (
        "{a} {b}{c}",
        "good evening / evening / a good evening / a nice evening / good evening to you / hello and good evening / such a nice evening",
        TO_WHOM,
        " / , the work is done / , what a long day / , dinner was good / , how was your day / , the day is over",
    ),
    "how_are_you": (
        "{a} {b}{c}",
        (
            "how are you / how are you doing / how is it going / how are things / how do you feel / how is life / how have you been / are you well / "
            "are you all right / is everything fine / how goes it / how is your day / are you doing well / everything good / how's everything / you okay"
        ),
        TODAY,
        " / , my friend / , little one / , little model / , tell me / , dear model / , I hope well",
    ),
    "thanks": (
        "{c} {a} {b}",
        "thank you / thanks / many thanks / thanks a lot / thank you so much / thank you very much / big thanks / my thanks / a big thank you",
        (
            " / for that / for the answer / for your help / for helping me / for the story / for your time / for being so kind / for listening / "
            "for telling me / for the joke / my friend / little model / for everything"
        ),
        " / great, / that helped, / perfect, / oh, / wonderful, / super, / ok, / you are kind, / that was nice, / good to know, / ah, / nice, ",
    ),
    "bye": (
        "{c} {a} {b}",
        "bye / goodbye / see you / see you soon / bye bye / farewell / see you later / so long / until next time / take care / have a nice day",
        " / my friend / little model / and thanks / for now / then / little one / and good luck / everyone",
        (
            " / I have to go, / that is all, / I must leave, / work calls, / my bus is here, / it is late, / dinner is ready, / ok, / well, / I am done, / "
            "somebody is at the door, / my break is over, / I am tired, / time to go, / my mother calls, / off I go, "
        ),
    ),
    "user_sad": (
        "{a} {b} {c}",
        "I am / I feel / I'm / I'm feeling / I have been / I feel so / I am so / I am a bit / I feel rather / today I am / I am very / lately I feel",
        "sad / unhappy / down / low / blue / miserable / hopeless / heartbroken / empty / awful / gloomy",
        " / today / this week / right now / and I do not know why / these days / tonight / again",
    ),
    "user_good": (
        "{a} {b} {c}",
        "I am / I feel / I'm / I'm feeling / I feel so / I am so / I feel really / today I am / I am very",
        "happy / glad / great / wonderful / cheerful / well / good / fantastic",
        " / today / this week / right now / these days / tonight / again / , all went well",
    ),
    "self_maker": (
        "{a} {b}{c}",
        (
            "who made / who built / who wrote / who created / who trained / who designed / who programmed / who invented / who developed / "
            "who is behind / who is responsible for / which people made / whose work is / who put together / who came up with"
        ),
        "you / this model / this little model / sprout / the model here / your brain / a thing like you",
        " / , tell me / , do you know / , really / , exactly / , if I may ask / , I wonder",
    ),
    "self_human": (
        "{a} {b}{c}",
        "are you / are you really / are you maybe / are you by chance / so you are / could you be / would you say you are / tell me, are you / honestly, are you",
        "a human / a person / a human being / a real person / a living being / a man / a woman / made of flesh and blood / somebody real / a real human / alive",
        " / , yes or no / , be honest / , I wonder / , or not / , tell me / , my friend",
    ),
    "self_name": (
        "{a} {b}{c}",
        "what is / what's / tell me / may I know / say / I want to know / could you tell me / please tell me / I forgot / so what is / what was / and",
        "your name / the name you go by / the name of this model / your own name / your full name",
        " / , please / , little model / , again / , by the way / , my friend",
    ),
    "self_who": (
        "{a} {b}{c}",
        (
            "who are you / what are you called and who are you / tell me who you are / who is this / who am I talking to / who answers me / "
            "please introduce yourself / I want to know who you are / who is there / tell me about yourself / say who you are"
        ),
        " / exactly / here / really / in one sentence / please / in short",
        " / , stranger / , little model / , my friend / , before we talk / , I am curious",
    ),
    "self_can_do": (
        "{a} {b}{c}",
        (
            "what can you do / what are you able to do / what can I ask you / what do you know how to do / what are you good at / how can you help / "
            "what should I ask / what can we do / what are your talents / what can I type / show me what you can do / what do you offer"
        ),
        " / for me / here / exactly / in this app / today / all in all",
        " / , tell me / , little model / , I am new / , please / , give me some examples",
    ),
    "weather_now": (
        "{a} {b} {c}",
        "is it / will it be / is it going to be / do you think it is / tell me if it is / can you see if it is",
        "sunny / raining / cold / warm / windy / snowing / cloudy / hot / foggy / stormy / wet",
        "outside / today / tomorrow / in my town / over there / where you are / this weekend / in Paris / tonight",
    ),
    "time_now": (
        "{a} {b}{c}",
        "what is / tell me / do you know / could you tell me / I need / what's / say / please give me",
        "the time / the hour / the date / today's date / the day of today / the exact time",
        " / , please / , quick / , I have no clock / , my watch stopped / , now",
    ),
}
"""Intent: a frame, and what may stand at {a}, {b} and {c}."""


@cache
def _intents() -> dict[str, Intent]:
    return {intent.name: intent for _, found in library.intents() for intent in found}


def talk(rng: Random) -> Dialogue:
    """One thing that people say, in one of its many forms."""
    name = rng.choice(list(PARTS))
    frame, *parts = PARTS[name]
    chosen = dict(zip("abc", (pick(rng, f"{part}") for part in parts), strict=True))
    text = " ".join(frame.format(**chosen).replace(" ,", ",").split())
    is_question = text.startswith(
        ("how", "who", "what", "are ", "is ", "will", "do ", "could", "can ", "may ")
    )
    return said(sentence(text) + ("?" if is_question else "."), rng.choice(_intents()[name].answer))


def dialogues(rng: Random, n: int) -> Iterator[Dialogue]:
    """`n` exchanges of this kind."""
    return stream(rng, n, ((1, talk),))
