"""Several minds at one reply (experimental): a mix is one state of two, a chorus averages what several would say.

A chorus is drawn from the mean of the logits of this chat's mind and of saved ones, each of which has read the
last message; the reply belongs to this chat, whose mind reads it as any other.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from chatrwkv.chat.plan import plan_path, reading_on
from chatrwkv.chat.portable import load_portable
from chatrwkv.engine import load_state
from chatrwkv.errors import GenerationError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from chatrwkv.chat.template import PromptTemplate
    from chatrwkv.chat.tree import Node
    from chatrwkv.engine import LoadedModel, Snapshot


class _Kept:
    """A vault of one snapshot."""

    def __init__(self, snapshot: Snapshot) -> None:
        self._snapshot = snapshot

    def get(self, fingerprint: str, chain: str, /) -> Snapshot | None:
        found = self._snapshot
        return found if (found.fingerprint, found.chain) == (fingerprint, chain) else None

    def discard(self, _fingerprint: str, _chain: str, why: Exception, /) -> None:
        raise why


def voices_of(
    paths: Sequence[Path], message: Node, template: PromptTemplate, mode: str
) -> Callable[[LoadedModel], tuple[Snapshot, ...]]:
    """What makes the other minds of a chorus, on the engine thread: each saved state reads `message`."""

    def make(loaded: LoadedModel) -> tuple[Snapshot, ...]:
        return tuple(_voice(path, message, template, mode, loaded) for path in paths)

    return make


def _voice(path: Path, message: Node, template: PromptTemplate, mode: str, loaded: LoadedModel) -> Snapshot:
    conversation, snapshot = load_portable(path, loaded.info)
    asked = replace(message, tokens={})  # its ids were fed after another text
    plan = plan_path([*conversation.path(), asked], template, mode)
    steps = reading_on(
        plan.read(loaded, _Kept(snapshot)), loaded, cancelled=lambda: False, progress=lambda *_: None
    )
    while True:
        try:
            next(steps)
        except StopIteration as end:
            found: list[Snapshot] | None = end.value
            if not found:
                raise GenerationError(
                    f"{path.name} has nothing to say.", hint="Choose another state."
                ) from None
            return found[-1]


def mixing(first: Path, second: Path, weight: float) -> Callable[..., Snapshot]:
    """A task for the engine thread: the state of two files, `weight` of it the second's."""

    def task(loaded: LoadedModel, *_: object) -> Snapshot:
        from chatrwkv.engine import mixed

        a, b = (
            loaded.adopt(load_state(path, fingerprint=loaded.model.spec.fingerprint)[0])
            for path in (first, second)
        )
        return replace(mixed(a, b, weight), n_tokens=0)  # tokens are counted from where the chat begins

    return task
