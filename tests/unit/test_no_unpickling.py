"""Nothing in the program unpickles a file, whatever it is called there."""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
# `pickle.Unpickler` is for `engine/pickled.py` alone, whose subclass never looks a name up
FORBIDDEN = re.compile(
    r"weights_only\s*=\s*False|[Pp]ickle\.loads?\b|import\s+pickle\s+as|from\s+_?pickle\s+import.*\bloads?\b"
    r"|Unpickler|read_pickle|allow_pickle\s*=\s*True|\b(shelve|marshal|dill|joblib|cloudpickle)\b"
    r"|torch\.load\((?![^)]*weights_only\s*=\s*True)"
)
ALLOWED = {"chatrwkv/engine/pickled.py": "pickle.Unpickler"}


def test_no_file_of_the_program_unpickles():
    """A downloaded model that runs code is the worst thing this program could do."""
    found = []
    for folder in ("chatrwkv", "training", "benchmarks", "scripts"):
        for path in sorted((ROOT / folder).rglob("*.py")):
            name, text = str(path.relative_to(ROOT)), path.read_text(encoding="utf-8")
            text = text.replace(ALLOWED.get(name, "\0"), "")
            found += [f"{name}: {match[0]}" for match in FORBIDDEN.finditer(text)]
    assert not found


def test_the_pattern_finds_what_it_is_for():
    """A pattern that matches nothing would pass for ever."""
    for text in (
        "torch.load(path)",
        "torch.load(path, weights_only=False)",
        "pickle.load(file)",
        "pickle.loads(raw)",
        "pickle.Unpickler(file)",
        "np.load(path, allow_pickle=True)",
        "map(pickle.loads, rows)",
        "from pickle import dumps, loads",
        "import pickle as p",
        "pd.read_pickle(path)",
    ):
        assert FORBIDDEN.search(text), text
    assert not FORBIDDEN.search("torch.load(path, mmap=True, weights_only=True)")
