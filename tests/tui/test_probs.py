"""The tokens of a reply on the screen: how likely each was, and another way from any of them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from chatrwkv.config import Settings
from chatrwkv.tui.screens.probs import ProbsScreen
from chatrwkv.tui.widgets.token_flow import TokenFlow
from tests.fakes import FakeModel, Gate
from tests.tui.driver import running

if TYPE_CHECKING:
    from pathlib import Path

SHORT = Settings(sampling={"max_tokens": 24, "seed": 7})


async def test_p_shows_the_tokens_and_enter_branches_at_another_one(tmp_path: Path):
    async with running(tmp_path, model=FakeModel(), settings=SHORT) as app:
        await app.send("hi")
        old = app.session.node(app.session.head)
        await app.press("alt+up")
        await app.until(lambda: app.screen.target == old.id)
        await app.press("p")
        await app.until(lambda: isinstance(app.app.screen, ProbsScreen))
        await app.sees("token 1 of 24")
        await app.until(lambda: f"‘{old.text[0]}’" in app.text())
        await app.press("right", "right", "l")
        await app.sees("token 4 of 24")
        await app.press("enter")
        await app.sees("That is what it says already")
        step = "up" if app.app.screen.query_one(TokenFlow).cursor else "down"
        drawn = app.session.record(old.id)
        assert drawn is not None
        top = [token_id for token_id, _ in drawn.drawn(old.text)[3].top]
        place = top.index(drawn.drawn(old.text)[3].token_id or 0)
        step, wanted = ("down", place + 1) if place == 0 else ("up", place - 1)
        await app.press(step, "enter")
        await app.until(lambda: len(app.session.conversation.siblings(app.session.head)) == 2)
        await app.quiet()
        made = app.session.node(app.session.head)
        assert made.parent == old.parent
        assert made.text[:3] == old.text[:3]
        assert made.text[3] == chr(top[wanted] - 1)
        await app.sees("‹ 2/2 ›")


async def test_slash_probs_of_a_message_nobody_drew_says_so(tmp_path: Path):
    async with running(tmp_path, "Hello.") as app:
        await app.type("/probs")
        await app.press("enter")
        await app.sees("There is no reply yet")
        await app.send("hi")
        app.session.edit_in_place(app.session.head, "something else")
        await app.type("/probs")
        await app.press("enter")
        await app.sees("Nothing is known about the tokens")


async def test_n_goes_to_the_next_unlikely_token_and_a_narrow_screen_holds_it_all(tmp_path: Path):
    async with running(tmp_path, model=FakeModel(), settings=SHORT, size=(60, 24)) as app:
        await app.send("hi")
        await app.type("/probs")
        await app.press("enter")
        await app.sees("token 1 of 24")
        flow = app.app.screen.query_one(TokenFlow)
        await app.press("n")
        assert (flow._tokens[flow.cursor].probability or 1) < 0.1
        await app.press("end", "home", "pagedown", "pageup", "escape")
        await app.until(lambda: app.app.screen is app.screen)


async def test_while_the_reply_is_written_tokens_are_shown_and_nothing_branches(tmp_path: Path):
    gate = Gate()
    async with running(tmp_path, model=FakeModel(before=gate), settings=SHORT) as app:
        await app.type("hi")
        gate.allow(6)
        await app.press("enter")
        await app.until(lambda: app.session.replies and app.session.replies[0].view.n_tokens >= 3)
        await app.type("/probs")
        await app.press("enter")
        await app.until(lambda: isinstance(app.app.screen, ProbsScreen))
        await app.press("down", "enter")
        await app.sees("still being written")
        gate.open()
        await app.press("escape")
        await app.quiet()
