"""One question and its replies as a conversation of their own, which a state file carries along.

The prompt is rendered by the same code as in the app, so a state saved here opens there, and the other way
round. Nothing is stored but what `--save-state` asks for.
"""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, cast

from chatrwkv.chat.plan import dialect, plan_path
from chatrwkv.chat.portable import begun_with, importing, load_portable, save_portable
from chatrwkv.chat.tree import Conversation, NodeStatus, ReplyMeta, Role, new_node
from chatrwkv.engine import FinishReason, GenerateRequest, is_own_state

if TYPE_CHECKING:
    from pathlib import Path

    from chatrwkv.chat.plan import Reading
    from chatrwkv.chat.template import PromptTemplate
    from chatrwkv.chat.vault import Vault
    from chatrwkv.engine import (
        EngineThread,
        Finished,
        LoadedModel,
        ModelInfo,
        Prompt,
        SamplingParams,
        Snapshot,
    )


class OneMind:
    """A vault of a single snapshot, in memory: what `Plan.read` asks of one."""

    def __init__(self, snapshot: Snapshot | None) -> None:
        self._snapshot = snapshot

    def get(self, fingerprint: str, chain: str, /) -> Snapshot | None:
        """It, if it has read exactly these tokens."""
        found = self._snapshot
        return found if found and (found.fingerprint, found.chain) == (fingerprint, chain) else None

    def discard(self, *_: object) -> None:
        """Forget it."""
        self._snapshot = None


class Turn:
    """What was said so far, and the question to answer.

    Args:
        conversation: ends where the question is asked.
        snapshot: the mind at its end; None when nothing was read.
        template: how turns are written.
        mode: thinking mode; empty is the template's default.
        text: the question.
    """

    def __init__(
        self,
        conversation: Conversation,
        snapshot: Snapshot | None,
        template: PromptTemplate,
        mode: str,
        text: str,
    ) -> None:
        self._template = template
        self._mode = mode
        self._question = new_node(conversation.head, Role.USER, text)
        said = conversation.with_node(self._question).with_head(self._question.id)
        self._conversation = replace(said, template=template.name, thinking=mode)
        self._mind = OneMind(snapshot)
        self._plan = plan_path(self._conversation.path(), template, mode)
        self._reading: Reading | None = None

    def requests(self, params: SamplingParams, n: int) -> list[GenerateRequest]:
        """`n` requests for the same question; they differ in their seeds."""
        return [
            GenerateRequest(
                prepare=partial(self._prepare, params.guide),
                params=params if params.seed is None else replace(params, seed=params.seed + i),
                stops=self._template.stops,
                stop_on_end=self._template.end_token,
            )
            for i in range(n)
        ]

    def _prepare(self, guide: str | None, loaded: LoadedModel) -> Prompt:
        """What to feed; runs on the engine thread."""
        self._reading = self._plan.read(loaded, cast("Vault", self._mind), guide)
        return self._reading.prompt

    def save(self, engine: EngineThread, path: Path, finished: Finished, params: SamplingParams) -> None:
        """Write the conversation with this reply, and the mind after it."""
        if self._reading is None:
            return
        node = new_node(
            self._question.id,
            Role.ASSISTANT,
            finished.text,
            status=_status(finished),
            meta=self._meta(finished, params),
            tokens=self._ids(finished),
        )
        whole = self._conversation.with_node(node).with_head(node.id)
        plan = plan_path(whole.path(), self._template, self._mode, for_reply=False)
        mind = cast("Vault", OneMind(finished.snapshot))
        engine.call(save_portable(path, whole, plan, mind)).result()

    def _ids(self, finished: Finished) -> dict[str, tuple[int, ...]]:
        assert self._reading is not None
        last = self._plan.segments[-1]
        name = dialect(self._reading.tokenizer_id, finished.text, last.prefix, last.start_ids)
        return {name: (*self._reading.last_ids, *finished.token_ids)}

    def _meta(self, finished: Finished, params: SamplingParams) -> ReplyMeta:
        assert self._reading is not None
        return ReplyMeta(
            model=self._reading.model,
            fingerprint=self._reading.fingerprint,
            template=self._template.name,
            thinking=self._mode,
            params=params,
            seed=finished.seed,
            reason=finished.reason.value,
            stats=finished.stats,
            n_drawn=len(finished.token_ids),
            mu=finished.mu,
        )


def _status(finished: Finished) -> NodeStatus:
    is_whole = finished.reason in (FinishReason.END, FinishReason.STOP_STRING)
    return NodeStatus.COMPLETE if is_whole else NodeStatus.STOPPED


def begun(
    system: str, state: Path | None, engine: EngineThread, info: ModelInfo
) -> tuple[Conversation, Snapshot | None]:
    """An empty conversation, or what a state file leads to: its own one, or a new one on top of it.

    Raises:
        StateError: the file cannot be used with this model.
    """
    if state is None:
        return Conversation.start(system=system), None
    if is_own_state(state):
        return load_portable(state, info)
    snapshot = engine.call(importing(state)).result()
    return begun_with(snapshot, state.stem), snapshot
