"""Sums, differences, small products, counting and comparing, with follow-ups that need the last result."""

from __future__ import annotations

from typing import TYPE_CHECKING

from training.text.wording import listed, number_word, pick, said, sentence, stream, words

if TYPE_CHECKING:
    from collections.abc import Iterator
    from random import Random

    from training.text.library import Dialogue

WORDS_SHARE = 0.15
"""Sums with number words, which are answered in words."""
TOP = 20  # operands and most results stay within what 4.5 million parameters can learn by heart

FRAMES = (
    "What is {}? / What's {}? / How much is {}? / Can you tell me what {} is? / Calculate {}. / {} / {} = / {}? / "
    "Tell me {}. / What does {} make? / What do you get for {}? / Please work out {}. / Do you know what {} is? / "
    "Quick, what is {}? / Compute {}. / I need {}. / So what is {}? / And what is {}? / What is the result of {}? / "
    "Hey, what is {}? / Could you tell me {}? / {} is what? / {} makes? / Solve {}. / Give me {}. / Tell me what {} is. / "
    "I have to know {}. / {} please / If I do {}, what comes out? / What comes out of {}? / "
    "{} gives what? / {} equals what? / {} equals? / Can you do {}? / Can you work out {} for me? / "
    "Work out {} for me. / Help me with {}. / My homework says {}. / What would {} be? / "
    "The answer to {}? / {}, what is that? / {}: how much is it? / How much would {} be? / "
    "Let's see if you know {}. / Try {}. / And {}? / The result of {}, please. / {} is how much? / "
    "Find {}. / What do I get if I calculate {}? / Quick maths: {} / Do the sum {}. / "
    "Say, how much is {}? / A sum for you: {} / Next sum: {} / Now {} / How much does {} make? / "
    "I wonder what {} is. / Any idea what {} is? / I bet you cannot do {}. / "
    "Would you calculate {} for me? / What number is {}? / {} comes to what? / "
    "I keep getting {} wrong. What is it?"
)
PLUS = "{a} plus {b} / {a} + {b} / {a}+{b} / {a} plus {b} / {a} and {b}"
MINUS = "{a} minus {b} / {a} - {b} / {a}-{b} / {a} minus {b} / {a} take away {b} / {a} less {b}"
WHOLE_PLUS = (
    "Add {a} and {b}. / What is the sum of {a} and {b}? / If I add {b} to {a}, what do I get? / How much do {a} and {b} make? / "
    "Add {b} to {a}, please. / What do {a} and {b} make together? / I add {a} and {b}. What is it? / "
    "What do I have when I put {a} and {b} together? / Put {a} and {b} together. / {a} added to {b} is? / "
    "Start with {a}, add {b}. / Take {a} and add {b}. / How much is {a} if I add {b} to it? / "
    "{b} more than {a} is what? / What number is {b} more than {a}? / Sum up {a} and {b}. / "
    "The sum of {a} and {b}, please. / I had {a} and got {b} more. How many is that? / "
    "{a} with {b} added, what is that? / Count {a} and {b} together. / "
    "If you have {a} and I bring {b}, how many is that? / What happens when you add {b} to {a}? / "
    "What total do {a} and {b} give? / {a} and another {b}, how many is that? / "
    "What do you get when you add {a} and {b}?"
)
WHOLE_MINUS = (
    "Take {b} from {a}. / Subtract {b} from {a}. / What is left of {a} when I take away {b}? / How much is {a} without {b}? / "
    "If I take {b} from {a}, what is left? / What is the difference between {a} and {b}? / "
    "What is {a} reduced by {b}? / Start with {a}, take away {b}. / {b} less than {a} is what? / "
    "What number is {b} less than {a}? / How much is left when {b} is taken from {a}? / "
    "From {a} take {b}. / I had {a} and lost {b}. What do I have? / {a} without {b}? / "
    "Remove {b} from {a}. / How much more is {a} than {b}? / {a}, but {b} less, how many is that? / "
    "What stays of {a} when {b} go away? / What do you get when you take {b} from {a}? / "
    "The difference of {a} and {b}, please. / I have {a} and spend {b}. What is left?"
)
WHOLE_TIMES = (
    "Multiply {a} by {b}. / What is {a} multiplied by {b}? / How much is {b}, {a} times? / Multiply {a} and {b}, please. / "
    "{a} groups of {b}, how many is that? / What is {a} lots of {b}? / Take {b}, {a} times. / The product of {a} and {b}? / "
    "{a} rows of {b}, how many? / What is the product of {a} and {b}? / If I have {a} bags with {b} each, how many is that? / "
    "{a} boxes with {b} in each box, how many? / What do I get for {a} times the number {b}?"
)
SHARED = (
    "Divide {a} by {b}. / How often does {b} go into {a}? / Share {a} among {b}. / How many times does {b} fit into {a}? / "
    "Split {a} into {b} parts. / {a} shared by {b}? / What is {a} over {b}? / If {b} people share {a}, what does each get?"
)
TIMES = "{a} times {b} / {a} * {b} / {a}*{b} / {a} times {b} / {a} x {b} / {a} multiplied by {b}"

