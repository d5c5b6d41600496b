"""The museum: tiny models of seven generations on the same text, written beside the built-in model.

    python -m training.museum heldout --sources ../shared/data --vocab vocab.txt --data ROWS
    python -m training.museum export --runs RUNS --vocab vocab.txt

`heldout` takes a few documents from the held-out split for `heldout.jsonl` and counts the pairs of tokens of
the training rows: the bigram model that each exhibit has to beat. `export` writes the weights of
`RUNS/run-GENERATION/best.pt` in bfloat16, and the card with what each measures.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import math
import shutil
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from safetensors.torch import save_file

from training import corpus, folders
from training.corpus import PAD
from training.data import read_sources
from training.export import load_weights, prepared
from training.generations import RECIPES
from training.train import load_rows
from training.vocab import Vocabulary

if TYPE_CHECKING:
    from collections.abc import Iterable

    from training.corpus import Document
    from training.train import Arrays

FOLDER = folders.BUILTIN / "museum"
BIGRAM = folders.EVAL / "museum_bigram.npz"
MAX_BYTES = 1_500_000
HELD_OUT = {"own": 36, "synthetic_persona_chat": 4, "voice": 4, "fairytales": 2}
"""Documents of each source: about the shares of the training mix."""
_DISCOUNT = 0.75  # of absolute discounting, the usual value


class Bigram:
    """A bigram model with absolute discounting and Kneser-Ney's lower order: the best of its kind.

    Args:
        counts: (V, V), how often the second followed the first.
    """

    def __init__(self, counts: np.ndarray) -> None:
        seen = counts > 0
        total = np.maximum(counts.sum(1, keepdims=True), 1)
        lower = seen.sum(0) + 0.5
        rest = np.where(counts.sum(1, keepdims=True) > 0, _DISCOUNT * seen.sum(1, keepdims=True) / total, 1.0)
        self._p = np.maximum(counts - _DISCOUNT, 0) / total + rest * lower / lower.sum()

    @classmethod
    def load(cls, path: Path = BIGRAM) -> Bigram:
        """From the counts that `heldout` wrote."""
        with np.load(path) as file:
            counts = np.zeros(int(file["n_vocab"]) ** 2)
            counts[np.cumsum(file["steps"])] = file["counts"]
        return cls(counts.reshape(math.isqrt(len(counts)), -1))

    def bits_per_byte(self, texts: Iterable[str], vocabulary: Vocabulary) -> float:
        """Of documents that each begin behind an id 0, as `chatrwkv eval` measures."""
        nats, n_bytes = 0.0, 0
        for text in texts:
            ids = [0, *vocabulary.encode(text)]
            nats -= float(np.log(self._p[ids[:-1], ids[1:]]).sum())
            n_bytes += len(text.encode())
        return nats / math.log(2) / n_bytes


def count_pairs(rows: Arrays, n_vocab: int) -> np.ndarray:
    """(V, V) counts over the rows, and of what begins a document behind an id 0."""
    counts = np.zeros((n_vocab, n_vocab))
    real = (rows["roles"] != PAD) | (rows["ids"] == 0) & (rows["targets"] != 0)
    np.add.at(counts, (rows["ids"][real], rows["targets"][real]), 1)
    return counts


def save_counts(path: Path, counts: np.ndarray) -> None:
    """Sparse: the distance to each next pair that occurred, and how often it did."""
    places = np.flatnonzero(counts)
    steps = np.diff(places, prepend=0)
    np.savez_compressed(
        path,
        n_vocab=len(counts),
        steps=steps.astype(np.uint32),
        counts=counts.flat[places].astype(np.uint32),
    )


def held_out_lines(sources: Path) -> list[dict[str, str]]:
    """The documents, in the order of a hash, none longer than a row of training is."""
    found = read_sources(sources, HELD_OUT, corpus.banned_questions())
    lines = []
    for name, n in HELD_OUT.items():
        documents: list[Document] = (
            corpus.own_held_out() if name == "own" else [d for d in found[name] if d.is_held_out]
        )
        texts = {"".join(text for _, text in document.pieces) for document in documents}
        order = sorted(texts, key=lambda text: hashlib.sha256(text.encode()).digest())
        lines += [{"source": name, "text": text} for text in [t for t in order if len(t) < 1000][:n]]
    return lines


def write_exhibit(generation: str, run: Path) -> Path:
    """The best weights of a run as a model of the museum."""
    target = FOLDER / f"museum-{generation}.safetensors"
    save_file(prepared(load_weights(run / "best.pt")), target, metadata={"format": "pt", "name": target.stem})
    target.chmod(0o644)
    if target.stat().st_size > MAX_BYTES:
        raise ValueError(
            f"{target} has {target.stat().st_size} bytes; at most {MAX_BYTES} go into the museum"
        )
    return target


def measure(path: Path, held_out: Path) -> dict[str, float | int]:
    """What the card says of one exhibit."""
    from chatrwkv.engine import load_model
    from chatrwkv.engine.tasks.evaluate import evaluate
    from chatrwkv.engine.tasks.examples import read_examples

    loaded = load_model(path, device="cpu", dtype="fp32")
    return {
        "layers": loaded.info.n_layer,
        "parameters": loaded.info.n_params,
        "bytes": path.stat().st_size,
        "state": loaded.info.state_bytes,
        "bits": evaluate(loaded, read_examples(held_out)).bits_per_byte,
    }


def card(found: dict[str, dict[str, float | int]], bigram: float, run: str) -> str:
    """The model card."""
    rows = [
        f"| RWKV-{generation} | {m['layers']} | {m['parameters']:,} | {m['bytes'] / 1e6:.2f} MB |"
        f" {m['state'] / 1e3:.1f} kB | {m['bits']:.3f} | {-100 * (1 - m['bits'] / bigram):+.0f} % |"
        for generation, m in found.items()
    ]
    return _CARD.format(rows="\n".join(rows), bigram=f"{bigram:.3f}", run=run)


_CARD = """# The museum

