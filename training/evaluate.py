"""Measures a model: bits a byte by source, and sixty fixed prompts with graded expectations.

    python -m training.evaluate --model chatrwkv/builtin/sprout --data /path/of/rows --out results.json

The prompts are half common ones (they may be in the training text) and half held-out wordings (a test
checks that none is). Each is asked with three seeds at the built-in template's own sampling.
"""

from __future__ import annotations

import argparse
import json
import math
import re
import tempfile
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from chatrwkv.engine import LoadedModel, load_model
from training import export, fast7, folders
from training.chatting import Answer, reply, talk
from training.corpus import PAD, plain_texts
from training.train import Arrays, load_rows
from training.vocab import Vocabulary

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

SEEDS = (1, 2, 3)
FIRST_TEN = (
    "hello",
    "how are you",
    "what is your name",
    "what can you do",
    "tell me a story",
    "why is the sky blue",
    "what is 2+3",
    "thanks",
    'translate "good night" into spanish',
    "bye",
)
"""What a person types first."""
_WORD = re.compile(r"[A-Za-z']+")


@dataclass(frozen=True, slots=True)
class Prompt:
    """A conversation that ends with the user, and what a good answer looks like."""

    id: str
    kind: str
    turns: tuple[tuple[str, str], ...]
    wanted: tuple[str, ...]
    unwanted: tuple[str, ...]
    max_words: int

    def passes(self, answer: Answer) -> bool:
        """Whether one of the wanted patterns is there, none of the unwanted, and the reply ends in time."""
        text = answer.text
        return (
            answer.ended
            and len(text.split()) <= self.max_words
            and any(re.search(pattern, text, re.IGNORECASE) for pattern in self.wanted)
            and not any(re.search(pattern, text, re.IGNORECASE) for pattern in self.unwanted)
        )


def load_prompts(path: Path) -> list[Prompt]:
    """The prompts of one file."""
    found = []
    for line in path.read_text(encoding="utf-8").splitlines():
        row: dict[str, Any] = json.loads(line)
        expect = row["expect"]
        turns = tuple((str(role), str(text)) for role, text in row["turns"])
        found.append(
            Prompt(
                row["id"],
                row["kind"],
                turns,
                tuple(expect["any"]),
                tuple(expect["none"]),
                expect["max_words"],
            )
        )
    return found


@torch.no_grad()
def bits_per_byte(weights: Mapping[str, torch.Tensor], rows: Arrays, vocabulary: Vocabulary) -> float:
    """Bits a byte over all text of the rows, in float32."""
    lengths = torch.tensor([len(entry) for entry in vocabulary.entries])
    nats = n_bytes = 0.0
    for at in range(0, len(rows["ids"]), 8):
        ids, targets, roles, starts = (
            torch.from_numpy(rows[name][at : at + 8].astype("int64"))
            for name in ("ids", "targets", "roles", "starts")
        )
        hidden = fast7.forward(weights, ids, starts)
        losses = fast7.token_losses(hidden, weights["head.weight"], targets)
        counts = (roles != PAD) & (targets != 0)
        nats += float((losses * counts).sum())
        n_bytes += float((lengths[targets] * counts).sum())
    return nats / math.log(2) / n_bytes


def repetition(texts: Iterable[str]) -> float:
    """Share of four-word runs that appeared earlier in the same text."""
    total = repeated = 0
    for text in texts:
        words = text.lower().split()
        runs = Counter(tuple(words[i : i + 4]) for i in range(len(words) - 3))
        total += sum(runs.values())
        repeated += sum(n - 1 for n in runs.values())
    return repeated / max(1, total)


def known_words(texts: Iterable[str], dictionary: frozenset[str]) -> float:
    """Share of words that the dictionary has."""
    words = [word.lower().strip("'") for text in texts for word in _WORD.findall(text)]
    return sum(word in dictionary for word in words) / max(1, len(words))