THINGS = words(
    "apples pears eggs books pens coins cookies cups balls stones stamps keys plums nuts candles tickets "
    "flowers shells buttons cakes oranges pencils cards sweets bananas spoons toys marbles hats"
)
COUNTED = THINGS + words(
    "birds cats dogs children ducks fish mice sheep guests bees friends cars boats clouds stars trees"
)
COMING = words("come;arrive;join;turn up;are added;appear;are put there;come along;show up;are found", ";")
GOING = words(
    "go;go away;leave;are lost;break;vanish;run away;are gone;disappear;are taken;get lost;are sold;drop out",
    ";",
)
NAMES = words("Tom Lisa Ben Mia Sam Nora Max Ida Leo Ella Paul Jane Finn Rosa Emil Lucy")


def add(rng: Random) -> Dialogue:
    """A sum of two small numbers."""
    a, b = _operands(rng)
    return _asked(rng, (PLUS, WHOLE_PLUS), (a, b), "plus", a + b)


def subtract(rng: Random) -> Dialogue:
    """A difference that is never below zero."""
    a, b = sorted(_operands(rng), reverse=True)
    return _asked(rng, (MINUS, WHOLE_MINUS), (a, b), "minus", a - b)


def multiply(rng: Random) -> Dialogue:
    """A product from the table up to ten, the small ones more often."""
    a, b = min(rng.randint(0, 10), rng.randint(1, 10)), rng.randint(1, 10)
    return _asked(rng, (TIMES, WHOLE_TIMES), (a, b), "times", a * b)


def divide(rng: Random) -> Dialogue:
    """A division without a rest."""
    b, result = rng.randint(1, 10), rng.randint(1, 10)
    return _asked(rng, ("{a} divided by {b} / {a}/{b}", SHARED), (b * result, b), "divided by", result)


def story_sum(rng: Random) -> Dialogue:
    """A sum told with things."""
    a, b = rng.randint(1, 10), rng.randint(1, 10)
    things, name = rng.choice(THINGS), rng.choice(NAMES)
    question = pick(
        rng,
        "I have {a} {t} and get {b} more. How many {t} do I have? / "
        "I have {a} {t} and I find {b} more. How many do I have now? / "
        "{n} has {a} {t} and buys {b} more. How many {t} does {n} have? / "
        "There are {a} {t} on the table. I add {b}. How many are there now? / "
        "If I have {a} {t} and you give me {b}, how many do I have? / "
        "I put {a} {t} in a box, then {b} more. How many {t} are in the box? / "
        "{n} has {a} {t} and I have {b}. How many {t} do we have together? / "
        "Yesterday I had {a} {t}, today I got {b}. How many {t} are mine now? / How many {t} are {a} {t} and {b} {t}? / "
        "{n} brings {a} {t}, I bring {b}. What do we have? / {a} {t} here and {b} {t} there, how many in all? / "
        "We need {a} {t} for {n} and {b} for me. How many {t} is that? / I see {a} {t}, then {b} more come. How many {t} do I see?",
    ).format(a=a, b=b, t=things, n=name)
    return said(question, f"{a} plus {b} is {a + b}, so the answer is {a + b} {things}.")


