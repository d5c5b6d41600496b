"""Verbs about states: save, open, look at, compare, read again, documents."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

from chatrwkv.chat import state_tools
from chatrwkv.chat.chorus import mixing
from chatrwkv.chat.portable import importing
from chatrwkv.chat.replay import replaying
from chatrwkv.engine import is_own_state
from chatrwkv.errors import BadValue, ChatRWKVError
from chatrwkv.text import format_bytes, safe_file_name, sanitise_name
from chatrwkv.tui import state_pages
from chatrwkv.tui.demands import loaded_model, open_session, refuse_second_task
from chatrwkv.tui.screens.choice import ChoiceDialog
from chatrwkv.tui.screens.dialogs import PageDialog, PathDialog, as_path
from chatrwkv.tui.verbs_files import free_path, in_folder

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping, Sequence

    from chatrwkv.chat.replay import Replayed
    from chatrwkv.engine import Snapshot
    from chatrwkv.tui.screens.core import ChatCore

    Verb = Callable[[ChatCore, str], Awaitable[None]]

_LEARN = re.compile(r"(?P<file>.+?)(?:\s+as\s+(?P<name>\S.*?))?(?P<twice>\s+--twice)?\s*\Z", re.DOTALL)
_DOCUMENTS = (".txt", ".md")
# Each takes a row of every pass.
_MOST_VOICES = 8


async def state(screen: ChatCore, argument: str) -> None:
    """One of the words of `_WORDS`."""
    word, _, rest = argument.partition(" ")
    if word not in _WORDS:
        raise BadValue(
            f"/state {sanitise_name(word)} is not known." if word else "/state needs a word.",
            hint=f"One of {', '.join(_WORDS)}.",
        )
    await _WORDS[word][0](screen, rest.strip())


def _follow(screen: ChatCore, name: str, task: Callable[..., Any], then: Callable[[Any], None]) -> None:
    """Give the engine a task: its progress stands on the status line, esc stops it."""
    refuse_second_task(screen)
    loaded_model(screen)
    screen.app.follow_task(name, screen.workspace.engine.call(task), then)


# -- files --------------------------------------------------------------------------------------------------


async def _save_state(screen: ChatCore, argument: str) -> None:
    refuse_second_task(screen)
    session = open_session(screen)
    node_id = screen.target
    folder = screen.workspace.paths.saved_states
    proposed = free_path(folder / f"{safe_file_name(session.title, default='chat')}.rwkvstate")
    path = (
        as_path(argument)
        if argument
        else await screen.app.ask_path(PathDialog("Save the state to", proposed))
    )
    if path is None:
        return
    if not path.suffix:
        path = path.with_suffix(".rwkvstate")
    if not path.is_absolute():
        path = folder / path

    def saved(_: object) -> None:
        screen.say(f"Saved the state to {path}.")

    screen.app.follow_task("saving", session.save_state(path, node_id), saved)


async def _load_state(screen: ChatCore, argument: str) -> None:
    name = argument or await _choose(screen)
    if not name:
        return
    path = _state_file(screen, as_path(name))
    if not is_own_state(path):
        _begin_with(screen, path)
        return
    session = screen.workspace.load_state(path, undo_in=open_session(screen).id)
    await screen.show_chat(session)
    screen.say("This chat goes on from the file; nothing has to be read again.")


async def _choose(screen: ChatCore) -> str | None:
    """A saved state, or a path."""
    known = state_pages.saved_rows(screen.workspace.states())
    if known:
        return await screen.app.choose("Saved states", known, "", takes_path=True)
    folder = screen.workspace.paths.saved_states
    path = await screen.app.ask_path(PathDialog("Load a state from", folder / "", must_exist=True))
    return str(path) if path else None


def _begin_with(screen: ChatCore, path: Path) -> None:
    """A chat on top of another program's state, once the engine has held it against the model."""
    said = f"This chat begins with the state in {path.name}; what it has read is not known."
    _follow(screen, "reading the state", importing(path), _beginning(screen, path.stem, said))


def _beginning(screen: ChatCore, title: str, said: str) -> Callable[[Snapshot], None]:
    """What opens a chat on a state once it is there."""

    async def begin(snapshot: Snapshot) -> None:
        try:
            made = screen.workspace.begin_with(
                snapshot, sanitise_name(title), undo_in=open_session(screen).id
            )
            await screen.show_chat(made)
        except ChatRWKVError as error:
            screen.say_error(error)
        else:
            screen.say(said)

    def begun(snapshot: Snapshot) -> None:
        screen.run_worker(begin(snapshot), name="begin")

    return begun


async def _list_states(screen: ChatCore, _: str) -> None:
    if not screen.workspace.states():
        raise BadValue(
            "No state is saved yet.", hint="/state save writes one, /learn makes one of a document."
        )
    await _load_state(screen, "")


