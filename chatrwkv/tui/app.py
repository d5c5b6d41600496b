"""The app: themes, keys, the workspace behind the screen, loading models, and leaving in order."""

from __future__ import annotations

import asyncio
import logging
import os
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, TypeVar

from textual import events
from textual.app import App, SystemCommand
from textual.color import Color

from chatrwkv.errors import ChatRWKVError
from chatrwkv.tui import keys
from chatrwkv.tui.commands import COMMANDS
from chatrwkv.tui.jobs import Followed
from chatrwkv.tui.remember import Memory
from chatrwkv.tui.screens.chat import ChatScreen
from chatrwkv.tui.screens.choice import ChoiceDialog
from chatrwkv.tui.screens.dialogs import as_path
from chatrwkv.tui.themes import DARK, THEMES

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from textual.binding import Binding, BindingType
    from textual.screen import ModalScreen, Screen

    from chatrwkv.chat.session import ChatSession
    from chatrwkv.chat.workspace import Workspace
    from chatrwkv.commands.options import AppOptions
    from chatrwkv.engine import EngineThread, Job
    from chatrwkv.paths import Paths
    from chatrwkv.tui.screens.dialogs import PathDialog
    from chatrwkv.tui.signals import SignalWatch

ResultType = TypeVar("ResultType")

_TWICE_S = 1.5  # two ctrl+c within this time mean it
_STOP_S = 1.0  # how long leaving waits for replies to stop