def story_difference(rng: Random) -> Dialogue:
    """A difference told with things."""
    a = rng.randint(2, 12)
    b = rng.randint(1, a - 1)
    things, name = rng.choice(THINGS), rng.choice(NAMES)
    question = pick(
        rng,
        "I have {a} {t} and lose {b}. How many are left? / "
        "I have {a} {t} and give {b} away. How many {t} do I have left? / "
        "{n} has {a} {t} and gives me {b}. How many {t} does {n} have now? / "
        "There are {a} {t} in a bag. I take out {b}. What is left? / "
        "If I have {a} {t} and use {b} of them, how many are left? / "
        "There were {a} {t} in the box and {b} are gone. How many are still there? / "
        "I had {a} {t}, but {n} took {b}. How many do I have now? / "
        "Of my {a} {t}, {b} are lost. What do I still have? / {n} took {b} of the {a} {t}. How many stay? / "
        "I start with {a} {t} and sell {b}. How many do I still have? / There are {a} {t}, and we eat {b}. What remains? / "
        "{a} {t}, and {b} of them break. How many are whole?",
    ).format(a=a, b=b, t=things, n=name)
    return said(question, f"{a} minus {b} is {a - b}, so {a - b} {'is' if a - b == 1 else 'are'} left.")


def story_short(rng: Random) -> Dialogue:
    """A few words only: so many things, so many of them come or go."""
    a, b = rng.randint(3, 12), rng.randint(2, 9)
    things = rng.choice(COUNTED)
    if rng.random() < 0.5:
        frame = "{a} {t}, {b} more {come} / {a} {t} and then {b} {come} / There are {a} {t}. {b} more {come}. How many? / I see {a} {t}. Then {b} {come}. / There were {a} {t}, then {b} {come}, so"
        ask = pick(rng, frame).format(a=a, b=b, t=things, come=rng.choice(COMING))
        return said(ask, f"{a} plus {b} is {a + b}, so the answer is {a + b} {things}.")
    a, b = max(a, b + 1), min(a - 1, b)
    frame = "{a} {t}, {b} {go} / {a} {t} and then {b} {go} / There are {a} {t}. {b} of them {go}. How many? / I see {a} {t}. Then {b} {go}. / There were {a} {t} and {b} {go}, so"
    ask = pick(rng, frame).format(a=a, b=b, t=things, go=rng.choice(GOING))
    return said(ask, f"{a} minus {b} is {a - b}, so {a - b} {'is' if a - b == 1 else 'are'} left.")


