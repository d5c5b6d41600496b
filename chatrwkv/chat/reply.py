r"""A reply's text, split into what the model thinks and what it answers, while it streams.

A thought may open only before any answer text: `<think>` inside an answer is just text about a tag. The
template may have opened it already (`Assistant: <think`, the model goes on with `>`), or opened and closed
it (`<think>\n</think`). A tag may be split over any number of pieces; whatever could still become one is
held back. This is for display: the stored text keeps every character.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, NamedTuple

Kind = Literal["think", "answer"]
_State = Literal["before", "opened", "think", "closed", "answer"]

_OPEN = "<think"
_CLOSE = "</think"


class Part(NamedTuple):
    """A piece of a reply."""

    kind: Kind
    text: str


@dataclass(slots=True)
class _Output:
    """Collects pieces; each kind loses the whitespace that only separates it from its tag or role."""

    parts: list[Part]
    verbatim: bool
    begun: dict[Kind, bool]
    blank: str = ""

    def put(self, kind: Kind, text: str) -> None:
        if not (self.begun[kind] or self.verbatim):
            self.blank += text
            stripped = self.blank.lstrip()
            if not stripped:
                return
            text = _without_separator(self.blank, stripped)
        if not text:
            return
        self.begun[kind] = True
        self.blank = ""
        if self.parts and self.parts[-1].kind == kind:
            self.parts[-1] = Part(kind, self.parts[-1].text + text)
        else:
            self.parts.append(Part(kind, text))

    def end(self, kind: Kind) -> None:
        """The next text of this kind begins anew; whitespace alone was nothing."""
        self.begun[kind] = False
        self.blank = ""


def _without_separator(raw: str, stripped: str) -> str:
    """`raw` without its leading newlines and the one space that the role asks for; an indent stays."""
    blank = raw[: len(raw) - len(stripped)]
    newline = blank.rfind("\n")
    indent = blank[newline + 1 :] if newline >= 0 else blank[1:]
    return indent + stripped


class ReplySplitter:
    """Incremental splitter; the joined parts do not depend on how the text was cut.

    Args:
        start: what the template put at the start of the reply, without the role (`PromptTemplate.reply_start`).
            Text in it that belongs to the reply, such as a code fence, is part of the output.
        verbatim: a continuation without roles: everything is answer, spaces included.
    """

    def __init__(self, start: str = "", *, verbatim: bool = False) -> None:
        self._out = _Output([], verbatim, {"think": False, "answer": False})
        self._state: _State = "answer" if verbatim else "before"
        self._before_tag = ""
        self._pending = start
        # A tag that the template wrote is one for certain and gets its `>` from the model, or never; a tag
        # that the model wrote needs its `>`, or it is a word such as <thinker>.
        self._is_certain = False
        self._is_template_text = True
        if start:
            self._advance(final=False)
        self._is_template_text = False

    def feed(self, text: str) -> list[Part]:
        """The parts that `text` makes certain, neighbours of one kind joined."""
        self._pending += text
        self._advance(final=False)
        return self._take()

    def finish(self) -> list[Part]:
        """What was held back; a thought never closed stays a thought."""
        self._advance(final=True)
        return self._take()

    def _take(self) -> list[Part]:
        parts, self._out.parts = self._out.parts, []
        return parts

    def _advance(self, *, final: bool) -> None:
        while self._step(final=final):
            pass

    def _step(self, *, final: bool) -> bool:
        """Consume what is certain of `_pending`; whether the state changed."""
        match self._state:
            case "before":
                return self._before(final=final)
            case "opened":
                return self._opened(final=final)
            case "think":
                return self._think(final=final)
            case "closed":
                return self._closed(final=final)
            case "answer":
                self._out.put("answer", self._pending)
                self._pending = ""
                return False

    def _before(self, *, final: bool) -> bool:
        stripped = self._pending.lstrip()
        if stripped.startswith(_OPEN):
            self._before_tag = self._pending[: len(self._pending) - len(stripped)]
            self._pending = stripped.removeprefix(_OPEN)
            self._is_certain = self._is_template_text
            self._state = "opened"
            return True
        if not final and _OPEN.startswith(stripped):
            return False
        self._state = "answer"
        return True

    def _opened(self, *, final: bool) -> bool:
        if not self._pending and not final:
            return False
        follows = self._pending[:1]
        if not self._is_certain and follows not in ("", ">") and not follows.isspace():
            self._pending = self._before_tag + _OPEN + self._pending
            self._state = "answer"
            return True
        self._pending = self._pending.removeprefix(">")
        self._state = "think"
        return True

    def _think(self, *, final: bool) -> bool:
        at = self._pending.find(_CLOSE)
        if at >= 0:
            self._out.put("think", self._pending[:at])
            self._pending = self._pending[at + len(_CLOSE) :]
            self._is_certain = self._is_template_text
            self._state = "closed"
            return True
        sure = len(self._pending) - (0 if final else _held(self._pending, _CLOSE))
        self._out.put("think", self._pending[:sure])
        self._pending = self._pending[sure:]
        return False

    def _closed(self, *, final: bool) -> bool:
        if not self._pending and not final:
            return False
        if not self._is_certain and self._pending[:1].isalpha():
            self._out.put("think", _CLOSE)  # </thinking>
            self._state = "think"
            return True
        self._pending = self._pending.removeprefix(">")
        self._out.end("think")
        self._state = "before"
        return True


def _held(text: str, tag: str) -> int:
    """How many characters at the end of `text` could begin `tag`."""
    for length in range(min(len(tag) - 1, len(text)), 0, -1):
        if tag.startswith(text[-length:]):
            return length
    return 0


def split_reply(text: str, start: str = "", *, verbatim: bool = False) -> list[Part]:
    """The parts of a whole reply; arguments as for `ReplySplitter`."""
    splitter = ReplySplitter(start, verbatim=verbatim)
    parts: list[Part] = []
    for part in (*splitter.feed(text), *splitter.finish()):
        if parts and parts[-1].kind == part.kind:
            parts[-1] = Part(part.kind, parts[-1].text + part.text)
        else:
            parts.append(part)
    return parts
