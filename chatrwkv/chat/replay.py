"""Draw the replies of a chat again from their seeds and states, and find the first that differs.

What is promised: on the same device, with the same build and the same model, none does.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from chatrwkv.chat.plan import drawn_ids, fed_ids, plan_path
from chatrwkv.chat.tree import NodeStatus, Role
from chatrwkv.engine import GenerateRequest, Prompt
from chatrwkv.errors import GenerationError

if TYPE_CHECKING:
    from collections.abc import Callable, Generator

    from chatrwkv.chat.plan import Ids, Minds
    from chatrwkv.chat.template import PromptTemplate, Templates
    from chatrwkv.chat.tree import Conversation, Node, NodeId
    from chatrwkv.engine import Finished, LoadedModel

    Cancelled = Callable[[], bool]
    Progress = Callable[[int, int, str], None]


@dataclass(frozen=True, slots=True)
class Difference:
    """Where a reply came out otherwise."""

    node_id: NodeId
    place: int
    """Of the token, from 1."""
    was: str
    """The token that stands there; empty past the end."""
    came: str


@dataclass(frozen=True, slots=True)
class Replayed:
    """What came of drawing a chat's replies again."""

    n_replies: int
    n_tokens: int
    difference: Difference | None
    """The first one; what follows it was not drawn."""
    skipped: tuple[tuple[NodeId, str], ...]
    """Replies that cannot be drawn again, and why."""

    def lines(self) -> list[str]:
        """What to say: the difference first, then what was drawn, then why others were not."""
        found = []
        if (other := self.difference) is not None:
            was, came = other.was or "the end", other.came or "the end"
            found.append(
                f"Reply {other.node_id[:8]} differs at token {other.place:,}: {was!r} was, {came!r} came."
            )
        n = self.n_replies
        what = f"{n} repl{'y' if n == 1 else 'ies'} drawn again, {self.n_tokens:,} tokens"
        found.append(f"{what} without a difference." if found else f"No difference: {what}.")
        reasons = Counter(why for _, why in self.skipped)
        found += [f"{count} not drawn again: {why}." for why, count in reasons.items()]
        return found


def replaying(
    conversation: Conversation, templates: Templates, minds: Minds
) -> Callable[[LoadedModel, Cancelled, Progress], Generator[None, None, Replayed]]:
    """A task that draws every reply again, in the order in which they were made."""

    def task(
        loaded: LoadedModel, cancelled: Cancelled, progress: Progress
    ) -> Generator[None, None, Replayed]:
        replies = [node for node in conversation.nodes.values() if node.role is Role.ASSISTANT]
        skipped, n_replies, n_tokens = [], 0, 0
        for place, node in enumerate(replies):
            progress(place, len(replies), "replaying")
            if why := _unfit(node, templates, loaded):
                skipped.append((node.id, why))
                continue
            again = _Again(conversation, node, templates.ok[_template_of(node)], minds)
            difference = yield from again.draw(loaded, cancelled)
            if difference is not None:
                return Replayed(n_replies, n_tokens, difference, tuple(skipped))
            n_replies += 1
            n_tokens += len(again.ids)
        return Replayed(n_replies, n_tokens, None, tuple(skipped))

    return task


def _template_of(node: Node) -> str:
    return node.meta.template if node.meta else ""


def _unfit(node: Node, templates: Templates, loaded: LoadedModel) -> str:
    """Why a reply cannot be drawn again; empty when it can."""
    meta = node.meta
    if meta is None:
        return "it was not drawn here"
    template = templates.ok.get(meta.template)
    reasons = (
        (
            meta.fingerprint != loaded.model.spec.fingerprint,
            f"it was drawn by {meta.model or 'another model'}",
        ),
        (
            bool(meta.chosen) and meta.params.has_mirostat,
            "it branches at a token, where mirostat began anew",
        ),
        (bool(meta.voices), f"it was drawn in chorus with {', '.join(meta.voices)}"),
        (template is None, f"there is no template {meta.template!r}"),
        (node.status in (NodeStatus.STREAMING, NodeStatus.FAILED), "it has no end"),
        (not node.text, "it is empty"),
        (
            template is None or not drawn_ids(node, template, loaded.tokenizer.tokenizer_id),
            "it was edited, or nothing of it was drawn",
        ),
    )
    return next((why for is_so, why in reasons if is_so), "")