async def _drop_state(screen: ChatCore, argument: str) -> None:
    name = argument or await _choose(screen)
    if not name:
        return
    path = _state_file(screen, as_path(name))
    stem = sanitise_name(path.stem)
    if not path.is_file():
        raise BadValue(f"There is no saved state {stem!r}.", hint="/state list shows what there is.")

    def answered(answer: str | None) -> None:
        if answer == "delete":
            screen.workspace.drop_state(path)
            screen.say(f"Deleted the saved state {stem}.")

    size = format_bytes(path.stat().st_size)
    choices = [("keep", "leave it where it is"), ("delete", f"{size}; chats opened from it keep theirs")]
    screen.app.push_screen(ChoiceDialog(f"Delete the saved state {stem}?", choices, "keep"), answered)


async def _state_info(screen: ChatCore, argument: str) -> None:
    if argument:
        from chatrwkv.engine import peek_state

        path = _state_file(screen, as_path(argument))
        rows = state_pages.file_rows(path, peek_state(path), screen.workspace.model)
        screen.app.push_screen(PageDialog("State file", rows))
        return
    session, model = open_session(screen), loaded_model(screen)

    def found(at: state_tools.MindAt) -> None:
        rows = state_pages.mind_rows(
            at, session.vault.usage(), model.state_bytes, screen.workspace.settings.chat.state_fp16_after_days
        )
        screen.app.push_screen(PageDialog("State", rows))

    _follow(screen, "looking", state_tools.whereabouts(session.plan(screen.target), session.vault), found)


# -- the state of a message ---------------------------------------------------------------------------------


async def _verify(screen: ChatCore, _: str) -> None:
    session = open_session(screen)

    def found(result: state_tools.Verified) -> None:
        is_bad = result.distance is not None and not result.is_good
        screen.say(state_pages.verified_words(result), is_problem=is_bad, stays=True)

    _follow(screen, "checking", state_tools.verify(session.plan(screen.target), session.vault), found)


async def refresh(screen: ChatCore, _: str) -> None:
    """Read the path again and put what comes of it in the place of the kept states."""
    session = open_session(screen)

    def found(result: state_tools.Refreshed) -> None:
        n = result.n_states
        screen.say(f"Read {result.n_tokens:,} tokens again; {n} state{'' if n == 1 else 's'} renewed.")

    plan = session.plan(screen.target)
    _follow(screen, "reading again", state_tools.refresh(plan, session.vault, session.renew_state), found)


async def _diff(screen: ChatCore, argument: str) -> None:
    session = open_session(screen)
    names = argument.split()
    if (not names and not screen.target) or len(names) > 2:
        raise BadValue(
            "/state diff needs one or two saved states.",
            hint="With one, or with a message in focus, it is compared with the end of this chat.",
        )
    sources: list[Any] = [_state_file(screen, as_path(name)) for name in names] or [
        session.plan(screen.target)
    ]
    if len(sources) == 1:
        sources.append(session.plan())
    title = f"{names[0] if names else 'this message'} and {names[1] if len(names) > 1 else 'the end of this chat'}"

    def found(result: state_tools.Compared) -> None:
        screen.app.push_screen(
            PageDialog("Two states", state_pages.compared_page(sanitise_name(title), result))
        )

    _follow(screen, "comparing", state_tools.compare(sources[0], sources[1], session.vault), found)


async def _mix(screen: ChatCore, argument: str) -> None:
    names = argument.split()
    if len(names) != 3 or not _is_number(names[2]):
        raise BadValue(
            "/state mix needs two saved states and the weight of the second.",
            hint="For example: /state mix sea fog 0.3",
        )
    paths = [_state_file(screen, as_path(name)) for name in names[:2]]
    weight = float(names[2])
    title = f"{1 - weight:.4g} of {paths[0].stem}, {weight:.4g} of {paths[1].stem}"
    said = "A chat on the mixed state, which is an experiment."
    _follow(screen, "mixing", mixing(paths[0], paths[1], weight), _beginning(screen, title, said))


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


async def _chorus(screen: ChatCore, argument: str) -> None:
    names = argument.split()
    if not names:
        raise BadValue("/state chorus needs saved states.", hint="For example: /state chorus sea fog")
    if len(names) > _MOST_VOICES:
        raise BadValue(f"{len(names)} states are too many.", hint=f"At most {_MOST_VOICES} can join.")
    loaded_model(screen)
    paths = [_state_file(screen, as_path(name)) for name in names]
    open_session(screen).chorus(paths, screen.target)
    screen.say(
        f"An experiment: drawn from the mean of this chat and {', '.join(path.stem for path in paths)}."
    )
    await screen.refresh_path(follow=True)
    screen.focus_prompt()


