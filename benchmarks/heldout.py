"""Makes `heldout.jsonl`: 2,000 positions of text that the built-in model has not seen, 250 from each source.

    python benchmarks/heldout.py --sources FOLDER [--model chatrwkv/builtin/NAME]

FOLDER is the one that `training.data` reads. Documents are taken from the held-out split of the training, in
the order of a hash, and cut after at most 128 tokens. Only sources whose licence lets excerpts be passed on
are used; `NOTICE` names them.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from chatrwkv.engine import WorldTokenizer
from chatrwkv.engine.tasks.examples import parse
from training import corpus

ROOT = Path(__file__).resolve().parent.parent
OUT = Path(__file__).with_name("heldout.jsonl")
EACH = 250
LONGEST = 128
# source of the training: licence of the excerpts
LICENCES = {
    "books_easy": "public domain",
    "fairytales": "public domain",
    "fairytale_qa": "Apache-2.0",
    "self_dialogue": "BSD-3-Clause",
    "synthetic_persona_chat": "CC BY 4.0",
    "byu_chitchat": "MIT",
    "voice": "MIT",
    "own": "Apache-2.0",
}


def held_out(folder, name):
    """The documents of one source that training never sees, as text."""
    if name == "own":
        documents = corpus.own_held_out()
    elif name == "voice":
        documents = corpus.voice(folder, corpus.banned_questions())
    elif name in {"books_easy", "fairytales"}:
        documents = corpus.prose(folder, name)
    else:
        documents = corpus.chats(folder, name, corpus.banned_questions())
    # the own text is split by wording, before the template is put around it
    kept = [d for d in documents if name == "own" or d.is_held_out]
    texts = {"".join(text for _, text in d.pieces) for d in kept}
    return sorted(texts, key=lambda text: hashlib.sha256(text.encode()).digest())


def positions(tokenizer, text):
    """How many tokens `evaluate` scores."""
    return sum(len(tokenizer.encode(piece)) for piece in parse({"text": text}).pieces)


def cut(tokenizer, text, n):
    """The longest beginning of `text` with at most `n` positions."""
    ids = tokenizer.encode(text)
    for end in range(min(n, len(ids)), 0, -1):
        start = b"".join(map(tokenizer.bytes_of, ids[:end])).decode("utf-8", "ignore")
        if positions(tokenizer, start) <= n:
            return start
    return ""


def chosen(tokenizer, texts):
    """Documents with `EACH` positions in all."""
    left, rows = EACH, []
    for text in texts:
        row = cut(tokenizer, text, min(LONGEST, left))
        if row and left - positions(tokenizer, row) != 1:  # one token alone would be no document
            rows.append(row)
            left -= positions(tokenizer, row)
        if not left:
            return rows
    raise SystemExit(f"only {EACH - left} positions of {EACH}")


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--sources", type=Path, required=True)
    parser.add_argument("--model", type=Path, default=ROOT / "chatrwkv" / "builtin" / "sprout")
    options = parser.parse_args()
    tokenizer = WorldTokenizer.from_file(options.model / "vocab.txt")
    with OUT.open("w", encoding="utf-8") as file:
        for name in LICENCES:
            rows = chosen(tokenizer, held_out(options.sources, name))
            for text in rows:
                file.write(json.dumps({"source": name, "text": text}, ensure_ascii=False) + "\n")
            print(f"{name}: {len(rows)} documents, {sum(positions(tokenizer, t) for t in rows)} positions")


if __name__ == "__main__":
    main()
