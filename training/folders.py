"""Where the making of the model keeps its work: outside the repository unless a flag says otherwise."""

from __future__ import annotations

from pathlib import Path

from platformdirs import user_cache_path

WORK: Path = user_cache_path("chatrwkv") / "training"
VOCABULARY = WORK / "vocab.txt"
ROWS = WORK / "main"
RUN = WORK / "run"
RESULTS = WORK / "results.json"
EVAL = Path(__file__).parent / "eval"
BUILTIN = Path(__file__).resolve().parents[1] / "chatrwkv" / "builtin"
NAME = "sprout"
"""The built-in model's name, and its folder in `BUILTIN`."""
