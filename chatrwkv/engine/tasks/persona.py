"""Trained initial states as files, in the layouts that were published, and the half-done ones beside them.

From RWKV-5.0 on the layout `tuned` of `layouts` in bfloat16, for 4, whose state is vectors, its `rows` in
float32. `/state load` and `--state` read both.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

import torch

from chatrwkv.engine import layouts
from chatrwkv.engine.spec import Generation
from chatrwkv.engine.tasks.lessons import progress_file
from chatrwkv.errors import StateError

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from chatrwkv.engine.state import State


def write_persona(path: Path, state: State) -> None:
    """Write a trained state, complete or not at all.

    Args:
        path: `.pth` by custom; replaced if it exists.
        state: of RWKV-4 to 7.

    Raises:
        StateError: it cannot be written.
    """
    if "wkv" in state.tensors:
        matrices = layouts.to_tuned(state)
        _save(path, {name: tensor.to("cpu", torch.bfloat16) for name, tensor in matrices.items()})
    else:
        n_embd = state.tensors["aa"].shape[-1]
        _save(path, layouts.to_buffer(state, Generation.V4).cpu().view(-1, n_embd))


def write_progress(path: Path, key: str, place: Mapping[str, Any] | None) -> None:
    """Keep the place of a run beside its file; None removes it.

    Raises:
        StateError: it cannot be written.
    """
    if place is None:
        progress_file(path).unlink(missing_ok=True)
    else:
        _save(progress_file(path), {"key": key, **place})


def read_progress(path: Path, key: str) -> dict[str, Any] | None:
    """The place of the run `key`; None if there is none, if it is another run's, or damaged."""
    file = progress_file(path)
    if not file.is_file():
        return None
    try:
        content = torch.load(file, map_location="cpu", weights_only=True)
    except Exception:  # noqa: BLE001 -- what torch raises for a damaged file is not documented
        return None
    if not isinstance(content, dict) or content.pop("key", None) != key:
        return None
    return content


def _save(path: Path, content: object) -> None:
    part = path.with_name(f".{path.name}.part")
    try:
        torch.save(content, part)
        with part.open("rb") as file:
            os.fsync(file.fileno())
        part.replace(path)
    except (OSError, RuntimeError) as error:  # torch raises RuntimeError where a folder is missing
        part.unlink(missing_ok=True)
        raise StateError(
            f"{path} cannot be written: {getattr(error, 'strerror', None) or error}.",
            hint="Check that the folder exists, may be written and has space.",
        ) from error
