"""A branch is read at its new place before it is put there: the old place stays until that succeeded."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING

from chatrwkv.chat.plan import plan_path, reading_on
from chatrwkv.chat.tree import Role
from chatrwkv.errors import GenerationError

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Mapping, Sequence

    from chatrwkv.chat.plan import Ids
    from chatrwkv.chat.template import PromptTemplate
    from chatrwkv.chat.tree import Conversation, Node, NodeId
    from chatrwkv.chat.vault import Stored, Vault
    from chatrwkv.engine import Job, LoadedModel


@dataclass(slots=True)
class Read:
    """What reading the copies left behind, by the ids they were planned with."""

    stored: dict[NodeId, Stored] = field(default_factory=dict)
    """Filled on the vault's thread, a moment after the reading."""
    tokens: dict[NodeId, Mapping[str, Ids]] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Graft:
    """A branch on its way; `finish` puts it there once the job is done."""

    job: Job[Read]
    finish: Callable[[], NodeId]
    """Gives back where the branch begins now.

    Raises:
        BadValue: the place or the branch went meanwhile.
        StoreError: it could not be saved; nothing changed.
    """


def branch_reader(
    future: Conversation, adds: Sequence[Node], template: PromptTemplate, mode: str, vault: Vault
) -> Callable[
    [LoadedModel, Callable[[], bool], Callable[[int, int, str], None]], Generator[None, None, Read]
]:
    """A task for the engine thread that keeps a mind after every message of a branch.

    Args:
        future: the tree as it will be.
        adds: the branch in it, parents first.
        template: how turns are written.
        mode: thinking mode of replies to come.
        vault: where minds are found and kept.
    """

    def task(
        loaded: LoadedModel, cancelled: Callable[[], bool], progress: Callable[[int, int, str], None]
    ) -> Generator[None, None, Read]:
        found = Read()
        total = sum(_weight(node) for node in adds)
        done = 0
        for node in adds:
            path = future.path(node.id)
            reading = plan_path(path, template, mode, for_reply=node.role is Role.USER).read(loaded, vault)
            found.tokens.update({key: ids for key, ids in reading.encoded.items() if key == node.id})
            weight, before = _weight(node), done

            def moved(n: int, of: int, what: str, before: int = before, weight: int = weight) -> None:
                progress(before + weight * n // of, total, what)

            minds = yield from reading_on(reading, loaded, cancelled, moved)
            if minds is None or cancelled():  # also a stop that came during the last pass
                raise GenerationError(
                    "It was stopped; the branch is where it was.", hint="Try again any time."
                )
            vault.put(minds[-1], saved=partial(found.stored.__setitem__, node.id))
            done += weight
            progress(done, total, "reading")
            yield
        return found

    return task


def _weight(node: Node) -> int:
    """About how much there is to read: characters, and the words of the role."""
    return len(node.text) + 16
