"""From replies to the screen: one task takes what the engine wrote and appends it, no faster than it can.

Loop: poll every open chat, append to the message that is shown, measure the thread time that took, wait
three times as long (50 ms to 1 s). A fixed 20 Hz kept the loop 46 % busy on a 12 kB block of code; this took
22 % (measured). While the reader has scrolled away the text is written at most once a second.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

from chatrwkv.tui.present import joined
from chatrwkv.tui.widgets.status import percent

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable

    from chatrwkv.chat.replies import Mark, Reply, ReplyView
    from chatrwkv.chat.session import ChatSession
    from chatrwkv.tui.present import Presenter
    from chatrwkv.tui.widgets.message import MessageView
    from chatrwkv.tui.widgets.transcript import Transcript

_log = logging.getLogger(__name__)

FASTEST_S, SLOWEST_S = 0.05, 1.0
_REST = 3.0  # how many times the cost of the last round is waited
_WORK_S = 0.1  # progress of loads and saves
_IDLE_S = 0.5  # other processes, failed saves are looked at while nothing is written


@dataclass(slots=True)
class _Writing:
    """How far one message view has got."""

    view: MessageView
    mark: Mark
    thought_tokens: int = 0
    thought_began: float = 0.0
    thought_s: float = 0.0
    is_answering: bool = False


class StreamPump:
    """One for the chat screen, for all its sessions.

    Args:
        transcript: where the shown chat is.
        sessions: the open chats; those in the background are polled too, so that they are saved.
        presenter: keeps how long thoughts took.
        ticked: called after each round, with whether a conversation changed by itself; tells whether
            something else is under way, such as a model that is being loaded.
        ended: awaited when a reply is over; it renders the message as a whole.
        has_model: whether one is loaded, or replies wait for it.
    """

    def __init__(
        self,
        transcript: Transcript,
        sessions: Callable[[], Iterable[ChatSession]],
        presenter: Presenter,
        ticked: Callable[[bool], bool],
        ended: Callable[[ChatSession, Reply], Awaitable[None]],
        has_model: Callable[[], bool],
    ) -> None:
        self._transcript = transcript
        self._sessions = sessions
        self._presenter = presenter
        self._ticked = ticked
        self._ended = ended
        self._has_model = has_model
        self._awake = asyncio.Event()
        self._writing: dict[str, _Writing] = {}
        self._wrote_s = 0.0
        self._has_changed = False

    def wake(self) -> None:
        """Something began or was stopped: look now."""
        self._awake.set()

    async def run(self) -> None:
        """Until cancelled."""
        while True:
            began = time.thread_time()
            is_writing = is_working = False
            try:
                is_writing = await self._round()
                is_working = self._ticked(self._has_changed)
            except Exception:  # noqa: BLE001 -- without the pump nothing is shown or saved any more
                _log.exception("a round of the pump failed")
            cost = time.thread_time() - began
            pause = _WORK_S if is_working else _IDLE_S
            if is_writing:
                pause = min(SLOWEST_S, max(FASTEST_S, _REST * cost))
            self._awake.clear()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(pause):
                    await self._awake.wait()

    async def _round(self) -> bool:
        is_busy = self._has_changed = False
        for session in list(self._sessions()):
            running = session.replies
            self._has_changed = session.poll() or self._has_changed
            for reply in running:
                await self._take(session, reply)
                is_busy = is_busy or reply.is_running
        return is_busy

    async def _take(self, session: ChatSession, reply: Reply) -> None:
        state = reply.view
        view = self._transcript.view_of(reply.node_id)
        if view is not None and view.is_ready and view.shown.is_streaming:
            writing = self._writing.get(reply.node_id)
            if writing is None or writing.view is not view:
                from chatrwkv.chat.replies import Mark  # with the engine's types 30 ms, not needed to paint

                writing = self._writing[reply.node_id] = _Writing(view, Mark())
            if not state.is_running or self._may_write():
                await self._write(writing, state)
        if not state.is_running:
            self._writing.pop(reply.node_id, None)
            await self._ended(session, reply)

    def _may_write(self) -> bool:
        now = time.monotonic()
        if not self._transcript.is_following and now - self._wrote_s < SLOWEST_S:
            return False
        self._wrote_s = now
        return True

    async def _write(self, writing: _Writing, state: ReplyView) -> None:
        fresh, writing.mark = state.since(writing.mark)
        answer = "".join(part.text for part in fresh if part.kind == "answer")
        writing.is_answering = writing.is_answering or bool(answer)
        self._show_thoughts(writing, state)
        writing.view.show_waiting("" if writing.is_answering else self._waiting_for(state))
        if not answer:
            return
        try:
            await writing.view.append(answer)
        except Exception:  # noqa: BLE001 -- whatever a renderer does with strange text, the reply goes on
            _log.exception("a reply could not be rendered as Markdown; it is shown plain")
            await writing.view.fall_back()

    def _show_thoughts(self, writing: _Writing, state: ReplyView) -> None:
        thoughts, _ = joined(state.parts)
        if not thoughts.strip():
            return
        now = time.monotonic()
        writing.thought_began = writing.thought_began or now
        if not writing.is_answering and state.is_running:
            writing.thought_tokens = state.n_tokens
            writing.thought_s = now - writing.thought_began
        measure = self._presenter.measured(writing.view.node_id, writing.thought_tokens, writing.thought_s)
        growing = state.is_running and not writing.is_answering
        writing.view.show_thoughts(thoughts, measure, growing=growing)

    def _waiting_for(self, state: ReplyView) -> str:
        """Why there is no text yet."""
        if not state.is_running or any(part.kind == "think" for part in state.parts):
            return ""
        done, total = state.prefill
        if total and done < total:
            return f"reading {percent(done, total)}  {done:,}/{total:,} tokens"
        return "…" if self._has_model() else "waits for the model, which is being loaded"
