"""The tree by keys and commands: find, go to, fork, move, merge, split, either side, purge."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from chatrwkv.chat.tree import Role
from chatrwkv.tui.screens.find import FindDialog, PickDialog
from tests.fakes import FakeModel, Gate, ScriptedModel
from tests.tui.driver import running

if TYPE_CHECKING:
    from pathlib import Path

    from tests.tui.driver import Driver


async def focused(app: Driver, node_id: str) -> None:
    await app.until(lambda: app.screen.target == node_id)


@pytest.mark.parametrize("size", [(80, 24), (120, 40)])
async def test_what_is_found_in_another_chat_is_gone_to_on_its_branch(tmp_path: Path, size: tuple[int, int]):
    """Ctrl+f, words, enter: the message has the focus although another branch of another chat was shown."""
    async with running(tmp_path, "Nothing.", size=size) as app:
        await app.send("the silver key of 三体")
        first, silver = app.session.id, app.session.path()[0].id
        app.session.edit(silver, "the golden cup of 三体")
        await app.quiet()
        await app.press("ctrl+n")
        await app.until(lambda: app.session.id != first)
        await app.send("another chat")
        await app.press("ctrl+f")
        await app.in_dialog()
        await app.type("KEY silver")
        await app.sees("the silver key of")
        await app.press("enter")
        await app.until(lambda: app.session.id == first)
        await app.until(lambda: app.screen.target == silver)
        assert app.session.path()[0].id == silver
        await app.press("escape", "ctrl+f")
        await app.in_dialog()
        dialog = app.app.screen
        assert isinstance(dialog, FindDialog)
        for _ in range(12):
            await app.press("backspace")
        await app.type("三")
        await app.until(lambda: [row.key for row in dialog.rows.rows if row.key])
        await app.press("enter")
        await app.out_of_dialog()
        await app.until(lambda: app.session.path()[0].text == "the golden cup of 三体")


async def test_find_can_stay_in_the_open_chat_and_steps_through_what_it_shows(tmp_path: Path):
    async with running(tmp_path, "ok") as app:
        for text in ("fox one", "two", "three fox", "fox four"):
            await app.send(text)
        places = [node.id for node in app.session.path() if "fox" in node.text]
        await app.press("ctrl+n")
        await app.until(lambda: not app.session.path())
        await app.send("fox elsewhere")
        await app.press("ctrl+s", "down", "enter")
        await app.until(lambda: places[0] in app.session.conversation.nodes)
        await app.press("ctrl+f")
        await app.in_dialog()
        await app.type("fox")
        dialog = app.app.screen
        assert isinstance(dialog, FindDialog)
        await app.until(lambda: len([row for row in dialog.rows.rows if row.key]) >= 4)
        await app.press("tab")
        await app.sees("Find in this chat")
        await app.until(lambda: len([row for row in dialog.rows.rows if row.key]) == 3)
        await app.press("escape")
        await app.out_of_dialog()
        await app.command("/next fox")
        for wanted, key in ((0, "f3"), (1, "f3"), (2, "f3"), (0, "f4"), (2, "f4"), (1, "escape")):
            await focused(app, places[wanted])
            await app.press(key)


async def test_a_message_is_gone_to_by_name_by_id_and_from_the_list(tmp_path: Path):
    async with running(tmp_path, "one", "two") as app:
        await app.send("first question")
        first = app.session.path()[0].id
        await app.send("second question")
        app.session.bookmark(first, "the start")
        await app.command("/goto the start")
        await app.until(lambda: app.screen.target == first)
        await app.press("escape")
        last = app.session.head
        await app.command(f"/goto {last[:8]}")
        await app.until(lambda: app.screen.target == last)
        await app.press("escape")
        await app.command("/goto nowhere")
        await app.sees("No message has the name 'nowhere'")
        await app.command("/bookmarks")
        await app.in_dialog()
        await app.sees("the start")
        await app.press("enter")
        await app.until(lambda: app.screen.target == first)
        await app.press("escape")
        await app.command("/goto")
        await app.in_dialog()
        await app.type("second")
        await app.press("enter")
        await app.until(lambda: app.screen.target == app.session.path()[2].id)


async def test_a_branch_is_moved_with_a_list_to_choose_from_and_moved_back_by_undo(tmp_path: Path):
    async with running(tmp_path, "one", "two", "three") as app:
        await app.send("first")
        await app.send("second")
        await app.press("alt+up", "alt+up")
        second = app.session.path()[2].id
        await app.until(lambda: app.screen.target == second)
        moved = app.answers()[2:]
        await app.press("x")
        await app.in_dialog()
        dialog = app.app.screen
        assert isinstance(dialog, PickDialog)
        assert second not in [row.key for row in dialog.rows.rows], "not below itself"
        await app.type("the beginning")
        await app.press("enter")
        await app.out_of_dialog()
        await app.until(lambda: second not in app.session.conversation.nodes)
        assert app.answers() == moved
        await app.sees("Moved 2 messages")
        await app.press("escape")
        await app.command("/undo")
        await app.until(lambda: second in app.session.conversation.nodes)


async def test_a_move_is_stopped_with_esc_and_nothing_moved(tmp_path: Path):
    gate = Gate()
    gate.open()
    async with running(tmp_path, model=FakeModel(before=gate, end_rate=60)) as app:
        await app.send("first")
        await app.send("second")
        before = app.session.conversation
        gate.close()
        await app.press("alt+up", "alt+up", "x")
        await app.in_dialog()
        await app.type("the beginning")
        await app.press("enter")
        await app.out_of_dialog()
        await app.until(lambda: gate.waiting)
        task = app.app.side_task
        assert task is not None
        await app.press("escape")
        await app.until(
            lambda: task.job.cancelled
        )  # else the reading could be through before the key arrives
        gate.open()
        await app.sees("It was stopped; the branch is where it was.")
        assert app.session.conversation is before


async def test_two_messages_are_merged_and_one_is_split_at_the_cursor(tmp_path: Path):
    async with running(tmp_path, "reply") as app:
        await app.command("/as user alpha")
        await app.command("/as user beta")
        await app.until(lambda: app.answers() == ["alpha", "beta"])
        await app.command("/merge")
        await app.until(lambda: app.answers() == ["alpha\n\nbeta"])
        await app.press("S")
        await app.in_dialog()
        await app.press("ctrl+home", "right", "right", "enter")
        await app.until(lambda: app.answers() == ["al", "pha\n\nbeta"])
        await app.press("escape")
        await app.command("/split 99")
        await app.sees("must be a number")


async def test_either_side_is_spoken_for_without_a_reply(tmp_path: Path):
    async with running(tmp_path, "reply") as app:
        await app.command("/as user hello")
        await app.command("/as bot I am a fox.")
        await app.until(lambda: app.answers() == ["hello", "I am a fox."])
        assert [node.role for node in app.session.path()] == [Role.USER, Role.ASSISTANT]
        assert not app.screen.is_writing
        await app.command("/split 4")
        await app.until(lambda: app.answers() == ["hello", "I am", "a fox."])
        await app.press("escape")
        await app.command("/as nobody x")
        await app.sees("/as user TEXT or /as bot TEXT")


async def test_the_model_writes_my_side_into_the_prompt(tmp_path: Path):
    async with running(tmp_path, model=ScriptedModel("A fox.", "What then?")) as app:
        await app.send("who?")
        await app.press("f6")
        await app.until(lambda: app.screen.suggesting is None and app.screen.prompt.text)
        assert app.screen.prompt.text in ("A fox.", "What then?")
        assert len(app.session.path()) == 2
        await app.press("f6")
        await app.sees("There is a text in the prompt")


async def test_whoever_types_meanwhile_has_the_prompt(tmp_path: Path):
    gate = Gate()
    gate.open()
    async with running(tmp_path, model=FakeModel(before=gate)) as app:
        await app.type("hello")
        await app.press("enter")
        await app.until(lambda: app.screen.is_writing)
        await app.press("escape")
        await app.quiet()
        gate.close()
        await app.press("f6")
        await app.until(lambda: gate.waiting)
        await app.type("mine")
        gate.open()
        await app.until(lambda: app.screen.suggesting is None)
        assert app.screen.prompt.text == "mine"


async def test_a_fork_asks_how_much_and_takes_it(tmp_path: Path):
    async with running(tmp_path, "one", "two") as app:
        await app.send("first")
        chat = app.session.id
        await app.press("ctrl+r")
        await app.until(lambda: len(app.session.conversation.nodes) == 4)
        await app.quiet()
        await app.press("alt+up", "F")
        await app.in_dialog()
        await app.press("down", "enter")
        await app.until(lambda: app.session.id != chat)
        assert len(app.session.conversation.nodes) == 4
        await app.command("/fork everything")
        await app.sees("One of path, siblings, tree")


async def test_a_fork_is_undone_in_the_new_chat_and_done_again_in_the_old_one(tmp_path: Path):
    async with running(tmp_path, "one") as app:
        await app.send("first")
        old = app.session.id
        await app.command("/fork")
        await app.until(lambda: app.session.id != old)
        new = app.session.id
        await app.command("/undo")
        await app.until(lambda: app.session.id == old)
        await app.sees("Undone: fork")
        assert [chat.id for chat in app.app.workspace.chats()] == [old]
        await app.press("alt+up", "U")
        await app.until(lambda: app.session.id == new)
        await app.sees("Done again: fork")
    async with running(tmp_path, chat=new) as app:
        await app.press("alt+up", "u")
        await app.until(lambda: app.session.id == old)
        assert app.answers() == ["first", "one"]


async def test_what_was_deleted_is_erased_only_after_a_yes(tmp_path: Path):
    async with running(tmp_path, "one", "two") as app:
        await app.send("first")
        await app.command("/purge")
        await app.sees("Nothing is deleted in this chat")
        await app.send("second")
        await app.press("alt+up", "d")
        await app.until(lambda: len(app.session.path()) == 3)
        for answer, n in (("escape", 1), ("y", 0)):
            await app.command("/purge")
            await app.in_dialog()
            await app.sees("1 message and 1 state")
            await app.press(answer)
            await app.out_of_dialog()
            await app.until(lambda: answer == "escape" or "Erased 1 message" in app.text())  # noqa: B023 -- awaited here
            assert app.app.workspace.purgeable(app.session.id).n_messages == n
        await app.command("/undo")
        await app.sees("There is nothing to undo")
