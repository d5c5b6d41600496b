"""Stop strings in a stream of text, wherever token borders fall.

The first stop string to be complete ends the text; of two that complete with the same character, the longer.
That rule looks at the stream character by character, so it gives the same for any chunking.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable


class _Automaton:
    """Knuth-Morris-Pratt: how much of one stop string the text ends with."""

    __slots__ = ("failure", "matched", "stop")

    def __init__(self, stop: str) -> None:
        self.stop = stop
        self.matched = 0
        self.failure = [0] * len(stop)
        k = 0
        for i in range(1, len(stop)):
            while k and stop[i] != stop[k]:
                k = self.failure[k - 1]
            k += stop[i] == stop[k]
            self.failure[i] = k

    def advance(self, character: str) -> bool:
        """Whether the stop string is complete with this character."""
        k = self.matched
        while k and self.stop[k] != character:
            k = self.failure[k - 1]
        self.matched = k + (self.stop[k] == character)
        return self.matched == len(self.stop)


class StopMatcher:
    """Lets text through, holds back what may begin a stop string, cuts at a whole one."""

    def __init__(self, stops: Iterable[str]) -> None:
        # Longest first, so that the first automaton to complete with a character is the one to report.
        self._automata = [_Automaton(stop) for stop in sorted(set(stops), key=lambda s: (-len(s), s)) if stop]
        self._starts = frozenset(automaton.stop[0] for automaton in self._automata)
        self._held = ""
        self.matched: str | None = None
        """The stop string that was found; after it nothing is let through any more."""

    @property
    def held(self) -> str:
        """The end of the text so far, as far as it may begin a stop string."""
        return self._held

    @property
    def holding(self) -> bool:
        """Whether any text is held back."""
        return bool(self._held)

    def feed(self, text: str) -> tuple[str, str | None]:
        """The text that is certain now, and the stop string that ended it, if one did."""
        if self.matched is not None:
            return "", self.matched
        if not self._held and self._starts.isdisjoint(text):
            return text, None  # nearly every token: the automata would all stay at 0
        text = self._held + text
        for at in range(len(self._held), len(text)):
            complete = [automaton for automaton in self._automata if automaton.advance(text[at])]
            if complete:
                self.matched, self._held = complete[0].stop, ""
                return text[: at + 1 - len(self.matched)], self.matched
        n_held = max((automaton.matched for automaton in self._automata), default=0)
        self._held = text[len(text) - n_held :]
        return text[: len(text) - n_held], None

    def flush(self) -> str:
        """The text held back, when nothing follows; the matcher starts anew."""
        held, self._held = self._held, ""
        for automaton in self._automata:
            automaton.matched = 0
        return held