def dictionary_of(
    vocabulary: Vocabulary, tests: Mapping[str, Arrays], extra: Iterable[str]
) -> frozenset[str]:
    """Words of the held-out text of every source and of further texts."""
    texts = list(extra)
    for rows in tests.values():
        texts += [vocabulary.decode(row) for row in rows["ids"].tolist()]
    return frozenset(word.lower().strip("'") for text in texts for word in _WORD.findall(text))


def ask_all(loaded: LoadedModel, prompts: Sequence[Prompt]) -> list[dict[str, Any]]:
    """Every prompt with every seed: the answer, and whether it passes."""
    found = []
    for seed in SEEDS:
        for prompt, answer in zip(prompts, reply(loaded, [p.turns for p in prompts], seed), strict=True):
            found.append(
                {
                    "id": prompt.id,
                    "kind": prompt.kind,
                    "seed": seed,
                    "ask": prompt.turns[-1][1],
                    "reply": answer.text,
                    "ended": answer.ended,
                    "passed": prompt.passes(answer),
                }
            )
    return found


def summary(asked: Sequence[dict[str, Any]]) -> dict[str, float]:
    """Passed and ended shares of a list of answers."""
    n = max(1, len(asked))
    return {
        "passed": sum(row["passed"] for row in asked) / n,
        "ended": sum(row["ended"] for row in asked) / n,
        "prompts_passed_mean": sum(row["passed"] for row in asked) / len(SEEDS),
    }


def evaluate(folder: Path, tests: Mapping[str, Arrays], texts: Iterable[str] = ()) -> dict[str, Any]:
    """All figures of the model in a folder."""
    loaded = load_model(folder, device="cpu")
    vocabulary = Vocabulary(folder / "vocab.txt")
    results: dict[str, Any] = {"asked": {}, "score": {}}
    for name in ("common", "heldout"):
        asked = ask_all(loaded, load_prompts(folders.EVAL / f"prompts_{name}.jsonl"))
        results["asked"][name] = asked
        results["score"][name] = summary(asked)
    replies = [row["reply"] for asked in results["asked"].values() for row in asked]
    results["repetition"] = repetition(replies)
    results["known_words"] = known_words(replies, dictionary_of(vocabulary, tests, texts))
    weights = {name: t.float() for name, t in export.read_model(folder).items()}
    results["bits_per_byte"] = {
        name: bits_per_byte(weights, rows, vocabulary) for name, rows in tests.items()
    }
    results["first_ten"] = talk(loaded, FIRST_TEN, SEEDS[0])
    return results


def main() -> None:
    """The command."""
    parser = argparse.ArgumentParser(
        prog="python -m training.evaluate", description=__doc__.split("\n", 1)[0]
    )
    parser.add_argument(
        "--model", type=Path, default=folders.BUILTIN / folders.NAME, help="folder, or weights (.pt)"
    )
    parser.add_argument("--vocab", type=Path, default=folders.VOCABULARY, help="needed for weights alone")
    parser.add_argument("--data", type=Path, default=folders.ROWS, help="folder with test-*.npz")
    parser.add_argument("--out", type=Path, default=folders.RESULTS)
    options = parser.parse_args()
    torch.set_num_threads(1)
    tests = {
        path.stem.removeprefix("test-"): load_rows(path) for path in sorted(options.data.glob("test-*.npz"))
    }
    with tempfile.TemporaryDirectory() as work:
        folder: Path = options.model
        if not folder.is_dir():
            export.write_model(Path(work) / folders.NAME, export.load_weights(folder), options.vocab)
            folder = Path(work) / folders.NAME
        results = evaluate(folder, tests, plain_texts())
    options.out.write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")
    for name in ("common", "heldout"):
        for row in results["asked"][name]:
            if row["seed"] == SEEDS[0]:
                print(f"{'+' if row['passed'] else '-'} {row['id']} {row['ask']} -> {row['reply']}")
    print({key: results[key] for key in ("score", "repetition", "known_words", "bits_per_byte")})
    for role, text in results["first_ten"]:
        print(f"{role}: {text}")


if __name__ == "__main__":
    main()
