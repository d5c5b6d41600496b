"""Replies of `chatrwkv run` as they come: to the terminal, to a pipe, or as JSON."""

from __future__ import annotations

import sys
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING

from chatrwkv.commands.output import Output, narrate
from chatrwkv.engine import Finished, FinishReason, Token
from chatrwkv.errors import ChatRWKVError
from chatrwkv.text import Sanitiser

if TYPE_CHECKING:
    import argparse
    from collections.abc import Sequence

    from chatrwkv.chat.reply import Part
    from chatrwkv.chat.template import PromptTemplate
    from chatrwkv.engine import Job, ModelInfo

_INTERRUPTED = 130


@dataclass(slots=True)
class Outcome:
    """How it went."""

    exit_code: int = 0
    last: Finished | None = None
    """The last reply that did not fail."""


def finish_all(
    args: argparse.Namespace,
    jobs: Sequence[Job[Finished]],
    template: PromptTemplate,
    mode: str,
    info: ModelInfo,
) -> Outcome:
    """Print every reply in order; an interrupt stops all of them and prints what came.

    Raises:
        ChatRWKVError: the first reply that failed, after everything was printed.
    """
    output = Output(safe=True if args.safe else False if args.raw else None)
    is_live = len(jobs) == 1 and not (args.json or args.no_stream)
    outcome, errors = Outcome(), []
    for i, job in enumerate(jobs):
        reply = _Reply(job, template, mode, _Live(output) if is_live else None)
        try:
            reply.follow()
        except KeyboardInterrupt:
            outcome.exit_code = _INTERRUPTED
            for running in jobs[i:]:
                running.cancel()
            reply.follow()
        if args.json:
            output.json(reply.as_json(template, mode, info))
        elif not is_live:
            _print_whole(output, reply, is_first=i == 0)
        output.end_line()
        if reply.error is not None:
            errors.append(reply.error)
        elif reply.finished is not None:
            outcome.last = reply.finished
            _tell(reply.finished, info)
    if errors:
        raise errors[0]
    return outcome


class _Live:
    """Prints parts as they come: the answer on stdout, thoughts on stderr."""

    def __init__(self, output: Output) -> None:
        self._output = output
        self._thoughts = Sanitiser()
        self._is_thinking = False

    def show(self, parts: Sequence[Part]) -> None:
        for part in parts:
            if part.kind == "think":
                sys.stderr.write(self._thoughts.feed(part.text))
                sys.stderr.flush()
            else:
                self.end_thought()
                self._output.write(part.text)
            self._is_thinking = part.kind == "think"

    def end_thought(self) -> None:
        if self._is_thinking:
            sys.stderr.write("\n")
            self._is_thinking = False


class _Reply:
    """One reply, collected from the events of its job."""

    def __init__(self, job: Job[Finished], template: PromptTemplate, mode: str, live: _Live | None) -> None:
        self.finished: Finished | None = None
        self.error: ChatRWKVError | None = None
        self.parts: list[Part] = []
        self._job = job
        self._splitter = template.splitter(mode)
        self._n_streamed = 0
        self._live = live

    def follow(self) -> None:
        """Read events up to the last one; may be called again after an interrupt."""
        for event in self._job:
            if isinstance(event, Token):
                self._n_streamed += len(event.text)
                self._add(self._splitter.feed(event.text))
        # An interrupt may have lost events on their way here; the end tells everything once more.
        try:
            self.finished = self._job.result()
        except ChatRWKVError as error:
            self.error = error
        else:
            self._add(self._splitter.feed(self.finished.text[self._n_streamed :]))
        self._add(self._splitter.finish())
        if self._live:
            self._live.end_thought()

    def _add(self, parts: Sequence[Part]) -> None:
        self.parts.extend(parts)
        if self._live:
            self._live.show(parts)

    def text(self, kind: str) -> str:
        return "".join(part.text for part in self.parts if part.kind == kind)

    def as_json(self, template: PromptTemplate, mode: str, info: ModelInfo) -> dict[str, object]:
        done = self.finished
        return {
            "text": self.text("answer"),
            "thinking": self.text("think"),
            "raw": done.text if done else "",
            "token_ids": list(done.token_ids) if done else [],
            "reason": done.reason.value if done else "failed",
            "error": self.error.message if self.error else None,
            "seed": done.seed if done else None,
            "model": info.name,
            "fingerprint": info.fingerprint,
            "template": template.name,
            "think": mode or template.default_mode,
            "stats": asdict(done.stats) if done else None,
        }


def _print_whole(output: Output, reply: _Reply, *, is_first: bool) -> None:
    if not is_first:
        output.write("\n")
    if reply.text("think"):
        narrate(reply.text("think"))
    output.write(reply.text("answer"))


def _tell(finished: Finished, info: ModelInfo) -> None:
    """What was forgotten; and one line of numbers, for a person who watches."""
    stats, n_read = finished.stats, finished.snapshot.n_tokens if finished.snapshot else 0
    if 0 < info.n_context < n_read:
        narrate(
            f"{n_read:,} tokens are more than the {info.n_context:,} that {info.name} can look at: "
            "it read the last half again each time they were full."
        )
    if not sys.stderr.isatty():
        return
    words = [
        info.name,
        f"{stats.reply_tokens} tokens",
        f"{stats.decode_tok_s:.0f} tok/s",
        f"seed {finished.seed}",
    ]
    if finished.reason is FinishReason.LENGTH:
        words.append("cut by --max-tokens")
    narrate(" · ".join(words))
