"""The public surface of the engine: pinned, sorted, complete, and free of torch until it is used."""

from __future__ import annotations

import subprocess
import sys

from chatrwkv import engine


def test_every_public_name_resolves_and_is_listed():
    """A lazy name that points nowhere fails in front of the user, not at import."""
    assert set(engine.__all__) == set(engine._HOME_OF)
    for name in engine.__all__:
        assert getattr(engine, name) is not None
    assert set(dir(engine)) == set(engine.__all__)


def test_importing_the_engine_imports_no_torch():
    """torch takes two seconds, nine when cold; the first paint must not wait for it."""
    code = (
        "import sys; import chatrwkv.engine, chatrwkv.engine.spec, chatrwkv.engine.params, chatrwkv.engine.events,"
        "chatrwkv.engine.identity, chatrwkv.engine.statefile, chatrwkv.engine.memory;"
        "assert 'torch' not in sys.modules and 'textual' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)
