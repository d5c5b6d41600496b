"""Writes the model card from the figures of an evaluation."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping


def render(name: str, n_params: int, results: Mapping[str, Any]) -> str:
    """A first card; the full one is written with the evaluation."""
    return f"# {name}\n\n{n_params} parameters.\n\n{len(results)}\n"
