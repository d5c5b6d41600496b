"""Compiles a kernel file for an architecture with nvcc; the log is kept by the hash of what it depends on."""

from __future__ import annotations

import fcntl
import hashlib
import re
import shutil
import subprocess
from dataclasses import dataclass
from typing import TYPE_CHECKING

from chatrwkv.cuda import abi
from chatrwkv.cuda.nvrtc import headers

if TYPE_CHECKING:
    from pathlib import Path

    from chatrwkv.engine.build import Compiler

ARCHITECTURES = ("75", "80", "89", "90", "120")
TIME_LIMIT_S = 280
_FLAGS = ("-cubin", "-std=c++17", "-O3", "-Werror=all-warnings", "-Xptxas=-v")
_KERNEL = re.compile(
    r"Compiling entry function '(?P<name>\w+)' for 'sm_(?P<arch>\d+)a?'.*?"
    r"(?P<stack>\d+) bytes stack frame, (?P<stores>\d+) bytes spill stores, (?P<loads>\d+) bytes spill loads.*?"
    r"Used (?P<registers>\d+) registers",
    re.DOTALL,
)


@dataclass(frozen=True)
class Kernel:
    """What ptxas says of one kernel on one architecture."""

    name: str
    arch: str
    stack: int
    spills: int
    registers: int


def compile_for(generation: str, arch: str, nvcc: Compiler, folder: Path) -> str:
    """The log of nvcc; fails with it if there is an error or a warning."""
    source, name = abi.SOURCES / f"{generation}.cu", f"{generation}-sm_{arch}"
    total = hashlib.sha256(repr((nvcc, _FLAGS)).encode())
    for path in (source, *headers()):
        total.update(path.name.encode() + path.read_bytes())
    log = folder / f"{name}-{total.hexdigest()[:24]}.log"
    with (folder / f"{name}.lock").open("a") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # two runs may want it at once
        if not log.exists():
            for old in folder.glob(f"{name}-*.log"):
                old.unlink()
            command = [*nvcc.command, *_FLAGS, f"-arch=sm_{arch}", str(source)]
            log.write_text(_compile(command, folder / f"{name}.cubin"))
    return log.read_text()


def _compile(command: list[str], target: Path) -> str:
    nice = shutil.which("nice")
    done = subprocess.run(
        [*([nice, "-n", "5"] if nice else []), *command, "-o", str(target)],
        capture_output=True,
        text=True,
        timeout=TIME_LIMIT_S,
        check=False,
    )
    target.unlink(missing_ok=True)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout + done.stderr


def kernels_in(log: str) -> list[Kernel]:
    return [
        Kernel(
            found["name"],
            found["arch"],
            int(found["stack"]),
            int(found["stores"]) + int(found["loads"]),
            int(found["registers"]),
        )
        for found in _KERNEL.finditer(log)
    ]
