"""The model writes the user's side: text for the prompt, not a message yet."""

from __future__ import annotations

from typing import TYPE_CHECKING

from chatrwkv.chat.plan import Plan, Segment, plan_path
from chatrwkv.chat.tree import Role
from chatrwkv.engine import Failed, Finished, GenerateRequest, Token
from chatrwkv.errors import BadValue

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from chatrwkv.chat.template import PromptTemplate
    from chatrwkv.chat.tree import Node
    from chatrwkv.engine import Job, LoadedModel, Prompt, SamplingParams
    from chatrwkv.errors import ChatRWKVError


class Suggestion:
    """A text for the prompt that is being written; `poll` it as a reply."""

    def __init__(self) -> None:
        self.text = ""
        """So far; without blanks around it once it ended."""
        self.error: ChatRWKVError | None = None
        self.is_running = True
        self._job: Job[Finished] | None = None

    def attach(self, job: Job[Finished]) -> None:
        """Take the engine's handle."""
        self._job = job

    def stop(self) -> None:
        """Ask the engine to stop; the text stays."""
        if self._job is not None:
            self._job.cancel()

    def poll(self) -> bool:
        """Take what has come; whether there was something."""
        events = self._job.drain() if self._job is not None else []
        for event in events:
            if isinstance(event, Token):
                self.text = (self.text + event.text).lstrip()
            elif isinstance(event, Finished | Failed):
                self.is_running = False
                self.error = event.error if isinstance(event, Failed) else None
                self.text = (event.text if isinstance(event, Finished) else self.text).strip()
        return bool(events)


def user_request(
    path: Sequence[Node],
    template: PromptTemplate,
    params: SamplingParams,
    prepare: Callable[[Plan, LoadedModel], Prompt],
) -> GenerateRequest:
    """What to ask for so that the model writes what the user says next.

    Args:
        path: root to the last message.
        template: how turns are written.
        params: how to draw.
        prepare: finds the nearest mind for a plan; on the engine thread.

    Raises:
        BadValue: the template has no user's side.
    """
    if template.is_raw:
        raise BadValue(
            f"The template {template.name} has no roles, so there is no user's side.",
            hint="Choose another with /prompt.",
        )
    before, after = _around_text(template)
    if any(node.role is Role.ASSISTANT and node.text for node in path):
        before = template.between + before
    plan = plan_path(path, template, for_reply=False)
    # No space at the end, as before a reply: the model writes it.
    plan = Plan((*plan.segments, Segment(None, "", prefix=before.rstrip(" "))))
    return GenerateRequest(
        prepare=lambda loaded: prepare(plan, loaded),
        params=params,
        stops=tuple(dict.fromkeys(stop for stop in (after, *template.stops) if stop)),
        stop_on_end=template.end_token,
    )


def _around_text(template: PromptTemplate) -> tuple[str, str]:
    """What the user's turn puts before and after the text."""
    pieces = template.user.pieces
    hole = next(place for place, (is_hole, _) in enumerate(pieces) if is_hole)
    texts = [text for _, text in pieces]
    return "".join(texts[:hole]), "".join(texts[hole + 1 :])