class ChatApp(App[int]):
    """See the module.

    Args:
        options: from the command line.
        engine: started here, closed by the caller; nothing of it imports torch before a model is loaded.
        paths: where files are.
        clock: seconds since the epoch, for the days in the list.
        watch: told when leaving begins, so that it ends in time.
    """

    TITLE = "chatrwkv"
    CSS_PATH = Path(__file__).with_name("app.tcss")  # a subclass elsewhere finds it too
    BINDINGS: ClassVar[list[BindingType]] = list(keys.APP)

    def __init__(
        self,
        options: AppOptions,
        engine: EngineThread,
        paths: Paths,
        *,
        clock: Callable[[], float] = time.time,
        watch: SignalWatch | None = None,
    ) -> None:
        self.options = options
        self.engine = engine
        self.paths = paths
        self.clock = clock
        self.memory = Memory(paths.ui_file)
        self.model_load: Followed | None = None
        self.side_task: Followed | None = None
        self.model_problem = ""
        self.opening_failed: ChatRWKVError | None = None
        self._watch = watch
        self._workspace: Workspace | None = None
        self.leaving = False
        self._is_saved = False
        self._interrupted_s = float("-inf")
        super().__init__()
        for theme in THEMES:
            self.register_theme(theme)
        self.theme = self._first_theme()
        self.set_keymap(options.settings.interface.keys)

    def _first_theme(self) -> str:
        wanted = self.options.settings.interface.theme or self.memory.get("theme")
        return wanted if wanted in self.available_themes else DARK.name

    def get_css_variables(self) -> dict[str, str]:
        """Two greys of our own beside the theme's colours: `$muted` for words, `$faint` for rules."""
        variables = super().get_css_variables()
        theme = self.current_theme
        if theme.ansi:
            return {**variables, "muted": "ansi_bright_black", "faint": "ansi_bright_black"}
        ground, text = Color.parse(variables["background"]), Color.parse(variables["foreground"])
        return {**variables, "muted": ground.blend(text, 0.58).hex, "faint": ground.blend(text, 0.2).hex}

    def get_default_screen(self) -> Screen[None]:
        """The chat."""
        return ChatScreen()

    @property
    def chat_screen(self) -> ChatScreen:
        """The screen below all dialogs."""
        screen = self.screen_stack[0]
        assert isinstance(screen, ChatScreen)
        return screen

    # -- beginning ------------------------------------------------------------------------------------------

    def on_mount(self) -> None:
        """Paint first, then open the chats, then load the model while the person may type."""
        self.theme_changed_signal.subscribe(self, lambda theme: self.memory.update(theme=theme.name))
        self.call_after_refresh(self._begin)

    async def _begin(self) -> None:
        from chatrwkv.chat.workspace import Workspace

        try:
            self._workspace = Workspace.open(self.paths, self.options.settings, self.engine)
            session = self._first_chat()
        except ChatRWKVError as error:
            self.opening_failed = error
            self.chat_screen.say_error(error)
            return
        await self.chat_screen.begin(session)
        self._say_warnings()
        # Importing torch holds the interpreter; the chats stand on the screen before that begins.
        self.call_after_refresh(self._load_first_model)
        if self.options.first_message:
            self.chat_screen.send_soon(self.options.first_message)

    @property
    def has_workspace(self) -> bool:
        """Whether the chats are open."""
        return self._workspace is not None

    @property
    def workspace(self) -> Workspace:
        """The chats and all around them."""
        assert self._workspace is not None, "commands run only once the chats are open"
        return self._workspace

    def _first_chat(self) -> ChatSession:
        options, workspace = self.options, self.workspace
        if options.chat:
            return workspace.open_chat(options.chat)
        if options.continue_last:
            last = next((chat for chat in workspace.chats() if chat.n_messages), None)
            if last is not None:
                return workspace.open_chat(last.id)
        session = self.fresh_chat()
        if options.prompt:
            session.set_template(options.prompt)
        return session

    def fresh_chat(self) -> ChatSession:
        """An empty chat: one that was never written in, before another is made."""
        for chat in self.workspace.chats():
            if not chat.n_messages and not chat.title:
                session = self.workspace.open_chat(chat.id)
                if not session.is_open_elsewhere and not session.system:
                    return session
                self.workspace.close_chat(chat.id)
        return self.workspace.new_chat()

    def _say_warnings(self) -> None:
        words = list(self.options.warnings)
        words += [f"{path.name}: {error.message}" for path, error in self.workspace.templates.failed]
        damage = self.workspace.damage
        if damage is not None:
            from chatrwkv.tui.verbs_backup import offer_after_damage, words_after_damage

            words.insert(0, words_after_damage(self.workspace))
            if damage.backup is not None:
                self.chat_screen.run_worker(offer_after_damage(self.chat_screen), name="backup")
        if words:
            self.chat_screen.say(" ".join(words), is_problem=True)

    # -- models ---------------------------------------------------------------------------------------------

    def _load_first_model(self) -> None:
        from chatrwkv.engine import prepare_native

        prepare_native(self.paths.cache_dir)
        self.engine.start()
        try:
            entry = self.options.model or self.workspace.default_model()
            if not entry:
                self.model_problem = "no model: ctrl+l"
                return
            job = self.workspace.load_model(entry)
        except ChatRWKVError as error:
            self.model_problem = "no model: ctrl+l"
            self.chat_screen.say_error(error)
            self.chat_screen.refresh_margins()
            return
        self._follow_load(job, then=self._open_state)

    def start_load(self, ref: str, *, device: str = "", dtype: str = "") -> None:
        """Load another model; the one that is there goes on until the new one has arrived.

        Raises:
            ModelNotFound: `ref` names nothing.
        """
        self._follow_load(self.workspace.load_model(ref, device=device, dtype=dtype))

    def _follow_load(self, job: Job[Any], then: Callable[[object], None] | None = None) -> None:
        entry = self.workspace.loading
        self.model_problem = ""
        self.model_load = Followed(entry.name if entry else "model", job, then)

    def _open_state(self, _: object) -> None:
        if self.options.state is not None:
            self.chat_screen.start_asking("state", f"load {self.options.state}")

    @property
    def is_loading(self) -> bool:
        """Whether a model is being loaded or a file written."""
        return self.model_load is not None or self.side_task is not None

    def cancel_load(self) -> None:
        """Stop what takes time; the model that was there stays."""
        for followed in (self.model_load, self.side_task):
            if followed is not None:
                followed.job.cancel()

    def follow_task(self, name: str, job: Job[Any], then: Callable[[Any], None]) -> None:
        """Show the progress of a job of the engine and call `then` with its result."""
        self.side_task = Followed(name, job, then)

    def poll_jobs(self) -> None:
        """Take what the engine says of loads and tasks."""
        if self.model_load is not None and self.model_load.poll():
            done, self.model_load = self.model_load, None
            if done.error is not None:
                self.model_problem = "" if self.workspace.model else "no model: ctrl+l"
                self.chat_screen.say_error(done.error)
            done.finish()
            self.chat_screen.refresh_margins()
        if self.side_task is not None and self.side_task.poll():
            done, self.side_task = self.side_task, None
            done.finish()
            if done.error is not None:
                self.chat_screen.say_error(done.error)

    # -- asking ---------------------------------------------------------------------------------------------

    async def ask(self, dialog: ModalScreen[ResultType]) -> ResultType | None:
        """Show a dialog and wait for its answer; None when it was closed."""
        return await self.push_screen_wait(dialog)

    async def ask_path(self, dialog: PathDialog) -> Path | None:
        """The same for a file."""
        answer = await self.ask(dialog)
        return as_path(answer) if answer else None

    async def choose(
        self, title: str, values: Sequence[tuple[str, str]], current: str, *, takes_path: bool = False
    ) -> str | None:
        """One of `values`."""
        return await self.ask(ChoiceDialog(title, values, current, takes_path=takes_path))

    # -- keys -----------------------------------------------------------------------------------------------

    def get_key_display(self, binding: Binding) -> str:
        """`^r`, `alt+←`, `esc`: short, as in the footer."""
        return keys.display(binding)

    def get_system_commands(self, screen: Screen[Any]) -> Iterable[SystemCommand]:
        """The palette: every command of the table."""
        if isinstance(screen, ChatScreen):
            for command in COMMANDS:
                title = f"{command.name[0].upper()}{command.name[1:]}"
                run = _runner(screen, command.name, needs_argument=command.needs_argument)
                key = keys.named(command.key)
                yield SystemCommand(title, f"{command.help}  {key}" if key else command.help, run)
        yield SystemCommand("Screenshot", "Save a picture of the screen as SVG", self.deliver_screenshot)

    async def on_event(self, event: events.Event) -> None:
        """Let the chat decide where a key goes before it goes anywhere."""
        if isinstance(event, events.Key) and not event.is_forwarded and isinstance(self.screen, ChatScreen):
            self.screen.before_key(event)
        await super().on_event(event)

    async def action_help(self) -> None:
        """Keys of what has the focus, and commands."""
        if self.screen is self.chat_screen:
            await self.chat_screen.action_command("help")

    def action_interrupt(self) -> None:
        """Copy the selection, else stop, else say how to leave; twice leaves."""
        selected = keys.selected_text(self.screen)
        if selected:
            self.copy_to_clipboard(selected)
            self.screen.clear_selection()
            return
        now = time.monotonic()
        if now - self._interrupted_s < _TWICE_S:
            self.run_worker(self.leave(130))
            return
        self._interrupted_s = now
        if self.chat_screen.is_writing:
            self.chat_screen.action_stop()
        self.chat_screen.say("ctrl+c again leaves; everything is saved.")

    # -- leaving --------------------------------------------------------------------------------------------

    async def action_quit(self) -> None:
        """Save everything and leave."""
        await self.leave(0)

    def leave_soon(self, code: int) -> None:
        """The same for a signal."""
        self.call_later(self.leave, code)

    async def leave(self, code: int) -> None:
        """Stop replies, wait a second at most, save, close, exit."""
        if self.leaving:
            return
        self.leaving = True
        if self._watch is not None:
            self._watch.watch(code)
        self.cancel_load()
        if self._workspace is not None:
            sessions = self._workspace.open_chats
            for session in sessions:
                session.stop()
            deadline = time.monotonic() + _STOP_S
            while any(session.replies for session in sessions) and time.monotonic() < deadline:
                for session in sessions:
                    session.poll()
                await asyncio.sleep(0.01)
            self.chat_screen.keep_draft()
            self.save_now()
        self.exit(code, return_code=code)

    def save_now(self) -> None:
        """Close the chats, once; the watchdog does it from outside when the loop does not answer."""
        if self._workspace is not None and not self._is_saved:
            self._is_saved = True
            self._workspace.close()

    def on_unmount(self) -> None:
        """Whatever ended the app, the chats are closed."""
        self.save_now()


