"""What is said once when it begins, whoever noticed it: a full context, unsaved text, slow replies."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from chatrwkv.chat.session import ChatSession
    from chatrwkv.engine import ModelInfo


class Telling:
    """Remembers what was said.

    Args:
        say: as `ChatFrame.say`.
    """

    def __init__(self, say: Callable[..., None]) -> None:
        self._say = say
        self._told_full: set[str] = set()
        self._is_unsaved = False
        self._told_native = False

    def full(self, session: ChatSession, n_context: int) -> None:
        """The model has begun to forget how the chat began."""
        if session.id not in self._told_full and not session.replies:  # the end of a reply unsays
            self._told_full.add(session.id)
            self._say(
                f"The {n_context:,} tokens that this model can look at are full: it has read the last "
                f"{n_context // 2:,} again and forgotten what came before."
            )

    def native(self, model: ModelInfo | None) -> None:
        """Native code could compute this model, but could not be built or did not pass its test."""
        if self._told_native or model is None or not model.has_native_path:
            return
        from chatrwkv.engine import native_status

        native = native_status()
        if native.has_failed:
            self._told_native = True
            self._say(
                f"Replies are slower than they could be, by torch. {native.why_not} {native.log}".rstrip()
            )

    def unsaved(self, sessions: Iterable[ChatSession]) -> None:
        """The disk takes no text, and later: all of it is there. Between the two a mark stands above."""
        problems = [why for session in sessions if (why := session.only_in_memory)]
        if problems and not self._is_unsaved:
            self._say(
                f"Not on disk yet, and kept here until it is: {problems[0]}", is_problem=True, stays=True
            )
        elif self._is_unsaved and not problems:
            self._say("Everything is saved again.")
        self._is_unsaved = bool(problems)
