"""The chat screen: what keys, clicks and the parts of the screen mean. What commands do is in `verbs`."""

from __future__ import annotations

import os
import shlex
import subprocess
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

from textual import on
from textual.app import SuspendNotSupported

from chatrwkv.chat.tree import Role
from chatrwkv.engine.params import SamplingParams
from chatrwkv.errors import ChatRWKVError
from chatrwkv.tui import keys, messages
from chatrwkv.tui.screens.core import ChatCore
from chatrwkv.tui.screens.dialogs import LinkDialog, TextDialog
from chatrwkv.tui.spread import spread
from chatrwkv.tui.widgets.chat_list import ChatRows
from chatrwkv.tui.widgets.message import MessageView
from chatrwkv.tui.widgets.rows import RowList
from chatrwkv.tui.widgets.tree_view import TreeView

if TYPE_CHECKING:
    from collections.abc import Callable

    from textual import events
    from textual.binding import BindingType


class ChatScreen(ChatCore):
    """See the module."""

    BINDINGS: ClassVar[list[BindingType]] = list(keys.CHAT)

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        """Only keys that do something now are shown and taken."""
        name = str(parameters[0]) if action == "command" and parameters else action
        checks: dict[str, Callable[[], bool]] = {
            "stop": lambda: (
                not self.prompt_box.is_offering
                and (self.is_writing or self.app.is_loading or self.suggesting is not None)
            ),
            "back": self._can_go_back,
            "retry": lambda: bool(self.session and self.session.path()) and not self.is_writing,
            "continue": lambda: not self.is_writing and self._target_role() is Role.ASSISTANT,
            "sibling": self._has_siblings,
            "walk": lambda: bool(self.transcript.views),
        }
        return checks[name]() if name in checks else True

    def _can_go_back(self) -> bool:
        is_idle = self.focused is self.prompt and not (
            self.editing or self.notice.display or self.has_overlay
        )
        return not (is_idle or self.is_writing or self.prompt_box.is_offering)

    def _target_role(self) -> Role | None:
        node_id = self.target or (self.session.head if self.session else None)
        if self.session is None or node_id is None or node_id not in self.session.conversation.nodes:
            return None
        return self.session.conversation.nodes[node_id].role

    def _has_siblings(self) -> bool:
        node_id = self.target or self.last_reply()
        if self.session is None or node_id is None or node_id not in self.session.conversation.nodes:
            return False
        return len(self.session.conversation.siblings(node_id)) > 1

    # -- keys -----------------------------------------------------------------------------------------------

    def action_stop(self) -> None:
        """Stop at once; the text stays."""
        if self.suggesting is not None:
            self.suggesting.stop()
        elif self.is_writing and self.session is not None:
            self.session.stop()
        else:
            self.app.cancel_load()
        self.wake_pump()

    def action_back(self) -> None:
        """To the prompt, closing what lies over the transcript."""
        if self.chats.stop_filter():
            return
        if self.has_overlay:
            self.close_overlays()
        if self.editing:
            self.stop_editing()
            self.prompt.empty()
        self.say("")
        self.focus_prompt()

    def action_sibling(self, step: int) -> None:
        """Another version of the message in focus, or of the last reply."""
        node_id = self.target or self.last_reply()
        if node_id is not None:
            self.run_worker(self.step_sibling(node_id, step), name="sibling")

    async def step_sibling(self, node_id: str, step: int, *, new_at_end: bool = False) -> None:
        """Show the version `step` places further; past the last, a new one is written if that is wished."""
        if self.session is None:
            return
        had_focus = self.target == node_id
        try:
            found = self.session.step_sibling(node_id, step)
        except ChatRWKVError as error:
            self.say_error(error)
            return
        if found is None:
            if new_at_end and step > 0 and not self.is_writing:
                await self.run_command("retry")
            return
        await self.refresh_path(steady=found)
        view = self.transcript.view_of(found)
        if had_focus and view is not None:
            self.set_focus(view, scroll_visible=False)
        self.wake_pump()

    async def action_walk(self, to: int | str) -> None:
        """Give another message the focus; below the last is the prompt."""
        path = [node.id for node in self.session.path()] if self.session else []
        if not path:
            return
        at = path.index(self.target) if self.target in path else len(path)
        place = {"first": 0, "last": len(path) - 1}[to] if isinstance(to, str) else at + to
        if place >= len(path):
            self.focus_prompt()
            self.transcript.follow()
            return
        view = await self.transcript.reveal(path[max(0, place)])
        if view is not None:
            self.set_focus(view, scroll_visible=False)

    def action_fork_as(self) -> None:
        """Ask how much of this chat the new one should have."""
        self.run_worker(self._ask_scope(self.target), name="fork")

    async def _ask_scope(self, target: str | None) -> None:
        scope = await self.app.choose("A new chat with", self.choices("scopes"), "path")
        if scope:
            view = self.transcript.view_of(target) if target else None
            if view is not None:
                self.set_focus(view, scroll_visible=False)
            await self.run_command("fork", scope)

    def action_replies(self) -> None:
        """Ask how many replies are wanted, and write them at once."""
        self.run_worker(self._ask_replies(), name="replies")

    async def _ask_replies(self) -> None:
        target = self.target
        answer = await self.app.ask(
            TextDialog(
                "How many replies at once?",
                "4",
                check=self._cannot_spread,
                hint="1 to 16, or for example 8 temp 0.5..1.5; they stand side by side as versions",
            )
        )
        if answer and self.session is not None:
            view = self.transcript.view_of(target) if target else None
            if view is not None:
                self.set_focus(view, scroll_visible=False)
            await self.run_command("retry", answer)

    def _cannot_spread(self, text: str) -> str:
        try:
            spread(text, self.session.params if self.session else SamplingParams())
        except ChatRWKVError as error:
            return error.message
        return ""

    def action_area(self, step: int) -> None:
        """The next part of the screen that can take keys."""
        areas = self.areas()
        at = next((i for i, area in enumerate(areas) if area.has_focus), 0)
        if self.target:
            at = next((i for i, area in enumerate(areas) if isinstance(area, MessageView)), 0)
        self.set_focus(areas[(at + step) % len(areas)])

    def action_chats(self) -> None:
        """The list: open it and go there; once there, close it."""
        if self.shows("chats") and self.chats.rows.has_focus:
            self.open_panel("chats", is_open=False)
            self.focus_prompt()
        else:
            self.show_chats()

    def action_page(self, step: int) -> None:
        """Scroll the transcript by a page."""
        if step < 0:
            self.transcript.scroll_page_up(animate=False)
        else:
            self.transcript.scroll_page_down(animate=False)

    def action_to_end(self) -> None:
        """To the newest line."""
        self.transcript.follow()

    def before_key(self, event: events.Key) -> None:
        """A letter that means nothing to a message in focus, or with nothing in focus, begins the next message.

        Called by the app before the key goes to what has the focus: later, the next letters of a burst would
        already be on their way to the message, and be commands there.
        """
        means_nothing = self.target and event.key not in self.active_bindings
        if event.is_printable and (self.focused is None or means_nothing):
            self.focus_prompt()

    def on_key(self, event: events.Key) -> None:
        """Esc clears what was said, if it has nothing else to do."""
        if event.key == "escape":
            self.unsay()

    def action_editor(self) -> None:
        """Write the message in $EDITOR."""
        command = shlex.split(os.environ.get("VISUAL") or os.environ.get("EDITOR") or "vi")
        with tempfile.TemporaryDirectory(prefix="chatrwkv-") as folder:
            path = Path(folder) / "message.md"
            path.write_text(self.prompt.full_text, encoding="utf-8")
            try:
                with self.app.suspend():
                    done = subprocess.run([*command, str(path)], check=False)  # noqa: S603 -- the user's own editor
            except (OSError, SuspendNotSupported) as error:
                self.say(
                    f"{command[0]} cannot be started: {error}. Set EDITOR to an editor you have.",
                    is_problem=True,
                )
                return
            if done.returncode:
                self.say(
                    f"{command[0]} ended with code {done.returncode}; the prompt stays as it was.",
                    is_problem=True,
                )
                return
            self.prompt.put(path.read_text(encoding="utf-8", errors="replace").rstrip("\n"))

    # -- the parts ------------------------------------------------------------------------------------------

    @on(messages.PromptEdged)
    def _prompt_edged(self, event: messages.PromptEdged) -> None:
        node_id = self.last_reply()
        if node_id is not None:
            self.run_worker(self.step_sibling(node_id, event.step, new_at_end=True), name="sibling")

    @on(messages.StepSibling)
    def _arrow_clicked(self, event: messages.StepSibling) -> None:
        self.run_worker(self.step_sibling(event.node_id, event.step), name="sibling")

    @on(messages.OpenLink)
    async def _link_clicked(self, event: messages.OpenLink) -> None:
        def answered(answer: str | None) -> None:
            if answer == "copy":
                self.app.copy_to_clipboard(event.url)
                self.say("Copied the address.")
            elif answer == "open":
                self.app.open_url(event.url)

        await self.app.push_screen(LinkDialog(event.url), answered)

    @on(RowList.Chosen, "#chat-rows")
    def _chat_chosen(self, event: RowList.Chosen) -> None:
        self.run_worker(self._open_chat(event.key), name="open")

    async def _open_chat(self, chat_id: str) -> None:
        try:
            await self.show_chat(self.workspace.open_chat(chat_id))
        except ChatRWKVError as error:
            self.say_error(error)
            return
        self.close_overlays()
        self.focus_prompt()
        self.wake_pump()

    @on(ChatRows.Request)
    def _chat_request(self, event: ChatRows.Request) -> None:
        if event.what == "filter":
            self.chats.start_filter()
        elif event.what == "undo":
            self.run_worker(self.undelete_chat(), name="undelete")
        elif event.what == "delete":
            self.run_worker(self.delete_chat(event.chat_id), name="delete")
        elif event.what == "rename":
            self.run_worker(self._rename(event.chat_id), name="rename")

    async def _rename(self, chat_id: str) -> None:
        title = next((chat.title for chat in self.workspace.chats() if chat.id == chat_id), "")
        answer = await self.app.ask(TextDialog("Rename the chat", title))
        if answer and answer.strip():
            try:
                self.workspace.rename_chat(chat_id, answer.strip())
            except ChatRWKVError as error:
                self.say_error(error)
            self.refresh_margins()

    @on(RowList.Chosen, "#tree-rows")
    def _node_chosen(self, event: RowList.Chosen) -> None:
        self.run_worker(self._go_to(event.key), name="goto")

    async def _go_to(self, node_id: str) -> None:
        if self.session is None:
            return
        try:
            self.session.select(node_id)
        except ChatRWKVError as error:
            self.say_error(error)
            return
        await self.refresh_path()
        await self.transcript.reveal(node_id)
        if self.has_overlay:
            self.close_overlays()
            self.focus_prompt()

    @on(TreeView.Walked)
    def _tree_walked(self, event: TreeView.Walked) -> None:
        if self.session is not None:
            found = self.session.conversation.sibling(event.node_id, event.step)
            if found is not None:
                self.side.tree_view.move_to(found)

    def on_screen_resume(self, _: events.ScreenResume) -> None:
        """Back from a dialog."""
        self.refresh_margins()
