"""What a model still knows of a document read once, and read twice: 20 facts planted in plain text.

Each fact is one of 20 colours for one of 20 names. It is asked for in the chat format of the model. What reading
changes is counted, so that a colour which the model likes anyway has no advantage: a fact is known when its colour
is the one of the 20 that became likelier by most (chance: 1 of 20); `gain` is by how many nats it rose above the
mean of the others; `said` counts greedy replies that hold the word.

    python benchmarks/planted_facts.py [MODEL] [--words N ...] [--seeds N]
"""

from __future__ import annotations

import argparse
import random
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from chatrwkv.chat.template import load_templates
from chatrwkv.engine import (
    GenerateRequest,
    Prompt,
    SamplingParams,
    load_model,
    log_likelihood,
    read_ids,
    redraw,
)
from chatrwkv.paths import bundled_models, bundled_prompts

if TYPE_CHECKING:
    from collections.abc import Generator
    from typing import Any

    from chatrwkv.chat.template import PromptTemplate
    from chatrwkv.engine import LoadedModel, Snapshot

NAMES = [
    "Anna",
    "Bruno",
    "Clara",
    "David",
    "Emma",
    "Felix",
    "Greta",
    "Henry",
    "Irene",
    "Jacob",
    "Karin",
    "Lucas",
    "Maria",
    "Nathan",
    "Olive",
    "Peter",
    "Rosa",
    "Simon",
    "Thea",
    "Victor",
]
COLOURS = [
    "red",
    "blue",
    "green",
    "yellow",
    "black",
    "white",
    "brown",
    "pink",
    "grey",
    "purple",
    "orange",
    "gold",
    "silver",
    "violet",
    "cream",
    "scarlet",
    "amber",
    "ivory",
    "indigo",
    "teal",
]
FILLER = (
    "The market opened early and the streets were full of people. ",
    "A cold wind came from the river, and the boats stayed in the harbour. ",
    "In the afternoon the children walked home along the old wall. ",
    "Nobody could say how long the rain would last. ",
    "The baker sold the last bread before noon and closed the shop. ",
)


@dataclass(frozen=True, slots=True)
class Score:
    """Of 20 facts."""

    n_tokens: float
    known: float
    gain: float
    said: float


def ended(steps: Generator[None, None, Any]) -> Any:
    """Run a task to its end."""
    while True:
        try:
            next(steps)
        except StopIteration as end:
            return end.value


def never() -> bool:
    """Nobody stops a benchmark but with ctrl+c."""
    return False


def read(loaded: LoadedModel, start: Snapshot | None, text: str) -> Snapshot:
    """The mind after some more text."""
    found: list[Snapshot] = ended(
        read_ids(loaded, start, loaded.tokenizer.encode(text), never, lambda *_: None)
    )
    return found[-1]


def document(facts: dict[str, str], n_words: int, chance: random.Random) -> str:
    """The facts in order of chance, with about `n_words` words of filler between them."""
    lines = [f"{name}'s house is {colour}. " for name, colour in facts.items()]
    chance.shuffle(lines)
    parts = []
    for line in lines:
        filler, n = [], 0
        while n < n_words / len(lines):
            filler.append(chance.choice(FILLER))
            n += len(filler[-1].split())
        parts += [*filler, line]
    return "".join(parts).strip() + "\n\n"


def score(
    loaded: LoadedModel, template: PromptTemplate, facts: dict[str, str], text: str, times: int
) -> Score:
    """Read `text` so many times, then ask for every fact on a fork of that state."""
    mind = None
    for _ in range(times):
        mind = read(loaded, mind, text)
    assert mind is not None, "it is read at least once"
    known = said = 0
    gain = 0.0
    for name, colour in facts.items():
        question = template.user_segment(f"What colour is {name}'s house?") + template.reply_prefix()
        asked, unread = read(loaded, mind, question), read(loaded, None, question)
        rises = {
            other: likelihood(loaded, asked, name, other) - likelihood(loaded, unread, name, other)
            for other in facts.values()
        }
        known += max(rises, key=lambda other: rises[other]) == colour
        others = [rise for other, rise in rises.items() if other != colour]
        gain += rises[colour] - sum(others) / len(others)
        said += colour in reply(loaded, asked, template).lower()
    return Score(mind.n_tokens, known, gain / len(facts), said)


def likelihood(loaded: LoadedModel, asked: Snapshot, name: str, colour: str) -> float:
    """The log-probability of an answer, but for its first token, which is the same for all."""
    answer = loaded.tokenizer.encode(f" {name}'s house is {colour}")
    return float(ended(log_likelihood(loaded, asked, answer, never)))


def reply(loaded: LoadedModel, asked: Snapshot, template: PromptTemplate) -> str:
    """The greedy reply."""
    request = GenerateRequest(
        prepare=lambda _: Prompt(asked, ()),
        params=SamplingParams(temperature=0, max_tokens=24, presence=0, frequency=0, seed=1),
        stops=template.stops,
        stop_on_end=template.end_token,
    )
    return str(ended(redraw(loaded, request, never)).text)


def main() -> None:
    """Print a table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("model", nargs="?", default=str(bundled_models() / "sprout"))
    parser.add_argument("--words", type=int, nargs="+", default=[0, 400, 1600], help="of filler")
    parser.add_argument("--seeds", type=int, default=3)
    args = parser.parse_args()
    loaded = load_model(Path(args.model))
    template = load_templates([bundled_prompts()]).default_for(loaded.info.card_family)
    print(f"{loaded.name}, {loaded.info.n_params / 1e6:.1f} M parameters, {args.seeds} documents a row")
    print("filler words   tokens read   readings   known of 20   gain, nats   said of 20")
    for n_words in args.words:
        for times in (1, 2):
            found = []
            for seed in range(args.seeds):
                chance = random.Random(seed)
                colours = list(COLOURS)
                chance.shuffle(colours)
                facts = dict(zip(NAMES, colours, strict=True))
                found.append(score(loaded, template, facts, document(facts, n_words, chance), times))
            rows = [(each.n_tokens, each.known, each.gain, each.said) for each in found]
            tokens, known, gain, said = (sum(values) / len(found) for values in zip(*rows, strict=True))
            print(
                f"{n_words:>12}   {tokens:>11.0f}   {times:>8}   {known:>11.1f}   {gain:>10.2f}   {said:>10.1f}",
                flush=True,
            )


if __name__ == "__main__":
    main()
