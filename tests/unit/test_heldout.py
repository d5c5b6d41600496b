"""The held-out text and the table of the README that is made from it."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path

from chatrwkv.engine.tasks.examples import Text, read_examples
from chatrwkv.engine.tokens.tokenizer import WorldTokenizer
from chatrwkv.paths import bundled_models

ROOT = Path(__file__).parents[2]
FILE = ROOT / "benchmarks" / "heldout.jsonl"


def test_shares_of_the_sources_are_equal_and_own_text_is_at_most_a_quarter():
    """A mean over mostly template text would flatter every precision."""
    (model,) = (folder for folder in bundled_models().iterdir() if (folder / "model.safetensors").is_file())
    tokenizer = WorldTokenizer.from_file(model / "vocab.txt")
    count: Counter[str] = Counter()
    for example in read_examples(FILE):
        assert isinstance(example, Text)
        count[example.source] += sum(len(tokenizer.encode(piece)) for piece in example.pieces)
    total = sum(count.values())
    assert 1900 <= total <= 2100
    assert all(abs(n * len(count) / total - 1) <= 0.1 for n in count.values())
    assert count["own"] <= total / 4


def test_every_source_is_named_with_its_licence():
    notice = (ROOT / "NOTICE").read_text("utf-8")
    sources = {json.loads(line)["source"] for line in FILE.read_text("utf-8").splitlines()}
    assert all(f"{source} " in notice or f"{source}," in notice for source in sources)


def test_readme_has_a_table_of_the_model_that_is_built_in():
    """A new model without a new table leaves numbers that nobody can measure again."""
    text = (ROOT / "README.md").read_text("utf-8")
    block = text.split("<!-- precision -->")[1].split("<!-- /precision -->")[0]
    (model,) = (
        folder.name for folder in bundled_models().iterdir() if (folder / "model.safetensors").is_file()
    )
    assert f"`{model}`" in block
    for dtype in ("fp32", "bf16", "fp16", "int8", "int4"):
        assert f"\n| {dtype} |" in block
