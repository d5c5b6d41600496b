"""Which modules may load what: a static graph cannot see a deferred import, so this one asks Python."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

TORCH_FREE = [
    "chatrwkv",
    "chatrwkv.cli",
    "chatrwkv.config",
    "chatrwkv.text",
    "chatrwkv.paths",
    "chatrwkv.engine",
    "chatrwkv.engine.events",
    "chatrwkv.engine.identity",
    "chatrwkv.engine.params",
    "chatrwkv.engine.request",
    "chatrwkv.engine.spec",
    "chatrwkv.engine.worker",
    "chatrwkv.chat.session",
    "chatrwkv.chat.workspace",
    "chatrwkv.tui.app",
]


def loaded_after(code: str) -> set[str]:
    program = f"import sys\n{code}\nprint(' '.join(sorted(sys.modules)))"
    environ = {**os.environ, "PYTHONWARNINGS": "error"}
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True, env=environ
    )
    assert not done.stderr
    return set(done.stdout.splitlines()[-1].split())  # a command may have printed before


@pytest.mark.parametrize("module", TORCH_FREE)
def test_importing_it_does_not_load_torch(module):
    """`import torch` takes seconds; the first screen and `--help` must not wait for it."""
    assert "torch" not in loaded_after(f"import {module}")


@pytest.mark.parametrize(
    "module", ["chatrwkv.engine.model", "chatrwkv.engine.worker", "chatrwkv.chat.workspace"]
)
def test_engine_and_chat_do_not_load_a_terminal(module):
    """Both must serve without Textual: in pipes, in tests and in other programs."""
    assert not {"textual", "rich"} & loaded_after(f"import {module}")


@pytest.mark.parametrize("flags", [["--version"], ["--help"], ["run", "--help"], ["paths"]])
def test_light_commands_load_neither_torch_nor_textual(flags):
    code = f"import chatrwkv.cli\ntry:\n    chatrwkv.cli.main({flags!r})\nexcept SystemExit:\n    pass"
    modules = loaded_after(code)
    assert not {"torch", "textual"} & modules


def test_the_engine_imports_torch_without_what_only_compiling_needs_until_something_compiles():
    """A third of `import torch`; the compiler must find it as if torch had been imported whole."""
    start = "from chatrwkv.engine.importing import import_torch; import_torch(); import torch"
    assert "torch._meta_registrations" not in loaded_after(start)
    compiled = (
        "f = torch.compile(lambda x: (x @ x).sum(), backend='aot_eager'); assert f(torch.ones(2, 2)) == 8"
    )
    assert {"torch._dynamo", "torch._meta_registrations"} <= loaded_after(f"{start}\n{compiled}")
