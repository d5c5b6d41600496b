"""Every sampling setting of a chat, checked while it is typed; a valid value counts at once."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from textual.containers import Horizontal, Vertical, VerticalScroll
from textual.content import Content
from textual.screen import ModalScreen
from textual.widgets import Input, Select, Static

from chatrwkv.errors import ChatRWKVError
from chatrwkv.text import sanitise_name
from chatrwkv.tui import keys
from chatrwkv.tui.sampling_text import MEANINGS, label, text_of, with_value

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from textual.app import ComposeResult
    from textual.binding import BindingType

    from chatrwkv.engine.params import SamplingParams


class SamplingScreen(ModalScreen[None]):
    """A panel on the right.

    Args:
        params: what is valid now.
        presets: settings by the title of their template.
        changed: called with each valid change.
    """

    BINDINGS: ClassVar[list[BindingType]] = list(keys.DIALOG)

    def __init__(
        self,
        params: SamplingParams,
        presets: Mapping[str, SamplingParams],
        changed: Callable[[SamplingParams], None],
    ) -> None:
        super().__init__()
        self.params = params
        self._presets = presets
        self._changed = changed
        self._said = Static("", classes="dialog-said", markup=False)

    def compose(self) -> ComposeResult:
        """Presets, then one line a setting."""
        with Vertical(classes="panel"):
            yield Static("Sampling", classes="dialog-title")
            yield Select(
                [(Content(sanitise_name(title)), title) for title in self._presets],
                prompt="take the settings of a template",
                compact=True,
                id="presets",
            )
            with VerticalScroll(classes="panel-rows"):
                for name, meaning in MEANINGS.items():
                    with Horizontal(classes="setting"):
                        yield Static(label(name), classes="setting-name")
                        yield Input(
                            text_of(self.params, name), compact=True, name=name, classes="setting-value"
                        )
                        yield Static(meaning, classes="setting-help", markup=False)
            yield self._said

    def on_mount(self) -> None:
        """Begin at the temperature."""
        self._say("tab moves, a valid value counts at once, esc closes")
        self.query(Input).first().focus()

    def on_input_changed(self, event: Input.Changed) -> None:
        """Take the value if it is one."""
        event.stop()
        name = event.input.name or ""
        try:
            params = with_value(self.params, name, event.value)
        except ChatRWKVError as error:
            event.input.add_class("-problem")
            self._say(error.message, is_problem=True)
            return
        event.input.remove_class("-problem")
        problems = self.query("Input.-problem")
        if not problems:
            self._say("tab moves, a valid value counts at once, esc closes")
        if params != self.params:
            self.params = params
            self._changed(params)

    def on_input_submitted(self, event: Input.Submitted) -> None:
        """Enter goes to the next line."""
        event.stop()
        self.focus_next(Input)

    def on_select_changed(self, event: Select.Changed) -> None:
        """Take all settings of a template."""
        event.stop()
        params = self._presets.get(str(event.value))
        if params is None:
            return
        self.params = params
        self._changed(params)
        for field in self.query(Input):
            with field.prevent(Input.Changed):
                field.value = text_of(params, field.name or "")
            field.remove_class("-problem")
        self._say(f"took the settings of {sanitise_name(str(event.value))}")

    def _say(self, words: str, *, is_problem: bool = False) -> None:
        self._said.set_class(is_problem, "-problem")
        self._said.update(Content(words))

    def action_close(self) -> None:
        """Leave; what is valid counts already."""
        self.dismiss(None)
