"""Draws the loss curve as a small SVG, with no library."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

WIDTH, HEIGHT, MARGIN = 640, 320, 40


def write_curve(path: Path, curve: Sequence[tuple[int, float, float]]) -> None:
    """Training loss (grey) and held-out score (blue) over the steps; (step, loss, score) each."""
    if not curve:
        return
    values = [v for _, *pair in curve for v in pair if math.isfinite(v)]
    low, high = math.floor(min(values)), math.ceil(max(values))
    last = max(curve[-1][0], 1)

    def point(step: int, value: float) -> str:
        x = MARGIN + (WIDTH - 2 * MARGIN) * step / last
        y = HEIGHT - MARGIN - (HEIGHT - 2 * MARGIN) * (value - low) / max(1, high - low)
        return f"{x:.1f},{y:.1f}"

    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" font-size="12" font-family="sans-serif">'
    ]
    for level in range(low, high + 1):
        y = point(0, level).split(",")[1]
        parts.append(f'<line x1="{MARGIN}" x2="{WIDTH - MARGIN}" y1="{y}" y2="{y}" stroke="#ddd"/>')
        parts.append(f'<text x="8" y="{y}">{level}</text>')
    for column, colour in ((1, "#999"), (2, "#06c")):
        points = " ".join(point(row[0], row[column]) for row in curve)
        parts.append(f'<polyline fill="none" stroke="{colour}" stroke-width="2" points="{points}"/>')
    parts.append(
        f'<text x="{MARGIN}" y="{HEIGHT - 10}">nats a token over {last} steps: grey training, blue held out</text></svg>'
    )
    path.write_text("\n".join(parts) + "\n", encoding="utf-8")
