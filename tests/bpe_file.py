"""A small tokenizer in the form of the published `20B_tokenizer.json`."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from chatrwkv.engine.tokens.bpe import _character

if TYPE_CHECKING:
    from pathlib import Path

NEWLINE, SPACE = _character(0x0A), _character(0x20)
MERGES = [(NEWLINE, NEWLINE), (NEWLINE + NEWLINE, NEWLINE), ("h", "i"), (SPACE, "a")]


def added(token_id: int, content: str, *, special: bool) -> dict[str, object]:
    flags = {"single_word": False, "lstrip": False, "rstrip": False, "normalized": False}
    return {"id": token_id, "content": content, "special": special, **flags}


def write(path: Path) -> Path:
    """Id 0 is the end of text, 1..256 the bytes, then the merges and a run of spaces."""
    vocabulary = {"<|endoftext|>": 0}
    vocabulary |= {_character(byte): byte + 1 for byte in range(256)}
    vocabulary |= {"".join(pair): 257 + i for i, pair in enumerate(MERGES)}
    content = {
        "version": "1.0",
        "added_tokens": [added(0, "<|endoftext|>", special=True), added(261, "    ", special=False)],
        "normalizer": {"type": "NFC"},
        "pre_tokenizer": {
            "type": "ByteLevel",
            "add_prefix_space": False,
            "trim_offsets": True,
            "use_regex": True,
        },
        "decoder": {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": True},
        "model": {"type": "BPE", "vocab": vocabulary, "merges": [" ".join(pair) for pair in MERGES]},
    }
    path.write_text(json.dumps(content), encoding="utf-8")
    return path
