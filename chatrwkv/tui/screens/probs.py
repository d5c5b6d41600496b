"""The tokens of a reply with how likely each was, and what else could have stood there."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from textual import on
from textual.widgets import Static

from chatrwkv.engine import Done
from chatrwkv.text import sanitise, sanitise_name
from chatrwkv.tui.screens.dialogs import Dialog
from chatrwkv.tui.widgets.rows import LiveRows, Row, RowList, pad_cells
from chatrwkv.tui.widgets.token_flow import FlowToken, TokenFlow

if TYPE_CHECKING:
    from collections.abc import Sequence

    from textual.app import ComposeResult

    from chatrwkv.engine import Drawn, Job

Choice = tuple[int, int]
"""Place of a token, and the id that is wanted there."""

_WORD_CELLS = 24
_BAR_CELLS = 20
_POLL_S = 0.02


class ProbsScreen(Dialog[Choice]):
    """A reply token by token; gives back the candidate that was chosen, and where.

    Args:
        rows: what was kept of each token.
        text: the reply, of which they cover the beginning.
        words: what the candidates' ids say; None if no model with this vocabulary is loaded.
        is_running: the reply is still being written, so that nothing can branch off.
    """

    def __init__(
        self,
        rows: Sequence[Drawn],
        text: str,
        words: Job[dict[int, bytes]] | None,
        *,
        is_running: bool = False,
    ) -> None:
        end = "stop the reply to branch, esc closes" if is_running else "enter branches there, esc closes"
        if words is None:
            end = "esc closes; load a model with its vocabulary to read the numbers"
        super().__init__("Tokens", hint=f"←→ token, n next surprise, ↑↓ candidate, {end}")
        self._drawn = rows
        self._words = words
        self._is_running = is_running
        self._bytes: dict[int, bytes] = {}
        self._flow = TokenFlow(_flow_tokens(rows, text))
        self._at = Static("", classes="token-at", markup=False)
        self._candidates = LiveRows(classes="token-candidates")

    def content(self) -> ComposeResult:
        """The reply, the token under the cursor, its candidates."""
        yield self._flow
        yield self._at
        yield self._candidates

    def on_mount(self) -> None:
        """Begin at the first token."""
        self._flow.focus()
        self._show(0)
        if self._words is not None:
            self.set_interval(_POLL_S, self._poll)

    def _poll(self) -> None:
        for event in self._words.drain() if self._words else ():
            if isinstance(event, Done):
                self._bytes = {**self._words.result()} if self._words else {}
                self._show(self._flow.cursor)

    def _show(self, place: int) -> None:
        row = self._drawn[place]
        self._at.update(f"token {place + 1:,} of {len(self._drawn):,}   {self._said(row)}")
        rows = [
            Row(
                str(token_id),
                (
                    (pad_cells(self._word(token_id), _WORD_CELLS), ""),
                    (f"{math.exp(logprob):8.2%}  ", ""),
                    ("▆" * round(math.exp(logprob) * _BAR_CELLS), "muted"),
                ),
                is_current=token_id == row.token_id,
            )
            for token_id, logprob in row.top
        ]
        self._candidates.set_rows(rows or [Row("", ((" nothing is known here", "muted"),))])
        self._candidates.move_to(str(row.token_id))

    def _said(self, row: Drawn) -> str:
        if row.token_id is None:
            return "not drawn by the model"
        surprise = max(0.0, -row.logprob / math.log(2))
        return f"{self._word(row.token_id)}   {math.exp(row.logprob):.2%}, {surprise:.1f} bits of surprise"

    def _word(self, token_id: int) -> str:
        raw = self._bytes.get(token_id)
        if raw is None:
            return f"#{token_id}"
        text = raw.decode("utf-8", "backslashreplace").replace("\n", "⏎").replace("\t", "⇥")
        return f"‘{sanitise_name(text)}’" if text else "(end)"

    @on(TokenFlow.Moved)
    def _token_moved(self, event: TokenFlow.Moved) -> None:
        self._show(event.place)

    @on(TokenFlow.Stepped)
    def _candidate_stepped(self, event: TokenFlow.Stepped) -> None:
        self._candidates.step(event.step)

    @on(TokenFlow.Taken)
    def _taken(self) -> None:
        self._branch(self._candidates.cursor_key)

    @on(RowList.Chosen)
    def _clicked(self, event: RowList.Chosen) -> None:
        event.stop()
        self._branch(event.key)

    def _branch(self, key: str) -> None:
        if self._is_running:
            self.say("The reply is still being written; close this and stop it first.", is_problem=True)
        elif not key:
            self.say("Nothing was drawn here; choose another token.", is_problem=True)
        elif int(key) == self._drawn[self._flow.cursor].token_id:
            self.say("That is what it says already; ↑↓ choose another candidate.", is_problem=True)
        else:
            self.dismiss((self._flow.cursor, int(key)))


def _flow_tokens(rows: Sequence[Drawn], text: str) -> list[FlowToken]:
    found, at = [], 0
    for row in rows:
        piece = text[at : at + row.n_chars]
        at += row.n_chars
        shown = sanitise(piece).replace("\t", "⇥").replace("\n", "⏎\n")
        # A token that completes no character is walked over, too, so it must be seen.
        found.append(FlowToken(shown or "·", None if row.token_id is None else math.exp(row.logprob)))
    return found
