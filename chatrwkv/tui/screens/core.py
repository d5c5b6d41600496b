"""The open chat: its path on the screen, its replies, its commands. Keys and clicks are in `chat.py`."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from textual import on

from chatrwkv.chat.tree import Role
from chatrwkv.errors import ChatRWKVError, DeviceLost
from chatrwkv.text import sanitise_name
from chatrwkv.tui import commands, messages
from chatrwkv.tui.present import Presenter
from chatrwkv.tui.pump import StreamPump
from chatrwkv.tui.screens.frame import ChatFrame
from chatrwkv.tui.status_of import status_of
from chatrwkv.tui.suggesting import Suggesting
from chatrwkv.tui.telling import Telling
from chatrwkv.tui.widgets.chat_list import ChatEntry
from chatrwkv.tui.widgets.message import MessageView
from chatrwkv.tui.widgets.status import tokens_words

if TYPE_CHECKING:
    from collections.abc import Sequence

    from chatrwkv.chat.impersonate import Suggestion
    from chatrwkv.chat.replies import Reply
    from chatrwkv.chat.session import ChatSession
    from chatrwkv.chat.workspace import Workspace
    from chatrwkv.engine.params import SamplingParams
    from chatrwkv.tui.app import ChatApp

_log = logging.getLogger(__name__)


class ChatCore(ChatFrame):
    """See the module."""

    app: ChatApp

    def __init__(self) -> None:
        super().__init__()
        self.session: ChatSession | None = None
        self.editing: str | None = None
        """The message whose new version is being written in the prompt."""
        self.presenter: Presenter | None = None
        self.pump: StreamPump | None = None
        self._code_copied: tuple[str, int] = ("", 0)
        self._waiting_to_send = ""
        self._telling = Telling(self.say)
        self.found_last = ""
        """What was looked for last."""
        self.suggesting: Suggesting | None = None

    # -- the open chats -------------------------------------------------------------------------------------

    @property
    def workspace(self) -> Workspace:
        """What the app opened; commands run only once it is there."""
        return self.app.workspace

    async def begin(self, session: ChatSession) -> None:
        """The workspace is open: show its first chat and start the pump."""
        self.presenter = Presenter(self.workspace.templates)
        self.pump = StreamPump(
            self.transcript,
            lambda: self.workspace.open_chats,
            self.presenter,
            self._ticked,
            self._reply_ended,
            lambda: self.workspace.model is not None,
        )
        self.prompt.send_key = self.app.options.settings.interface.send_key
        self.prompt.set_history(self.workspace.history())
        self.recall_panels({name: self.app.memory.get(f"panel-{name}") for name in ("chats", "side")})
        await self.show_chat(session)
        self.run_worker(self.pump.run(), name="pump")
        if self._waiting_to_send:
            text, self._waiting_to_send = self._waiting_to_send, ""
            self.prompt.put(text)
            self.prompt.action_submit()

    async def show_chat(self, session: ChatSession) -> None:
        """Open a chat; the one before goes on in the background while a reply of it is written."""
        before, self.session = self.session, session
        if before is not None and before is not session:
            self.keep_draft(before)
            if not before.replies:
                self.workspace.close_chat(before.id)
        if before is not session:
            if self.editing:
                self.stop_editing()
                self.prompt.empty()
            typed_before_any_chat = before is None and self.prompt.text
            if not typed_before_any_chat:
                self.prompt.put(self.workspace.draft(session.id))
        await self.refresh_path(follow=True)
        if session.is_open_elsewhere:
            self.say("This chat is also open in another window; what is written there appears here.")

    def keep_draft(self, session: ChatSession | None = None) -> None:
        """Save what is typed and not sent."""
        session = session or self.session
        if session is not None and not self.editing:
            text = self.prompt.full_text
            if text != self.workspace.draft(session.id):
                self.workspace.save_draft(session.id, text)

    async def refresh_path(self, *, follow: bool = False, steady: str = "") -> None:
        """Draw the path of the open chat as it is now."""
        session, presenter = self.session, self.presenter
        if session is None or presenter is None:
            return
        items = presenter.path(session)
        await self.transcript.show(items, follow=follow, steady=steady)
        self.refresh_margins()

    def refresh_margins(self) -> None:
        """Everything around the transcript."""
        session = self.session
        if session is None or self.presenter is None:
            return
        self._show_status()
        self.list_chats()
        if self.shows("side"):
            self.side.show_tree(session.conversation, self.presenter.label)
            self.side.show_sampling(session.params)
        self.refresh_bindings()

    def _show_status(self) -> None:
        status = self.title_line.status = self.keybar.status = status_of(self.app, self.session)
        if self.session is not None and self.shows("side"):
            tokens = tokens_words(status.n_tokens, status.n_context, "tokens")
            self.side.show_state(tokens, status.state_bytes, self.session.vault.usage())
        if self.session is not None and 0 < status.n_context < status.n_tokens:
            self._telling.full(self.session, status.n_context)

    def list_chats(self) -> None:
        """Fill the list, if it stands."""
        if self.session is None or not self.shows("chats"):
            return
        running = {session.id for session in self.workspace.open_chats if session.replies}
        entries = [
            ChatEntry(chat.id, chat.title, chat.updated, chat.n_messages, chat.id in running)
            for chat in self.workspace.chats()
            if chat.n_messages or chat.title or chat.id == self.session.id
        ]
        self.chats.show(entries, self.session.id, self.app.clock())

    def show_chats(self) -> None:
        """Open the list and go there."""
        self.open_panel("chats", is_open=True)
        self.refresh_margins()
        self.set_focus(self.chats.rows)

    def _ticked(self, changed: bool) -> bool:
        """After each round of the pump; whether something else takes time."""
        self.app.poll_jobs()
        self._telling.unsaved(self.workspace.open_chats)
        self._telling.native(self.workspace.model)
        if notices := self.workspace.notices():
            self.say(" ".join(notices), is_problem=True)
        if changed:
            self.call_next(self.refresh_path)
        else:
            self._show_status()
        if self.suggesting is not None and not self.suggesting.poll():
            error, self.suggesting = self.suggesting.error, None
            self.say(str(error) if error else "", is_problem=error is not None)
            self.refresh_bindings()
        return self.app.is_loading or self.suggesting is not None

    async def _reply_ended(self, session: ChatSession, reply: Reply) -> None:
        if session is self.session:
            self.unsay()
            if reply.view.error is not None:
                self.say_error(reply.view.error)
            if isinstance(reply.view.error, DeviceLost) and not session.replies:
                self.run_worker(self._offer_cpu(), name="cpu")
            await self.refresh_path()
        elif not session.replies:
            self.workspace.close_chat(session.id)
            self.list_chats()
        self.refresh_bindings()

    async def _offer_cpu(self) -> None:
        from chatrwkv.tui.verbs_files import offer_cpu  # as `_run_verb`

        await offer_cpu(self)

    async def delete_chat(self, chat_id: str) -> None:
        """Delete a chat; if it was open, another one opens."""
        title = next((chat.title for chat in self.workspace.chats() if chat.id == chat_id), "")
        was_open = self.session is not None and self.session.id == chat_id
        if was_open:
            self.session = None
        self.workspace.delete_chat(chat_id)
        if was_open:
            await self.show_chat(self.app.fresh_chat())
        self.list_chats()
        self.say(
            f"Deleted {sanitise_name(title) or 'the chat'!r}. u in the list, or /undelete, brings it back."
        )

    async def undelete_chat(self) -> None:
        """Bring back the chat that was deleted last."""
        found = self.workspace.restore_chat()
        if found is None:
            self.say("No chat was deleted.")
            return
        await self.show_chat(self.workspace.open_chat(found))
        self.say("It is back.")

    # -- commands -------------------------------------------------------------------------------------------

    @property
    def target(self) -> str | None:
        """The message that has the focus, if one has."""
        focused = self.focused
        return focused.node_id if isinstance(focused, MessageView) else None

    @property
    def is_writing(self) -> bool:
        """Whether a reply of the open chat is being written."""
        return bool(self.session and self.session.replies)

    def last_reply(self) -> str | None:
        """The newest reply on the path."""
        path = self.session.path() if self.session else []
        return next((node.id for node in reversed(path) if node.role is Role.ASSISTANT), None)

    def start_suggestion(self, suggestion: Suggestion) -> None:
        """Let a text come into the prompt as the model writes it."""
        self.suggesting = Suggesting(self.prompt, suggestion)
        self.focus_prompt()
        self.say("The model writes your side; esc stops it, typing takes it over.", stays=True)

    def next_code(self, node_id: str, n_blocks: int) -> int:
        """Which block of code is copied next: the first, then one further each time."""
        known, place = self._code_copied
        place = place % n_blocks + 1 if known == node_id else 1
        self._code_copied = (node_id, place)
        return place

    def choices(self, kind: str) -> Sequence[tuple[str, str]]:
        """Values for the argument of a command."""
        from chatrwkv.tui.verbs import choices

        return choices(self, kind) if self.session is not None else ()

    async def _run_verb(self, name: str, argument: str) -> None:
        from chatrwkv.tui.verbs import VERBS  # with all that they need 50 ms, which no first screen waits for

        await VERBS[name](self, argument)

    def take_params(self, params: SamplingParams) -> None:
        """Draw with these settings from now on."""
        if self.session is None:
            return
        try:
            self.session.set_params(params)
        except ChatRWKVError as error:
            self.say_error(error)
        self.refresh_margins()

    def say_error(self, error: ChatRWKVError) -> None:
        """What went wrong and the next step."""
        self.say(str(error), is_problem=True)

    def _say_why_closed(self) -> bool:
        """Say again why the chats could not be opened, if so."""
        if self.app.opening_failed is not None:
            self.say_error(self.app.opening_failed)
        return self.app.opening_failed is not None

    def open_panel(self, name: str, *, is_open: bool | None = None) -> bool:
        """Open or close a part, and remember it unless it only lay over the page."""
        shows = super().open_panel(name, is_open=is_open)
        if not self.has_overlay:
            self.app.memory.update(**{f"panel-{name}": "open" if shows else "closed"})
        return shows

    async def action_command(self, name: str, argument: str = "") -> None:
        """Do a command of the table, before the next key is read unless it asks for something first."""
        if name in commands.ASKING and not argument.partition(" ")[2]:
            self.start_asking(name, argument)
        else:
            await self.run_command(name, argument)

    def start_asking(self, name: str, argument: str = "") -> None:
        """Do a command that may wait for a dialog, which only a task of its own can."""
        self.run_worker(self.run_command(name, argument), name=name)

    def start_command(self, name: str) -> None:
        """Begin a command that needs an argument, in the prompt."""
        self.prompt.put(f"/{name} ")
        self.focus_prompt()

    async def run_command(self, name: str, argument: str = "") -> None:
        """Do one command; what goes wrong is said, and nothing is lost."""
        if self.session is None and name != "quit":
            if not self._say_why_closed():
                self.say("The chats are being opened; try again in a moment.")
            return
        self.unsay()
        try:
            await self._run_verb(name, argument)
        except ChatRWKVError as error:
            self.say_error(error)
        except Exception as error:  # noqa: BLE001 -- a mistake of ours must not cost the chat
            _log.exception("the command %s failed", name)
            self.say(f"/{name} failed inside: {error!r}. /paths names the log.", is_problem=True)
        self.refresh_margins()
        self.wake_pump()

    def wake_pump(self) -> None:
        """Something began or was stopped."""
        if self.pump is not None:
            self.pump.wake()

    # -- sending --------------------------------------------------------------------------------------------

    def send_soon(self, text: str) -> None:
        """Send a text as if it had been typed, once a chat is open."""
        if self.session is None:
            self._waiting_to_send = text
            return
        self.prompt.put(text)
        self.prompt.action_submit()

    @on(messages.Submitted)
    async def _submitted(self, event: messages.Submitted) -> None:
        event.stop()
        typed = commands.parse(event.text)
        if typed.unknown:
            self.prompt.give_back(event.text)
            self.say(commands.about_unknown(typed.unknown), is_problem=True)
        elif self.session is None and self._say_why_closed():
            self.prompt.give_back(event.text)
        elif self.session is None:
            self._waiting_to_send = event.text
            self.say("The chats are being opened; it is sent in a moment.")
        elif await self._do(typed):
            self.prompt.remember(event.text)
            self.workspace.add_history(event.text)
        else:
            self.prompt.give_back(event.text)

    async def _do(self, typed: commands.Typed) -> bool:
        if typed.text or not typed.commands:
            return await self._send(typed)
        for name, argument in typed.commands:
            await self.action_command(name, argument)
        return True

    async def _send(self, typed: commands.Typed) -> bool:
        """Hand the text to the session; the prompt keeps it when that fails."""
        assert self.session is not None, "looked at before"
        self.unsay()
        try:
            for name, argument in typed.commands:
                await self._run_verb(name, argument)
            if self.editing:
                self.session.edit(self.editing, typed.text)
            else:
                self.session.send(typed.text)
        except ChatRWKVError as error:
            self.say_error(error)
            return False
        self.stop_editing()
        self.wake_pump()
        await self.refresh_path(follow=True)
        return True

    def start_editing(self, node_id: str, text: str) -> None:
        """Write another version of a message in the prompt."""
        self.editing = node_id
        self.prompt.put(text)
        self.focus_prompt()
        self.add_class("-editing")
        self.say("Editing: enter sends it as a new version, esc leaves everything as it is.", stays=True)

    def stop_editing(self) -> None:
        """Back to writing the next message."""
        if self.editing:
            self.editing = None
            self.remove_class("-editing")
            self.say("")
