"""A stored chat drawn again with its model, for `chatrwkv chats replay`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from chatrwkv.chat.replay import replaying
from chatrwkv.chat.template import load_templates
from chatrwkv.chat.vault import Vault
from chatrwkv.commands.running import engine_with_model, watched
from chatrwkv.commands.settings import settings_of
from chatrwkv.paths import Paths, bundled_prompts

if TYPE_CHECKING:
    import argparse

    from chatrwkv.chat.replay import Replayed
    from chatrwkv.chat.tree import Conversation


def replayed(args: argparse.Namespace, conversation: Conversation) -> Replayed:
    """Draw every reply again, from the kept states where there are some."""
    paths, settings = Paths.default(), settings_of(args, {"model.default": args.model})
    templates = load_templates([bundled_prompts(), paths.user_prompts])
    vault = Vault(paths.states, settings.chat.state_budget_mb * 1_000_000)
    try:
        with engine_with_model(settings) as (engine, _):
            found: Replayed = watched(engine.call(replaying(conversation, templates, vault)), "replaying")
    finally:
        vault.close()
    return found
