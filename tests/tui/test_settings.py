"""How replies are drawn and written: sampling panel, templates, thinking, system text, themes."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from rich.cells import cell_len

from chatrwkv.engine.params import SAMPLING_FIELDS, SamplingParams
from chatrwkv.errors import ChatRWKVError
from chatrwkv.tui.sampling_text import MEANINGS, field_name, text_of, with_value
from chatrwkv.tui.screens.sampling import SamplingScreen
from tests.tui.driver import running

if TYPE_CHECKING:
    from pathlib import Path

SAMPLES = {
    "temperature": "0.7", "top_p": "0.5", "top_k": "40", "top_a": "0.2", "top_a_power": "2", "min_p": "0.1",
    "typical": "0.9", "presence": "0.4", "frequency": "0.3", "decay": "0.99", "min_tokens": "3",
    "temp_first": "on", "top_p_x": "0.01", "mirostat": "3", "mirostat_rate": "0.2", "cfg": "1.5",
    "negative": "User: no\\n\\n", "newline_rule": "yes", "anti_repeat": "true", "max_tokens": "77", "stop": "\\n\\nUser: | END", "seed": "7", "banned": "1 5 9",
}  # fmt: skip


@pytest.mark.parametrize("name", SAMPLING_FIELDS)
def test_every_setting_is_read_back_as_it_was_typed(name: str):
    params = with_value(SamplingParams(), name, SAMPLES[name])
    assert with_value(SamplingParams(), name, text_of(params, name)) == params


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("anti_repeat", "maybe"),
        ("cfg", "11"),
        ("temperature", "hot"),
        ("top_p", "2"),
        ("top_k", "1.5"),
        ("banned", "x"),
        ("nothing", "1"),
    ],
)
def test_a_wrong_value_is_refused_with_the_reason(name: str, text: str):
    with pytest.raises(ChatRWKVError):
        with_value(SamplingParams(), name, text)


def test_short_names_are_understood():
    assert [field_name(name) for name in ("temp", "Top-P", "top_k")] == ["temperature", "top_p", "top_k"]


async def test_the_panel_checks_while_typing_and_a_valid_value_counts(tmp_path: Path):
    """A wrong value must say so at once and change nothing."""
    async with running(tmp_path) as app:
        await app.press("f2")
        await app.until(lambda: isinstance(app.app.screen, SamplingScreen))
        await app.press("end", *["backspace"] * 6)
        await app.type("9")
        await app.until(lambda: "temperature is 9.0; it must be between 0 and 5" in app.text())
        assert app.session.params.temperature != 9
        await app.press("backspace")
        await app.type("0.8")
        await app.until(lambda: app.session.params.temperature == 0.8)
        await app.press("escape")
        await app.until(lambda: app.app.screen is app.screen)
        assert "0.80" in app.text()


async def test_what_is_wrong_with_a_setting_is_said_in_a_small_window_too(tmp_path: Path):
    async with running(tmp_path, size=(80, 24)) as app:
        await app.press("f2")
        await app.sees("esc closes")
        await app.type("x")
        await app.sees("it must be a number")


@pytest.mark.parametrize("meaning", MEANINGS.values())
def test_what_a_setting_means_fits_beside_it(meaning: str):
    """The panel has 78 columns; of a longer sentence the end was cut."""
    assert cell_len(meaning) <= 43


async def test_set_preset_and_seed_by_command(tmp_path: Path):
    async with running(tmp_path) as app:
        for line, wanted in (
            ("/set temp 0.4", "temperature 0.4"),
            ("/seed 42", "seed 42"),
            ("/set top_p 3", "between 0 and 1"),
        ):
            await app.type(line)
            await app.press("enter")
            await app.sees(wanted)
        assert app.session.params.seed == 42
        await app.type("/preset world-qa")
        await app.press("enter")
        template = app.app.workspace.templates.get("world-qa")
        await app.until(lambda: app.session.params == template.sampling)


async def test_the_same_seed_gives_the_same_reply(tmp_path: Path):
    """Recorded settings must be enough to make a reply again."""
    from tests.fakes import FakeModel

    async with running(tmp_path, model=FakeModel(end_rate=20)) as app:
        for line in ("/seed 7", "/set temperature 2", "/set top_p 1"):
            await app.type(line)
            await app.press("enter")
        await app.until(lambda: (app.session.params.seed, app.session.params.top_p) == (7, 1))
        first_chat = app.session.id
        await app.send("hi")
        first = app.answers()[-1]
        app.app.workspace.delete_chat(first_chat)
        app.screen.session = None
        await app.screen.show_chat(app.app.workspace.new_chat())
        for line in ("/seed 7", "/set temperature 2", "/set top_p 1"):
            await app.type(line)
            await app.press("enter")
        await app.until(lambda: (app.session.params.seed, app.session.params.top_p) == (7, 1))
        await app.send("hi")
        assert app.answers()[-1] == first


async def test_the_template_is_switched_in_a_chat(tmp_path: Path):
    """/prompt with and without a name; the line below says which."""
    async with running(tmp_path) as app:
        await app.type("/prompt world-chat")
        await app.press("enter")
        await app.until(lambda: app.session.template.name == "world-chat")
        await app.type("/prompt")
        await app.press("enter")
        await app.until(lambda: app.app.screen is not app.screen)
        await app.type("raven-instruct")
        await app.press("enter")
        await app.until(lambda: app.session.template.name == "raven-instruct")


async def test_thinking_modes_are_chosen_and_missing_ones_named(tmp_path: Path):
    async with running(tmp_path) as app:
        modes = list(app.session.template.thinking)
        assert len(modes) > 1, "the G1 chat template thinks"
        await app.type(f"/think {modes[-1]}")
        await app.press("enter")
        await app.until(lambda: app.session.thinking == modes[-1])
        await app.type("/think loudly")
        await app.press("enter")
        await app.until(lambda: "no thinking mode 'loudly'" in app.text())


async def test_the_system_text_is_shown_and_undone(tmp_path: Path):
    async with running(tmp_path) as app:
        await app.type("/system You are a fox.")
        await app.press("enter")
        await app.until(lambda: "You are a fox." in app.text())
        assert app.session.system == "You are a fox."
        await app.type("/undo")
        await app.press("enter")
        await app.until(lambda: not app.session.system)


async def test_every_theme_can_be_shown(tmp_path: Path):
    """`ansi-dark` has no alpha and misses shades; a theme that breaks the style sheet breaks the app."""
    async with running(
        tmp_path, "```html\n<a href='x'>y</a>\n```\n\n> quote\n\n| a | b |\n|--|--|\n| 1 | 2 |"
    ) as app:
        await app.send("hi")
        for theme in app.app.available_themes:
            app.app.theme = theme
            await app.pilot.pause()
            assert "quote" in app.text()
    async with running(tmp_path) as app:
        assert app.app.theme == theme, "the theme chosen last is remembered"
