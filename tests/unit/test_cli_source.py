"""What must never be in the program: code that runs what a file says."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[2] / "chatrwkv"
SOURCES = sorted(PACKAGE.rglob("*.py"))
RUNNING = {"eval", "exec", "compile", "__import__"}
UNPICKLING = {
    ("pickle", "load"),
    ("pickle", "loads"),
    ("pickle", "Unpickler"),
    ("marshal", "loads"),
    ("dill", "load"),
}


def calls(path):
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Call):
            yield node


@pytest.mark.parametrize("path", SOURCES, ids=lambda p: p.relative_to(PACKAGE).as_posix())
def test_no_file_is_run_or_unpickled(path):
    """A checkpoint, a state, a template and a prompt file are data, whoever wrote them."""
    for call in calls(path):
        function = call.func
        if isinstance(function, ast.Name):
            assert function.id not in RUNNING, f"{path.name}:{call.lineno}"
        if isinstance(function, ast.Attribute) and isinstance(function.value, ast.Name):
            assert (function.value.id, function.attr) not in UNPICKLING, f"{path.name}:{call.lineno}"


def test_torch_load_is_told_weights_only_everywhere():
    found = 0
    for path in SOURCES:
        for call in calls(path):
            function = call.func
            if isinstance(function, ast.Attribute) and ast.unparse(function) == "torch.load":
                given = {k.arg: k.value for k in call.keywords}
                assert isinstance(given.get("weights_only"), ast.Constant), f"{path.name}:{call.lineno}"
                assert given["weights_only"].value is True, f"{path.name}:{call.lineno}"
                found += 1
    assert found
