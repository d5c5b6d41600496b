"""The `rwkv` package as second witness, in a process of its own: it warns, and it picks v7 at import.

Parent: `ask(folder, {name: tensors}, ids)` -> {name: Testimony}. Child: `python witness.py JOBS.json`.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np


@dataclass(frozen=True)
class Testimony:
    """What the package says: logits (T, V) token by token and all at once, and the state list after."""

    step: np.ndarray
    scan: np.ndarray
    state: list[np.ndarray]


def ask(folder: Path, checkpoints, ids, *, is_v7: bool, is_deep_embed: bool = False) -> dict[str, Testimony]:
    import torch

    for name, tensors in checkpoints.items():
        torch.save(tensors, folder / f"{name}.pth")
    jobs = folder / "jobs.json"
    jobs.write_text(json.dumps({"names": list(checkpoints), "ids": list(ids)}))
    environment = os.environ | {
        "RWKV_V7_ON": "1" if is_v7 else "0",
        "RWKV_DE_VERSION": "1" if is_deep_embed else "0",
        "RWKV_JIT_ON": "0",
        "RWKV_CUDA_ON": "0",
        "PYTHONWARNINGS": "ignore",
    }
    command = [sys.executable, str(Path(__file__).resolve()), str(jobs)]
    done = subprocess.run(
        command, env=environment, capture_output=True, text=True, timeout=110, check=False, cwd=folder
    )
    assert done.returncode == 0, done.stderr[-2000:]
    answers = {}
    for name in checkpoints:
        with np.load(folder / f"{name}.npz") as saved:
            state = [saved[f"state{i}"] for i in range(sum(key.startswith("state") for key in saved))]
            answers[name] = Testimony(saved["step"], saved["scan"], state)
    return answers


def testify(jobs: Path) -> None:
    from rwkv.model import RWKV

    wanted = json.loads(jobs.read_text())
    for name in wanted["names"]:
        model = RWKV(model=str(jobs.parent / name), strategy="cpu fp32")
        rows: list[np.ndarray] = []
        state: list[Any] = []
        for token_id in wanted["ids"]:
            logits, state = model.forward([token_id], state or None)
            rows.append(np.asarray(logits.float()).reshape(-1))
        scan, _ = model.forward(wanted["ids"], None, full_output=True)
        tensors = {f"state{i}": np.asarray(t.float()) for i, t in enumerate(state)}
        arrays = {"step": np.stack(rows), "scan": np.asarray(scan.float())} | tensors
        np.savez(jobs.parent / f"{name}.npz", allow_pickle=False, **arrays)


if __name__ == "__main__":
    testify(Path(sys.argv[1]))