Seven tiny language models, one of each generation of RWKV from 2021 on, trained on the same text in the same
order: `chatrwkv museum`, or `/museum` in the app, asks them all the same. They are toys that show how the
architectures differ and that the engine runs each of them; for talking there is `sprout`, and larger models.

| generation | layers | parameters | file | state | bits a byte, held out | against the bigram |
|---|---|---|---|---|---|---|
{rows}
| bigram of the same vocabulary | | | | | {bigram} | |

Width 96, heads of 32, bfloat16. The state of RWKV-1 grows with the text, up to its context of 256 tokens; that
of the others has one size for ever. Less is better; the differences between the generations at this size and
after so short a training say little about them at real sizes.

## Training

{run}

Muon for the matrices of the blocks, AdamW for the rest, cosine from 6e-3 to 1e-4, the author's initialisation of
each generation, float32, one core of a shared CPU; the same rows in the same order for all. `training/README.md`
says how.

## Vocabulary

768 ids in the World file format (`vocab.txt`), id 0 ends a text; 2.8 bytes a token.

## Training text

| source | share of the tokens | licence |
|---|---|---|
| written for this project (`training/text`) | 76 % | Apache-2.0 |
| Synthetic-Persona-Chat | 12 % | CC BY 4.0 |
| the stories of FairytaleQA | 8 % | public domain |
| Microsoft Personality Chat, friendly voice | 4 % | MIT |

`heldout.jsonl` has documents of the same four sources that no training saw, under their licences. The weights
are under Apache-2.0, as the program is; `NOTICE` gives the attributions.
"""


def main() -> None:
    """The command."""
    parser = argparse.ArgumentParser(prog="python -m training.museum", description=__doc__.split("\n", 1)[0])
    what = parser.add_subparsers(dest="what", required=True)
    held_out = what.add_parser("heldout", help="the held-out text and the bigram")
    held_out.add_argument("--sources", type=Path, required=True, help="folder with chat/ and text/")
    held_out.add_argument("--data", type=Path, default=folders.ROWS)
    export = what.add_parser("export", help="weights and card")
    export.add_argument("--runs", type=Path, default=folders.WORK, help="folder with run-1 to run-7")
    export.add_argument("--run", default="", help="a sentence for the card: steps and tokens")
    for each in (held_out, export):
        each.add_argument("--vocab", type=Path, default=folders.VOCABULARY)
    options = parser.parse_args()
    FOLDER.mkdir(exist_ok=True)
    if options.vocab.resolve() != (FOLDER / "vocab.txt").resolve():
        shutil.copyfile(options.vocab, FOLDER / "vocab.txt")
    vocabulary, lines_file = Vocabulary(FOLDER / "vocab.txt"), FOLDER / "heldout.jsonl"
    if options.what == "heldout":
        lines = held_out_lines(options.sources)
        lines_file.write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8")
        save_counts(BIGRAM, count_pairs(load_rows(options.data / "train.npz"), len(vocabulary.entries)))
        return
    texts = [json.loads(line)["text"] for line in lines_file.read_text(encoding="utf-8").splitlines()]
    bigram = Bigram.load().bits_per_byte(texts, vocabulary)
    found = {g: measure(write_exhibit(g, options.runs / f"run-{g}"), lines_file) for g in RECIPES}
    (FOLDER / "CARD.md").write_text(card(found, bigram, options.run), encoding="utf-8")
    print(json.dumps({"bigram": bigram} | found, indent=2))


if __name__ == "__main__":
    main()
