"""A visit to the museum: what every generation answers to the same prompt."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from chatrwkv.errors import ModelNotFound
from chatrwkv.paths import bundled_museum

if TYPE_CHECKING:
    from collections.abc import Callable, Generator
    from pathlib import Path

    from chatrwkv.chat.template import Templates
    from chatrwkv.engine import Exhibit, LoadedModel

    Visit = Callable[
        [LoadedModel, Callable[[], bool], Callable[[int, int, str], None]],
        Generator[None, None, list[Exhibit]],
    ]

PROMPT = "Tell me a story."
_MOST_TOKENS = 80
_SEED = 1  # the same draws for all, and again next time


def exhibits() -> list[Path]:
    """The models, the oldest generation first.

    Raises:
        ModelNotFound: this installation has none.
    """
    found = sorted(bundled_museum().glob("*.safetensors"))
    if not found:
        raise ModelNotFound(f"There are no models in {bundled_museum()}.", hint="Install the program again.")
    return found


def visiting(text: str, templates: Templates) -> Visit:
    """A task for the engine thread: see `chatrwkv.engine.visit`.

    Raises:
        TemplateError: the template of the built-in models is broken.
        ModelNotFound: this installation has no museum.
    """
    template = templates.default_for("builtin")
    prompt = template.opening() + template.user_segment(text or PROMPT) + template.reply_prefix()
    params = replace(template.sampling, seed=_SEED, max_tokens=_MOST_TOKENS)
    paths, held_out = exhibits(), bundled_museum() / "heldout.jsonl"

    def task(
        loaded: LoadedModel, cancelled: Callable[[], bool], progress: Callable[[int, int, str], None]
    ) -> Generator[None, None, list[Exhibit]]:
        from chatrwkv.engine import visit  # torch is loaded by now, and not before

        return visit(
            loaded,
            cancelled,
            progress,
            paths=paths,
            prompt=prompt,
            params=params,
            stops=template.stops,
            held_out=held_out,
        )

    return task
