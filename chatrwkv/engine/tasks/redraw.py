"""A reply drawn beside all others, in passes of its own: what it says depends on nothing but its request."""

from __future__ import annotations

from typing import TYPE_CHECKING

from chatrwkv.engine.events import Failed, Finished
from chatrwkv.engine.generate import generate

if TYPE_CHECKING:
    from collections.abc import Callable, Generator

    from chatrwkv.engine.model import LoadedModel
    from chatrwkv.engine.request import GenerateRequest


def redraw(
    loaded: LoadedModel, request: GenerateRequest, cancelled: Callable[[], bool]
) -> Generator[None, None, Finished]:
    """Draw one reply; a pause after each of its events.

    Raises:
        ChatRWKVError: why it failed.
    """
    last = None
    for last in generate(loaded, request, cancelled):
        if isinstance(last, Failed):
            raise last.error
        yield
    assert isinstance(last, Finished), "a reply ends"
    return last