def go_on(rng: Random) -> Dialogue:
    """A chain: each question changes the last result."""
    a, b = rng.randint(1, 9), rng.randint(1, 9)
    total = a + b
    texts = [
        pick(rng, "What is {a} plus {b}? / What is {a}+{b}? / {a} + {b}").format(a=a, b=b),
        f"{a} plus {b} is {total}.",
    ]
    for _ in range(rng.choice((1, 1, 2, 3))):
        c = rng.randint(1, min(9, total)) if total else 1
        kind = rng.choice(("more", "less", "double") if total <= TOP // 2 else ("more", "less"))
        if total == 0:
            kind = "more"  # results stay at zero or above
        if kind == "more":
            ask = pick(
                rng,
                "And {c} more? / Plus {c}? / Now add {c}. / And plus {c}? / Add {c} to that. / And {c} more, please? / "
                "And if I add {c}? / {c} more? / What if you add {c}? / And {c} on top? / Put {c} on top. / And then plus {c}? / "
                "With {c} more? / {c} on top of that? / I get {c} more. How many now? / Make it {c} more. / What if I get {c} more? / "
                "And what is that plus {c}? / How much is it with {c} more? / And now {c} more?",
            )
            if c == 1:
                ask = pick(
                    rng,
                    "And one more? / One more? / Plus one? / And 1 more? / Add one. / And another one? / "
                    "One on top? / Now one more. / With one more? / And if I add one? / Add another one. / And then one more? / "
                    "Another one? / What if I add one more? / Make it one more. / And plus one?",
                )
            texts += [ask.format(c=c), f"{total} plus {c} is {total + c}."]
            total += c
        elif kind == "less":
            ask = pick(
                rng,
                "Minus {c}? / And minus {c}? / Now take away {c}. / And {c} less? / Take {c} away from that. / "
                "And if I take away {c}? / {c} less? / What if you take {c} away? / I lose {c}. How many now? / Without {c}? / "
                "Remove {c} from it. / And after taking away {c}? / Subtract {c} from that. / And what is that minus {c}? / "
                "How much is it with {c} less? / What if I give {c} away?",
            )
            texts += [ask.format(c=c), f"{total} minus {c} is {total - c}."]
            total -= c
        else:
            ask = pick(
                rng,
                "Times two? / And twice that? / Double it. / And the double? / Now double that, please. / "
                "Twice as much? / And two times that? / What is twice that? / And doubled? / Now times two. / And if I double it? / "
                "What is that times two?",
            )
            texts += [ask, f"2 times {total} is {2 * total}."]
            total *= 2
    return said(*texts)


def count(rng: Random) -> Dialogue:
    """Counting up or down."""
    top = rng.randint(3, 12)
    if rng.random() < 0.7:
        ask = pick(rng, "Count to {}. / Can you count to {}? / Please count to {}. / Count from 1 to {}.")
        return said(ask.format(top), ", ".join(map(str, range(1, top + 1))) + ".")
    ask = pick(rng, "Count down from {}. / Count backwards from {}. / Can you count down from {}?")
    return said(ask.format(top), ", ".join(map(str, range(top, 0, -1))) + ".")


def neighbour(rng: Random) -> Dialogue:
    """The number after or before another."""
    number = rng.randint(1, 40)
    if rng.random() < 0.6:
        ask = pick(
            rng,
            "What number comes after {}? / Which number comes after {}? / What comes after {}? / What is the next number after {}?",
        )
        return said(ask.format(number), f"After {number} comes {number + 1}.")
    ask = pick(rng, "What number comes before {}? / Which number comes before {}? / What comes before {}?")
    return said(ask.format(number), f"Before {number} comes {number - 1}.")


def compare(rng: Random) -> Dialogue:
    """Which of two numbers is bigger or smaller."""
    a, b = rng.sample(range(50), 2)
    low, high = sorted((a, b))
    if rng.random() < 0.5:
        ask = pick(
            rng,
            "Which is bigger, {a} or {b}? / Which number is bigger, {a} or {b}? / Is {a} or {b} bigger? / What is more, {a} or {b}?",
        )
        return said(ask.format(a=a, b=b), f"{high} is bigger than {low}.")
    if rng.random() < 0.5:
        ask = pick(
            rng,
            "Which is smaller, {a} or {b}? / Which number is smaller, {a} or {b}? / What is less, {a} or {b}?",
        )
        return said(ask.format(a=a, b=b), f"{low} is smaller than {high}.")
    word = "Yes" if a > b else "No"
    verdict = f"{a} is bigger than {b}" if a > b else f"{a} is smaller than {b}"
    return said(
        pick(rng, "Is {a} bigger than {b}? / Is {a} more than {b}?").format(a=a, b=b), f"{word}, {verdict}."
    )


def even_or_odd(rng: Random) -> Dialogue:
    """Whether a number is even."""
    number = rng.randint(1, 30)
    kind = "odd" if number % 2 else "even"
    ask = pick(rng, "Is {} even or odd? / Is {} an even number? / Is {} an odd number? / Even or odd: {}?")
    answer = f"{number} is {kind}."
    if "an even" in ask or "an odd" in ask:
        answer = f"{'Yes' if kind in ask else 'No'}, {number} is {kind}."
    return said(ask.format(number), answer)


def double_or_half(rng: Random) -> Dialogue:
    """Twice a number, or half of an even one."""
    number = rng.randint(1, 10)
    if rng.random() < 0.5:
        ask = pick(rng, "What is twice {}? / What is the double of {}? / Double {}. / What is two times {}?")
        return said(ask.format(number), f"2 times {number} is {2 * number}.")
    ask = pick(rng, "What is half of {}? / What is the half of {}? / How much is half of {}?")
    return said(ask.format(2 * number), f"Half of {2 * number} is {number}.")


def in_words(rng: Random) -> Dialogue:
    """Sums with number words, answered in words."""
    a, b = rng.randint(1, 10), rng.randint(1, 10)
    if rng.random() < 0.3:
        return said(
            pick(rng, "How do you write {} as a word? / Write {} in letters. / What is {} in words?").format(
                a + b
            ),
            f"{a + b} is written {number_word(a + b)}.",
        )
    plus = rng.random() < 0.5 or a < b
    result = a + b if plus else a - b
    text = f"{number_word(a)} {'plus' if plus else 'minus'} {number_word(b)}"
    ask = pick(
        rng,
        "What is {}? / How much is {}? / {} / What's {}? / Tell me {}. / {} is what? / {} makes? / What does {} make? / Do you know {}?",
    ).format(text)
    return said(sentence(ask), f"{sentence(text)} is {number_word(result)}.")


def sort_numbers(rng: Random) -> Dialogue:
    """Three numbers put in order."""
    numbers = rng.sample(range(1, 21), 3)
    ask = pick(rng, "Sort these numbers: {}. / Put {} in order. / Sort {}, please. / Sort {}.")
    text = ", ".join(map(str, numbers))
    return said(ask.format(text), f"In order: {listed([str(n) for n in sorted(numbers)])}.")


def too_big(rng: Random) -> Dialogue:
    """A sum beyond what the model can know: it says so."""
    a, b = rng.randint(101, 9999), rng.randint(101, 9999)
    sign = rng.choice(("plus", "minus", "times", "divided by", "+", "*"))
    answer = pick(
        rng,
        "That is too large for me. I only do small sums, up to about twenty. / "
        "Such large numbers are too hard for me. A calculator is the better friend. / "
        "I would get that wrong. Try me with numbers up to twenty.",
    )
    return said(pick(rng, FRAMES.replace(" / {} / {} =", "")).format(f"{a} {sign} {b}"), answer)


MAKERS = (
    (24, add),
    (14, subtract),
    (10, multiply),
    (2, divide),
    (5, story_sum),
    (5, story_difference),
    (4, story_short),
    (9, go_on),
    (3, count),
    (4, neighbour),
    (5, compare),
    (2, even_or_odd),
    (4, double_or_half),
    (5, in_words),
    (2, sort_numbers),
    (3, too_big),
)


def dialogues(rng: Random, n: int) -> Iterator[Dialogue]:
    """`n` dialogues about numbers."""
    return stream(rng, n, MAKERS)


def _operands(rng: Random) -> tuple[int, int]:
    """Two numbers: half of the time up to ten, where people ask most."""
    top = 10 if rng.random() < 0.5 else TOP
    return rng.randint(0, top), rng.randint(0, top)


def _asked(
    rng: Random, forms: tuple[str, str], operands: tuple[int, int], word: str, result: int
) -> Dialogue:
    """A question from a frame with the bare sum in it, or one time in four a sentence of its own."""
    in_words = rng.random() < WORDS_SHARE
    a, b = (number_word(n) if in_words else str(n) for n in operands)
    sums, sentences = forms
    if rng.random() < 0.25:
        ask = pick(rng, sentences).format(a=a, b=b)
    else:
        ask = pick(rng, FRAMES).format(pick(rng, sums).format(a=a, b=b))
    if not in_words:
        return said(ask, f"{a} {word} {b} is {result}.")
    return said(sentence(ask), sentence(f"{a} {word} {b} is {number_word(result)}."))