async def recall(screen: ChatCore, _: str) -> None:
    """How well the model still knows the messages of this chat."""
    session = open_session(screen)
    path = session.path()
    wanted = [screen.target] if screen.target else [node.id for node in path]
    if not wanted:
        raise BadValue("There is nothing to recall yet.", hint="Write a message first.")
    texts = {node.id: sanitise_name(" ".join(node.text.split())) for node in path}

    def found(result: list[state_tools.Recalled]) -> None:
        page = state_pages.recalled_page(result, lambda node_id: texts.get(node_id, ""))
        screen.app.push_screen(PageDialog("What the state recalls", page))

    _follow(screen, "recalling", state_tools.recall(session.plan(), wanted, session.vault), found)


async def _pin(screen: ChatCore, _: str) -> None:
    _set_pin(screen, is_pinned=True)


async def _unpin(screen: ChatCore, _: str) -> None:
    _set_pin(screen, is_pinned=False)


def _set_pin(screen: ChatCore, *, is_pinned: bool) -> None:
    session, model = open_session(screen), loaded_model(screen)

    def found(at: state_tools.MindAt) -> None:
        if is_pinned and at.n_unread:
            screen.say("No state is kept here to be pinned; /refresh makes it.", is_problem=True)
            return
        screen.workspace.pin_state(model.fingerprint, at.chain, is_pinned=is_pinned)
        words = "Pinned: it stays in memory and on disk whatever the budgets say."
        screen.say(words if is_pinned else "No longer pinned.")

    _follow(screen, "looking", state_tools.whereabouts(session.plan(screen.target), session.vault), found)


async def replay(screen: ChatCore, _: str) -> None:
    """Draw every reply of this chat again and say where the first difference is."""
    session = open_session(screen)

    def found(result: Replayed) -> None:
        screen.say(" ".join(result.lines()), is_problem=result.difference is not None, stays=True)

    task = replaying(session.conversation, screen.workspace.templates, session.vault)
    _follow(screen, "replaying", task, found)


# -- documents ----------------------------------------------------------------------------------------------


async def learn(screen: ChatCore, argument: str) -> None:
    """Read a document into a state of its own."""
    match = _LEARN.match(argument)
    if match is None:
        raise BadValue("/learn needs a file.", hint="For example: /learn notes.txt as notes --twice")
    path, twice = as_path(match["file"]), bool(match["twice"])
    refuse_second_task(screen)
    loaded_model(screen)
    name = match["name"] or ""
    job = screen.workspace.learn(path, name, twice=twice, template=open_session(screen).template)
    size = format_bytes(path.stat().st_size)

    def found(saved: Path) -> None:
        stem = sanitise_name(saved.stem)
        screen.say(f"Learnt {stem}. /state load {stem} opens a chat on it, with nothing to read.", stays=True)

    screen.say(f"Reading {sanitise_name(path.name)}, {size}{', twice' if twice else ''}; esc stops it.")
    screen.app.follow_task(f"reading {sanitise_name(path.name)}", job, found)


def _state_file(screen: ChatCore, path: Path) -> Path:
    """The state meant by a path or by the bare name it was saved under."""
    found = in_folder(screen.workspace.paths.saved_states, path)
    return (
        found
        if found.exists() or found.suffix == ".rwkvstate"
        else found.with_name(f"{found.name}.rwkvstate")
    )


_WORDS: Mapping[str, tuple[Verb, str]] = {
    "save": (_save_state, "write it to a file"),
    "load": (_load_state, "a new chat from a saved state"),
    "list": (_list_states, "all saved states"),
    "info": (_state_info, "where this message's state is, or what a file holds"),
    "verify": (_verify, "read the text again and compare, changing nothing"),
    "diff": (_diff, "A [B]: two states head by head"),
    "mix": (_mix, "A B WEIGHT: a chat on a state made of both (experimental)"),
    "chorus": (_chorus, "A ...: a reply from the mean of several states (experimental)"),
    "pin": (_pin, "keep it in memory and on disk"),
    "unpin": (_unpin, "let it go like any other"),
    "drop": (_drop_state, "delete a saved state"),
}
_NAMING = ("load", "info", "diff", "mix", "chorus", "drop")

STATE_VERBS: Mapping[str, Verb] = {
    "state": state,
    "refresh": refresh,
    "recall": recall,
    "replay": replay,
    "learn": learn,
}


def state_choices(screen: ChatCore, kind: str) -> Sequence[tuple[str, str]]:
    """Values that can follow these commands."""
    kind, _, word = kind.partition(" ")
    if kind == "state" and word in _NAMING:
        return [
            (f"{word} {stem}", words) for stem, words in state_pages.saved_rows(screen.workspace.states())
        ]
    if kind == "state" and not word:
        return [(name, words) for name, (_, words) in _WORDS.items()]
    if kind == "documents" and not word:
        return [(path.name, "") for path in sorted(Path().iterdir()) if path.suffix in _DOCUMENTS]
    return ()