def _runner(screen: ChatScreen, name: str, *, needs_argument: bool) -> Callable[[], None]:
    if needs_argument:
        return lambda: screen.start_command(name)
    return lambda: screen.start_asking(name)


def run_app(options: AppOptions, *, engine: EngineThread | None = None, paths: Paths | None = None) -> int:
    """Open the app in this terminal; returns the exit code.

    Args:
        options: from the command line.
        engine: a fresh one unless given; closed in the end.
        paths: the user's unless given.
    """
    from chatrwkv.engine import EngineThread
    from chatrwkv.paths import Paths
    from chatrwkv.tui.signals import SignalWatch

    keys.teach_alt_enter()
    engine = engine or EngineThread()
    paths = paths or Paths.default()
    watch = SignalWatch()
    app = ChatApp(options, engine, paths, watch=watch)

    async def run() -> int | None:
        watch.install(asyncio.get_running_loop(), app.leave_soon, app.save_now)
        return await app.run_async()

    try:
        result = asyncio.run(run())
    finally:
        watch.remove()
    engine.close()
    code = watch.code or (result if result is not None else app.return_code or 0)
    if "torch" in sys.modules:
        # Taking torch down costs a second (measured: 1.2 of the 1.6 s that leaving took), and a thread that
        # is still inside it would be killed in C++, which can abort the process. Everything is saved.
        logging.shutdown()
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)
    return code
