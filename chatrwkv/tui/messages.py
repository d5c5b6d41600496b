"""What widgets tell the chat screen: requests imperative, facts in the past tense.

These are plain dataclasses: Textual writes into a message while it travels, so they cannot be frozen.
"""

from __future__ import annotations

from dataclasses import dataclass

from textual.message import Message


@dataclass
class Submitted(Message):
    """The user sent what stands in the prompt."""

    text: str


@dataclass
class PromptEdged(Message):
    """An arrow was pressed in the empty prompt."""

    step: int


@dataclass
class StepSibling(Message):
    """Show another version of a message."""

    node_id: str
    step: int


@dataclass
class OpenLink(Message):
    """A link in a reply was clicked; nothing is opened before the user has seen where it leads."""

    url: str
