"""What each command does. A verb takes the chat screen and the argument; it raises what the user should read.

Verbs about files and models are in `verbs_files`, about states in `verbs_states`, those about the tree in `verbs_tree`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from chatrwkv.chat.tree import Role
from chatrwkv.errors import BadValue
from chatrwkv.text import format_bytes, sanitise_name
from chatrwkv.tui.demands import open_session
from chatrwkv.tui.sampling_text import MEANINGS, describe, label, text_of, with_value
from chatrwkv.tui.screens.dialogs import EditDialog, PageDialog, TextDialog
from chatrwkv.tui.screens.help import HelpDialog
from chatrwkv.tui.screens.sampling import SamplingScreen
from chatrwkv.tui.spread import spread
from chatrwkv.tui.state_pages import usage_rows
from chatrwkv.tui.verbs_backup import BACKUP_VERBS, backup_choices
from chatrwkv.tui.verbs_files import FILE_VERBS, file_choices
from chatrwkv.tui.verbs_states import STATE_VERBS, state_choices
from chatrwkv.tui.verbs_tokens import TOKEN_VERBS
from chatrwkv.tui.verbs_tree import TREE_VERBS, number_in, tree_choices
from chatrwkv.tui.verbs_tune import TUNE_VERBS

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping, Sequence

    from chatrwkv.engine import ModelInfo
    from chatrwkv.tui.screens.core import ChatCore

    Verb = Callable[[ChatCore, str], Awaitable[None]]


# -- chats --------------------------------------------------------------------------------------------------


async def new(screen: ChatCore, argument: str) -> None:
    """Start a new chat."""
    session = screen.app.fresh_chat()
    if argument:
        session.rename(argument)
    await screen.show_chat(session)
    screen.focus_prompt()


async def chats(screen: ChatCore, _: str) -> None:
    """Show and search the chats."""
    screen.show_chats()


async def rename(screen: ChatCore, argument: str) -> None:
    """Give the chat another name."""
    session = open_session(screen)
    title = argument or await screen.app.ask(TextDialog("Rename this chat", session.title))
    if title is not None and title.strip():
        session.rename(title.strip())


async def delete(screen: ChatCore, _: str) -> None:
    """Delete the open chat."""
    await screen.delete_chat(open_session(screen).id)


async def undelete(screen: ChatCore, _: str) -> None:
    """Bring back what was deleted last."""
    await screen.undelete_chat()


# -- replies ------------------------------------------------------------------------------------------------


async def retry(screen: ChatCore, argument: str) -> None:
    """Other replies."""
    session = open_session(screen)
    wanted = spread(argument, session.params)
    if not session.path():
        raise BadValue("There is no message to reply to yet.", hint="Write one first.")
    is_plain = not argument or argument.isdecimal()
    session.retry(screen.target or session.head, len(wanted), params=None if is_plain else wanted)
    if len(wanted) > 1:
        screen.say(f"{len(wanted)} replies at once, side by side: alt+← and alt+→ walk through them.")
    await screen.refresh_path(follow=True)
    screen.focus_prompt()


async def go_on(screen: ChatCore, _: str) -> None:
    """Continue a reply."""
    session = open_session(screen)
    session.continue_reply(screen.target or session.head)
    await screen.refresh_path(follow=True)


async def edit(screen: ChatCore, _: str) -> None:
    """Another version of a message."""
    session = open_session(screen)
    node_id = screen.target or next(
        (node.id for node in reversed(session.path()) if node.role is Role.USER), None
    )
    if node_id is None:
        raise BadValue("There is no message to edit yet.", hint="Write one first.")
    node = session.node(node_id)
    if node.role is Role.USER:
        screen.start_editing(node.id, node.text)
    else:
        screen.start_asking("rewrite")


async def rewrite(screen: ChatCore, _: str) -> None:
    """Change a text where it stands."""
    session = open_session(screen)
    node = session.node(screen.target or session.head)
    if node.id == session.conversation.root and not node.text:
        raise BadValue("There is no message to edit yet.", hint="Write one first.")
    # The blank between a reply and its role is not the person's to keep; the session puts it back.
    shown = node.text.lstrip() if node.role is Role.ASSISTANT else node.text
    text = await screen.app.ask(EditDialog("Edit in place", shown))
    if text is not None and text != shown:
        session.edit_in_place(node.id, text)
        await screen.refresh_path()
        screen.say("Changed in place; what follows is read again when it is needed. u undoes it.")


async def copy(screen: ChatCore, argument: str) -> None:
    """Copy a message, or its code."""
    session = open_session(screen)
    node_id = screen.target or screen.last_reply()
    if node_id is None or screen.presenter is None:
        raise BadValue("There is nothing to copy yet.", hint="Write a message first.")
    node = session.node(node_id)
    text = screen.presenter.node(session, node).text
    what = "the message"
    if argument.startswith("code"):
        from chatrwkv.tui.widgets.fence import code_blocks

        blocks = code_blocks(text)
        if not blocks:
            raise BadValue("There is no code in this message.", hint="y copies the whole message.")
        number = argument.removeprefix("code").strip()
        place = (
            number_in(number, "The block", 1, len(blocks))
            if number
            else screen.next_code(node_id, len(blocks))
        )
        text, what = blocks[place - 1], f"code {place} of {len(blocks)}"
    screen.app.copy_to_clipboard(text)
    screen.say(f"Copied {what}, {len(text):,} characters.")


# -- how it answers -----------------------------------------------------------------------------------------


async def system(screen: ChatCore, argument: str) -> None:
    """Set the system text."""
    session = open_session(screen)
    text = argument or await screen.app.ask(EditDialog("System text of this chat", session.system))
    if text is None or text == session.system:
        return
    session.set_system(text)
    await screen.refresh_path()
    if text and not session.template.takes_system:
        screen.say(f"Kept, but the template {session.template.name} has no place for a system text.")


async def prompt(screen: ChatCore, argument: str) -> None:
    """Choose the template."""
    session = open_session(screen)
    name = argument or await screen.app.choose(
        "Prompt template", choices(screen, "templates"), session.template.name
    )
    if name:
        session.set_template(name)
        chosen = session.template
        screen.say(f"{chosen.title}: {chosen.description}")


async def think(screen: ChatCore, argument: str) -> None:
    """Choose how much the model thinks."""
    session = open_session(screen)
    modes = session.template.thinking
    if len(modes) < 2:
        raise BadValue(
            f"The template {session.template.name} has no thinking modes.",
            hint="Choose another with /prompt.",
        )
    mode = argument or await screen.app.choose("Thinking", choices(screen, "modes"), session.thinking)
    if mode:
        session.set_thinking(mode)
        screen.say(f"Thinking: {session.thinking}.")


async def set_(screen: ChatCore, argument: str) -> None:
    """Change a sampling setting, or open the panel."""
    session = open_session(screen)
    if not argument:
        presets = {t.title or t.name: t.sampling for t in screen.workspace.templates.ok.values()}
        screen.app.push_screen(SamplingScreen(session.params, presets, screen.take_params))
        return
    name, _, value = argument.replace("=", " ", 1).partition(" ")
    if not value.strip():
        raise BadValue(f"/set {sanitise_name(name)} needs a value.", hint="For example: /set temperature 0.8")
    screen.take_params(with_value(session.params, name, value))
    screen.say(f"Replies are drawn with {describe(session.params)}.")


async def preset(screen: ChatCore, argument: str) -> None:
    """The sampling of a template."""
    template = screen.workspace.templates.get(argument)
    screen.take_params(template.sampling)
    screen.say(f"Replies are drawn as {template.title} wants it: {describe(template.sampling)}.")


async def seed(screen: ChatCore, argument: str) -> None:
    """Fix the seed."""
    params = with_value(open_session(screen).params, "seed", argument)
    screen.take_params(params)
    fresh = "Each reply draws a new seed."
    screen.say(
        fresh if params.seed is None else f"Replies are drawn with seed {params.seed}. /seed frees it."
    )


# -- the app ------------------------------------------------------------------------------------------------


def _runs_on(model: ModelInfo) -> str:
    """Device, precision, and for what native code can compute, whether it does."""
    from chatrwkv.engine import native_status

    place = f"{model.device}, {model.dtype}"
    if not model.has_native_path:
        return place
    native = native_status()
    if native.is_available:
        return f"{place}, native code ({native.isa})"
    why = "native code is being built" if native.is_building else f"no native code: {native.why_not}"
    return f"{place}, torch; {why}"


async def stats(screen: ChatCore, _: str) -> None:
    """Model, tokens, speed, memory."""
    session, model = open_session(screen), screen.workspace.model
    usage = session.vault.usage()
    rows: list[tuple[str, str]] = [("Model", "")]
    if model is not None:
        rows += [
            ("name", model.name), ("file", model.path), ("generation", f"RWKV-{model.generation}"),
            ("size", f"{model.n_layer} layers, {model.n_embd} wide, {model.n_params / 1e6:,.1f} M parameters"),
            ("vocabulary", f"{model.n_vocab:,}"), ("runs on", _runs_on(model)),
            ("one state", format_bytes(model.state_bytes)), ("fingerprint", model.fingerprint[:16]),
        ]  # fmt: skip
        if model.n_context:
            rows.append(("context", f"{model.n_context:,} tokens; then the last half is read again"))
    else:
        rows.append(("none", screen.app.model_problem or "it is being loaded"))
    nodes = session.conversation.nodes.values()
    rows += [
        ("This chat", ""), ("messages", f"{len(nodes) - 1:,}"), ("tokens here", f"{session.n_tokens():,}"),
        ("template", session.template.name), ("sampling", describe(session.params)),
        *usage_rows(usage),
    ]  # fmt: skip
    for node in reversed(session.path()):
        if node.meta is not None and node.meta.stats is not None:
            cost = node.meta.stats
            rows += [
                ("Last reply", ""), ("read", f"{cost.prompt_tokens:,} tokens, {cost.prefill_tok_s:,.0f} tok/s"),
                ("written", f"{cost.reply_tokens:,} tokens, {cost.decode_tok_s:,.1f} tok/s"),
            ]  # fmt: skip
            break
    screen.app.push_screen(PageDialog("Numbers", rows))


async def theme(screen: ChatCore, argument: str) -> None:
    """Choose the colours."""
    if not argument:
        screen.app.action_change_theme()
    elif argument in screen.app.available_themes:
        screen.app.theme = argument
    else:
        raise BadValue(f"There is no theme {sanitise_name(argument)!r}.", hint="/theme lists them.")


async def help_(screen: ChatCore, _: str) -> None:
    """Keys and commands."""
    screen.app.push_screen(HelpDialog(screen))


async def quit_(screen: ChatCore, _: str) -> None:
    """Save and leave."""
    await screen.app.leave(0)


VERBS: Mapping[str, Verb] = {
    "new": new, "chats": chats, "rename": rename, "delete": delete, "undelete": undelete, "retry": retry,
    "continue": go_on, "edit": edit, "rewrite": rewrite, "copy": copy, "prompt": prompt,
    "system": system, "think": think, "set": set_, "preset": preset, "seed": seed, "stats": stats,
    "theme": theme, "help": help_, "quit": quit_, **TOKEN_VERBS, **FILE_VERBS, **STATE_VERBS, **TREE_VERBS,
    **TUNE_VERBS, **BACKUP_VERBS,
}  # fmt: skip


_FIXED: Mapping[str, Sequence[tuple[str, str]]] = {
    "copy": [("code", "the next block of code")],
    "retry": [
        ("4", "four replies at once"),
        ("8 temp 0.5..1.5", "eight, from cool to wild"),
        ("temp 0.5,1,1.5", "one for each value"),
    ],
}


def choices(screen: ChatCore, kind: str) -> Sequence[tuple[str, str]]:
    """Values that can follow a command."""
    session = open_session(screen)
    if kind == "templates":
        return [(t.name, sanitise_name(t.title)) for t in screen.workspace.templates.ok.values()]
    if kind == "modes":
        return [(name, sanitise_name(mode.title)) for name, mode in session.template.thinking.items()]
    if kind == "params":
        return [
            (f"{label(name)} ", f"{text_of(session.params, name) or '–'}   {MEANINGS[name]}")
            for name in MEANINGS
        ]
    if kind == "themes":
        return [(name, "") for name in sorted(screen.app.available_themes)]
    return [
        *_FIXED.get(kind, ()),
        *file_choices(screen, kind),
        *state_choices(screen, kind),
        *tree_choices(screen, kind),
        *backup_choices(screen, kind),
    ]