class _Again:
    """One reply, drawn as it was: in as many runs, with the tokens that a person chose where they were chosen."""

    def __init__(
        self, conversation: Conversation, node: Node, template: PromptTemplate, minds: Minds
    ) -> None:
        self._conversation = conversation
        self._node = node
        self._template = template
        self._minds = minds
        self.ids: Ids = ()

    def draw(self, loaded: LoadedModel, cancelled: Cancelled) -> Generator[None, None, Difference | None]:
        """Draw it; the first difference, None when there is none."""
        node, meta = self._node, self._node.meta
        assert meta is not None, "looked at before"
        self.ids = drawn_ids(node, self._template, loaded.tokenizer.tokenizer_id)
        plan = plan_path(self._conversation.path(node.parent), self._template, meta.thinking)
        prompt, before, mu = plan.read(loaded, self._minds, meta.params.guide).prompt, 0, None
        fed = _fed_before(node, self._template, loaded, len(self.ids))
        prompt = replace(prompt, token_ids=(*prompt.token_ids, *fed), negative=_behind(prompt.negative, fed))
        for end in (*meta.resumed, len(self.ids)):
            is_whole = end < len(self.ids) or node.status is NodeStatus.COMPLETE
            for chosen in (*(c for c in meta.chosen if before <= c < end), end):
                start = max((c + 1 for c in meta.chosen if before <= c < chosen), default=before)
                run = _Run(prompt, before, start, chosen, mu, is_whole=is_whole and chosen == end)
                finished = yield from self._run(run, loaded, cancelled)
                if (found := self._compare(run, finished, loaded)) is not None:
                    return found
            negative = _behind(prompt.negative, self.ids[before:end])
            prompt, before, mu = Prompt(finished.snapshot, (), negative=negative), end, finished.mu
        return None

    def _run(self, run: _Run, loaded: LoadedModel, cancelled: Cancelled) -> Generator[None, None, Finished]:
        from chatrwkv.engine import redraw

        meta = self._node.meta
        assert meta is not None
        # What had stopped at a limit and went on is one run, longer than the limit; its end is drawn, too.
        n_tokens = run.end - run.before + run.is_whole
        params = replace(meta.params, seed=meta.seed, max_tokens=max(1, n_tokens))
        if run.before:
            params = replace(params, min_tokens=max(params.min_tokens, run.before + 1))
        request = GenerateRequest(
            prepare=lambda _: run.prompt,
            params=params,
            stops=self._template.stops,
            stop_on_end=self._template.end_token,
            start_position=run.before,
            penalise=self.ids[: run.before],
            forced=self.ids[run.before : run.start],
            mu=run.mu,
        )
        finished = yield from redraw(loaded, request, cancelled)
        if cancelled():
            raise GenerationError("It was stopped; nothing has changed.", hint="/replay begins anew.")
        return finished

    def _compare(self, run: _Run, finished: Finished, loaded: LoadedModel) -> Difference | None:
        was, came = self.ids[run.before : run.end], finished.token_ids
        if not run.is_whole:
            came = came[: len(was)]
        if was == came:
            return None
        place = next((i for i, pair in enumerate(zip(was, came, strict=False)) if pair[0] != pair[1]), None)
        if place is None:
            place = min(len(was), len(came))
        raw = loaded.tokenizer
        rest_was, rest_came = raw.decode(was[place:]), raw.decode(finished.token_ids[place:])
        if not run.is_whole and rest_came.startswith(rest_was):
            return None  # it was cut inside a token, and the part that was kept is encoded in its own way
        return Difference(
            self._node.id,
            run.before + place + 1,
            raw.decode(was[place : place + 1]),
            raw.decode(came[place : place + 1]),
        )


@dataclass(frozen=True, slots=True)
class _Run:
    """A stretch of a reply: `before` stands already, up to `start` is forced, up to `end` is compared."""

    prompt: Prompt
    before: int
    start: int
    end: int
    mu: float | None
    is_whole: bool
    """Whether it came to its end there by itself."""


def _behind(negative: Ids, fed: Ids) -> Ids:
    """What the second mind of guidance has read; without guidance there is none."""
    return (*negative, *fed) if negative else ()


def _fed_before(node: Node, template: PromptTemplate, loaded: LoadedModel, n_drawn: int) -> Ids:
    """The ids at the beginning of the reply's own text that were given and not drawn."""
    fed = fed_ids(node, template, loaded.tokenizer.tokenizer_id)
    n_prefix = len(loaded.tokenizer.encode(template.reply_prefix(node.meta.thinking if node.meta else "")))
    return fed[n_prefix : len(fed) - n_drawn]
