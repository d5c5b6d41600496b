"""What every test gets: no network, no real home, fixed seeds, one thread for torch, no thread left behind."""

from __future__ import annotations

import os
import random
import socket
import sys
import threading
import time
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import HealthCheck, settings

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

# torch reads these once, when it is imported, which nothing above does.
os.environ["OMP_NUM_THREADS"] = "1"  # two workers on two cores; more threads only fight
os.environ["MKL_NUM_THREADS"] = "1"
os.environ["TEXTUAL_ANIMATIONS"] = "none"
os.environ["HF_HUB_OFFLINE"] = "1"
os.environ["TZ"] = "UTC"
for _name in [name for name in os.environ if name.startswith("CHATRWKV_") and "TEST" not in name]:
    del os.environ[_name]
os.environ["CHATRWKV_NATIVE"] = "0"  # no test but those of the native path starts a compiler
for _name in ("COLUMNS", "LINES", "NO_COLOR", "FORCE_COLOR"):
    os.environ.pop(_name, None)

SEED = 20240424
LEAVE_S = 5.0  # how long a thread may take to end after its test
OURS = ("engine", "store-writer")

settings.register_profile("dev", max_examples=50, deadline=None, print_blob=True)
settings.register_profile(
    "ci",
    max_examples=200,
    deadline=None,  # CI machines stall; the time limit is pytest's
    derandomize=True,
    print_blob=True,
    suppress_health_check=[HealthCheck.too_slow],
)
settings.load_profile("ci" if os.environ.get("CI") else "dev")


class NetworkRefused(RuntimeError):
    """A test tried to leave the machine."""


_open_socket = socket.socket.__init__


def _refuse_network(
    self: socket.socket, family: int = -1, kind: int = -1, proto: int = -1, fileno: int | None = None
) -> None:
    # -1 is the default family, AF_INET; with a file number nothing new is opened.
    if fileno is None and family != socket.AF_UNIX:
        raise NetworkRefused(f"no network in tests (family {family})")
    _open_socket(self, family, kind, proto, fileno)


@pytest.fixture(scope="session", autouse=True)
def _no_network() -> Iterator[None]:
    patch = pytest.MonkeyPatch()
    patch.setattr(socket.socket, "__init__", _refuse_network)
    yield
    patch.undo()


@pytest.fixture(autouse=True)
def _own_home(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A test that writes to the real home destroys somebody's chats."""
    home = tmp_path_factory.mktemp("home")
    monkeypatch.setenv("HOME", str(home))
    for kind in ("CONFIG", "DATA", "STATE", "CACHE"):
        monkeypatch.setenv(f"XDG_{kind}_HOME", str(home / kind.lower()))
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(home / "run"))
    return home


@pytest.fixture(autouse=True)
def _fixed_seeds() -> None:
    random.seed(SEED)
    for name in ("numpy.random", "torch.random"):
        module: Any = sys.modules.get(name)
        if module is not None:
            (module.seed if name.startswith("numpy") else module.manual_seed)(SEED)


def _leaked(before: set[threading.Thread]) -> list[threading.Thread]:
    return [
        thread
        for thread in threading.enumerate()
        if thread not in before and thread.is_alive() and (not thread.daemon or thread.name.startswith(OURS))
    ]


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_runtest_protocol(item: pytest.Item) -> Iterator[None]:
    """Remember who was running before the fixtures of this test started anything."""
    item.stash[_THREADS] = set(threading.enumerate())
    return (yield)


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_runtest_teardown(item: pytest.Item) -> Iterator[None]:
    """After all fixtures are gone, no engine, store writer or other non-daemon thread may be left."""
    result = yield
    deadline = time.monotonic() + LEAVE_S
    for thread in _leaked(item.stash[_THREADS]):
        thread.join(max(0.0, deadline - time.monotonic()))
    left = _leaked(item.stash[_THREADS])
    if left:
        pytest.fail(f"threads left running: {', '.join(thread.name for thread in left)}")
    return result


_THREADS = pytest.StashKey[set[threading.Thread]]()
