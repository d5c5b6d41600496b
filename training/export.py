"""Writes trained weights as the built-in model: bfloat16 safetensors, the vocabulary, the model card.

python -m training.export --weights RUN/best.pt --vocab vocab.txt --results results.json
"""

from __future__ import annotations

import argparse
import json
import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from training import card, folders

if TYPE_CHECKING:
    from collections.abc import Mapping

MAX_BYTES = 30_000_000


def load_weights(path: Path) -> dict[str, Tensor]:
    """The weights of `best.pt`, or of a full checkpoint `last.pt`."""
    state: dict[str, Any] = torch.load(path, weights_only=True)
    weights: dict[str, Tensor] = state.get("weights", state)
    return weights


def prepared(weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """What goes into the file: bfloat16, without the unused v0, v1, v2 of block 0."""
    unused = {f"blocks.0.att.v{i}" for i in range(3)}
    return {
        name: t.detach().to(torch.bfloat16).contiguous() for name, t in weights.items() if name not in unused
    }


def write_model(folder: Path, weights: Mapping[str, Tensor], vocab: Path) -> int:
    """Model and vocabulary into a folder; returns the bytes of the model file."""
    folder.mkdir(parents=True, exist_ok=True)
    target = folder / "model.safetensors"
    save_file(prepared(weights), target, metadata={"format": "pt", "name": folder.name})
    if vocab.resolve() != (folder / "vocab.txt").resolve():
        shutil.copyfile(vocab, folder / "vocab.txt")
    target.chmod(0o644)  # safetensors leaves it readable by its owner only
    size = target.stat().st_size
    if size > MAX_BYTES:
        raise ValueError(f"{target} has {size} bytes; at most {MAX_BYTES} go into the repository")
    return size


def read_model(folder: Path) -> dict[str, Tensor]:
    """The tensors of an exported model; the unused ones of block 0 are zeros again."""
    weights: dict[str, Tensor] = load_file(folder / "model.safetensors")
    for i in range(3):
        name = f"att.v{i}"
        weights.setdefault(f"blocks.0.{name}", torch.zeros_like(weights[f"blocks.1.{name}"]))
    return weights


def main() -> None:
    """The command."""
    parser = argparse.ArgumentParser(prog="python -m training.export", description=__doc__.split("\n", 1)[0])
    parser.add_argument("--weights", type=Path, default=folders.RUN / "best.pt")
    parser.add_argument("--vocab", type=Path, default=folders.VOCABULARY)
    parser.add_argument("--results", type=Path, help="results.json of training.evaluate, for the card")
    parser.add_argument(
        "--facts", type=Path, help="json: tokens by source, and lines on the run, for the card"
    )
    parser.add_argument("--out", type=Path, default=folders.BUILTIN / folders.NAME)
    options = parser.parse_args()
    weights = load_weights(options.weights)
    size = write_model(options.out, weights, options.vocab)
    results, facts = (
        json.loads(path.read_text(encoding="utf-8")) if path else {}
        for path in (options.results, options.facts)
    )
    shape = {
        "name": options.out.name,
        "n_params": sum(t.numel() for t in prepared(weights).values()),
        "layers": 1 + max(int(name.split(".")[1]) for name in weights if name.startswith("blocks.")),
        "width": weights["emb.weight"].shape[1],
        "n_vocab": weights["emb.weight"].shape[0],
        "megabytes": size / 1e6,
    }
    (options.out / "CARD.md").write_text(card.render(shape, results, facts), encoding="utf-8")
    print(f"{options.out.name}: {shape['n_params'] / 1e6:.2f} M parameters, {size / 1e6:.1f} MB")


if __name__ == "__main__":
    main()
