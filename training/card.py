"""Writes the model card: what the model is, what it is made of, and what an evaluation measured."""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

SOURCES: tuple[tuple[str, str, str, str], ...] = (
    (
        "own",
        "written for this project: intents, question-answer pairs, generators",
        "Apache-2.0",
        "training/text",
    ),
    ("voice", "Microsoft Personality Chat, friendly voice", "MIT", "small talk"),
    ("self_dialogue", "Self-dialogue corpus", "BSD-3-Clause", "open chat"),
    ("synthetic_persona_chat", "Synthetic-Persona-Chat", "CC BY 4.0", "open chat"),
    ("topical_chat", "Alexa Topical-Chat", "CDLA-Sharing-1.0", "open chat"),
    ("byu_chitchat", "chitchat-dataset 0.9.0 (BYU), names removed by a filter", "MIT", "open chat"),
    ("openassistant_100trees", "Open-Assistant evaluation trees", "Apache-2.0", "instructions"),
    ("fairytale_qa", "FairytaleQA", "Apache-2.0", "questions about a story"),
    ("fairytales", "the stories of FairytaleQA", "public domain", "prose"),
    ("books_easy", "children's and adventure classics", "public domain (US)", "prose"),
    (
        "refused questions",
        "questions of databricks-dolly-15k and of WebQuestions, **without their answers**",
        "CC BY-SA 3.0, CC BY 4.0",
        "each is answered `I do not know`",
    ),
)

_INTRO = """# {name}

The small built-in demo model of chatrwkv. It lets the program run offline on first start: every part of the
application (streaming, branches, saved states, sampling) works with it, and it answers simple things in
clear English. It is **not** an assistant: it has {millions:.1f} million parameters, about a thousandth of a small
modern chat model.

| | |
|---|---|
| architecture | RWKV-7 ("Goose"), {layers} layers, width {width}, heads of 64 |
| parameters | {n_params:,} |
| file | safetensors, bfloat16, {megabytes:.1f} MB |
| vocabulary | own, {n_vocab:,} ids, World file format (`vocab.txt`), id 0 ends a text |
| embeddings | `model.embed`: mean and deviation of every channel over 2,520 lines of 21 public sources in equal shares |
| context in training | 512 tokens, documents start from a blank state |
| language | English |
| template | `User: ...` blank line `Assistant: ...` blank line |
| licence | Apache-2.0, as the program |

## What it can do

Greetings and small talk; say what it is; explain the keys of this program; short stories and jokes; simple
facts (capitals, animals, opposites, days and months, a few words of Spanish, French, German and Italian);
sums up to about 20; remember a name, a liking or a colour from earlier in the chat; say that it does not know.

It cannot write code or long texts, knows little of the world, follows no complicated instruction, and states
wrong things with confidence. Do not rely on anything it says.

## A larger model

Download a `.pth` file from `BlinkDL/rwkv7-g1` on Hugging Face and put it into the models folder that
`chatrwkv paths` prints; `ctrl+l` in the program lists it.
"""


def _sources(tokens: Mapping[str, int]) -> list[str]:
    lines = ["## Training text", "", "| source | use | licence | tokens seen |", "|---|---|---|---|"]
    for key, title, licence, kind in SOURCES:
        seen = f"{tokens[key] / 1e6:.2f} M" if key in tokens else "part of own"
        lines.append(f"| {title} | {kind} | {licence} | {seen} |")
    lines.append("")
    lines.append("Weights are not a copy of the text; where a licence asks for attribution, this table and")
    lines.append("`NOTICE` give it. Filters: a short profanity list, finished sentences, no private names.")
    return lines


def _scores(results: Mapping[str, Any]) -> list[str]:
    lines = ["## Evaluation", ""]
    lines.append(
        "Sixty fixed prompts, each with three seeds at the template's own sampling, graded by patterns"
    )
    lines.append("(`training/eval`). The held-out wordings are in no training text; a test checks that.")
    lines += [
        "",
        "| | prompts passed (of 30) | share | replies that end by themselves |",
        "|---|---|---|---|",
    ]
    for key, title in (("common", "common prompts"), ("heldout", "held-out wordings")):
        score = results["score"][key]
        lines.append(
            f"| {title} | {score['prompts_passed_mean']:.1f} | {score['passed']:.0%} | {score['ended']:.0%} |"
        )
    lines += ["", _by_kind(results), ""]
    lines.append(f"Known words in the replies: {results['known_words']:.1%}. ")
    lines[-1] += f"Repeated runs of four words: {results['repetition']:.1%}."
    lines += ["", "| held-out text | bits a byte |", "|---|---|"]
    lines += [f"| {name} | {value:.3f} |" for name, value in sorted(results["bits_per_byte"].items())]
    return lines


def _by_kind(results: Mapping[str, Any]) -> str:
    counts: dict[str, list[bool]] = defaultdict(list)
    for asked in results["asked"].values():
        for row in asked:
            counts[row["kind"]].append(bool(row["passed"]))
    parts = (f"{kind} {sum(passed) / len(passed):.0%}" for kind, passed in sorted(counts.items()))
    return "Passed by kind: " + ", ".join(parts) + "."


def _transcripts(results: Mapping[str, Any]) -> list[str]:
    lines = ["## Ten first messages, one chat", ""]
    lines += [
        f"> **{'You' if role == 'user' else 'Model'}:** {text}  " for role, text in results["first_ten"]
    ]
    lines += ["", "## All graded replies", "", "+ passed, - failed; one line a seed."]
    for key in ("common", "heldout"):
        by_id: dict[str, list[Mapping[str, Any]]] = defaultdict(list)
        for row in results["asked"][key]:
            by_id[row["id"]].append(row)
        lines.append("")
        for rows in by_id.values():
            lines.append(f"* `{rows[0]['id']}` {rows[0]['ask']}")
            lines += _replies(rows)
    return lines


def _replies(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    return [f"  * {'+' if row['passed'] else '-'} {' '.join(str(row['reply']).split())}" for row in rows]


def render(shape: Mapping[str, Any], results: Mapping[str, Any], facts: Mapping[str, Any]) -> str:
    """The card.

    Args:
        shape: name, n_params, layers, width, n_vocab, megabytes.
        results: of `training.evaluate`; empty leaves the figures out.
        facts: `tokens` by source and `run`, a text on how it was trained.
    """
    lines = [_INTRO.format(**shape, millions=shape["n_params"] / 1e6)]
    lines += _sources(facts.get("tokens", {}))
    if facts.get("run"):
        lines += ["", "## Training run", "", *facts["run"]]
    if results:
        lines += ["", *_scores(results), "", *_transcripts(results)]
    return "\n".join(lines) + "\n"
