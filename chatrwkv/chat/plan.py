"""What a model must read for a reply: the path as segments of text, their ids, the nearest snapshot.

Rendering (`plan_path`) happens where the conversation lives; encoding and looking up (`Plan.read`) on the
engine thread, the only place that has a tokenizer. Ids that were once fed for a segment are fed again; text
is encoded only where the rendered text is new: another tokenizer, another template, an edited message.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import lru_cache
from hashlib import sha256
from itertools import takewhile
from types import MappingProxyType
from typing import TYPE_CHECKING, NamedTuple, Protocol

from chatrwkv.chat.tree import Node, NodeId, Role
from chatrwkv.engine import EMPTY_CHAIN, Prompt, extend
from chatrwkv.errors import StateMismatch

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Mapping, Sequence

    from chatrwkv.chat.template import PromptTemplate
    from chatrwkv.engine import LoadedModel, Snapshot, Tokenizer

Ids = tuple[int, ...]

# Fewer tokens than this at the start of a chat are read as fast as a state is found.
_LONG_START = 64

_extend = lru_cache(maxsize=1 << 16)(extend)


class Minds(Protocol):
    """Where snapshots are found: the vault, or a single one."""

    def get(self, fingerprint: str, chain: str, /) -> Snapshot | None:
        """The snapshot after exactly these tokens."""
        ...

    def discard(self, fingerprint: str, chain: str, why: Exception, /) -> None:
        """Never offer this one again."""
        ...


class NothingKept:
    """No snapshot is known: everything is read."""

    def get(self, _fingerprint: str, _chain: str, /) -> Snapshot | None:
        """None."""
        return None

    def discard(self, _fingerprint: str, _chain: str, _why: Exception, /) -> None:
        """There is nothing."""


@dataclass(frozen=True, slots=True)
class Segment:
    """One node's part of the prompt, as text."""

    node_id: NodeId | None
    """None for the role that opens the reply asked for."""
    text: str
    prefix: str = ""
    """Encoded on its own, before `text`: what the model went on from."""
    start_ids: Ids = ()
    known: Mapping[str, Ids] = field(default_factory=lambda: MappingProxyType({}))
    """Ids fed before, by dialect."""
    is_start: bool = False
    """Whether other chats may begin with the same: a system text, a document."""
    base: str = ""
    """Of the first: the chain of the state that all of it is read on top of; empty is the blank state."""

    def dialect(self, tokenizer_id: str) -> str:
        """Under which name the ids of exactly this text are kept."""
        return dialect(tokenizer_id, self.text, self.prefix, self.start_ids)

    def ids(self, tokenizer: Tokenizer) -> tuple[Ids, int]:
        """The ids, and how many of them are the prefix's."""
        before = (*self.start_ids, *tokenizer.encode(self.prefix)) if self.prefix else self.start_ids
        known = self.known.get(self.dialect(tokenizer.tokenizer_id))
        if known is not None and known[: len(before)] == before:
            return known, len(before)
        return (*before, *tokenizer.encode(self.text)), len(before)


def dialect(tokenizer_id: str, text: str, prefix: str = "", start_ids: Ids = ()) -> str:
    """The name of a rendering: tokenizer and hash of the text, so that ids never outlive an edit."""
    rendered = f"{start_ids}\0{prefix}\0{text}".encode("utf-8", "surrogatepass")
    return f"{tokenizer_id}:{sha256(rendered).hexdigest()[:16]}"


class Border(NamedTuple):
    """A place where a snapshot may be."""

    n_tokens: int
    chain: str
    node_id: NodeId | None
    """The message that it belongs to."""


@dataclass(frozen=True, slots=True)
class Reading:
    """What a plan became with one model."""

    prompt: Prompt
    chain: str
    """After the whole prompt."""
    n_tokens: int
    """Of the whole prompt, from the first token on."""
    last: Segment
    last_ids: Ids
    """Of the last segment: what a reply's own ids are added to."""
    encoded: Mapping[NodeId, Mapping[str, Ids]]
    """Ids that no node has stored yet, by node and dialect."""
    borders: tuple[Border, ...]
    """All places of snapshots, the end last."""
    marks: Mapping[int, NodeId]
    """Where the system text and each document end, by tokens from the first one on: what chats share."""
    model: str
    fingerprint: str
    tokenizer_id: str


@dataclass(frozen=True, slots=True)
class Plan:
    """The segments of one prompt, root first."""

    segments: tuple[Segment, ...]

    def n_known(self, tokenizer_id: str) -> int:
        """How many ids are known for this tokenizer."""
        return sum(len(part.known.get(part.dialect(tokenizer_id), ())) for part in self.segments)

    @property
    def base(self) -> str:
        """The chain of the state that all of it is read on top of; empty is the blank state."""
        return self.segments[0].base

    def known_chain(self, tokenizer_id: str) -> str | None:
        """The chain over the ids that were fed; None where some are not known for this rendering."""
        chain = self.base or EMPTY_CHAIN
        for part in self.segments:
            ids = part.known.get(part.dialect(tokenizer_id))
            if ids is None:
                return None
            chain = _extend(chain, ids)
        return chain

    def read(self, loaded: LoadedModel, minds: Minds, negative: str | None = None) -> Reading:
        """Encode what is new and find the deepest snapshot that has read a prefix of this.

        Args:
            loaded: the model that will read it.
            minds: where snapshots are.
            negative: what guidance leads away from; None is no guidance.
        """
        tokenizer, fingerprint = loaded.tokenizer, loaded.model.spec.fingerprint
        ids: list[int] = []
        # After each segment, and after each prefix: the places where snapshots are put.
        borders = [Border(0, self.base, self.segments[0].node_id)] if self.base else []
        owner: NodeId | None = None
        encoded: dict[NodeId, dict[str, Ids]] = {}
        marks: dict[int, NodeId] = {}
        chain, last = self.base or EMPTY_CHAIN, tuple[int, ...]()
        for segment in self.segments:
            last, n_prefix = segment.ids(tokenizer)
            if n_prefix and n_prefix < len(last):
                borders.append(Border(len(ids) + n_prefix, _extend(chain, last[:n_prefix]), owner))
            chain = _extend(chain, last)
            ids.extend(last)
            owner = owner if segment.node_id is None else segment.node_id
            borders.append(Border(len(ids), chain, owner))
            name = segment.dialect(tokenizer.tokenizer_id)
            if segment.node_id is not None and name not in segment.known:
                encoded[segment.node_id] = {name: last}
            if segment.is_start and segment.node_id is not None and len(last) >= _LONG_START:
                marks[len(ids)] = segment.node_id
        snapshot, n_read = _deepest(borders, loaded, minds)
        rest = tuple(ids[n_read:])
        if snapshot is None and not rest:
            rest = (0,)  # nothing at all was said: the model starts from the border between texts
            chain, ids = extend(EMPTY_CHAIN, rest), [0]
        wanted = tuple(at - n_read for at in marks if at > n_read)
        return Reading(
            prompt=Prompt(
                snapshot, rest, wanted, self._beside(tokenizer, negative, last), ids[-1] if ids else 0
            ),
            chain=chain,
            n_tokens=len(ids),
            last=self.segments[-1],
            last_ids=last,
            encoded=encoded,
            borders=tuple(borders),
            marks=marks,
            model=loaded.name,
            fingerprint=fingerprint,
            tokenizer_id=tokenizer.tokenizer_id,
        )

    def _beside(self, tokenizer: Tokenizer, negative: str | None, last: Ids) -> Ids:
        """What a mind reads that knows the reply so far, but the negative prompt in place of the conversation."""
        if negative is None:
            return ()
        return (*self.segments[0].start_ids, *tokenizer.encode(negative), *last) or (0,)


def _deepest(borders: Sequence[Border], loaded: LoadedModel, minds: Minds) -> tuple[Snapshot | None, int]:
    fingerprint = loaded.model.spec.fingerprint
    for n_read, chain, _ in reversed(borders):
        if chain == EMPTY_CHAIN or (snapshot := minds.get(fingerprint, chain)) is None:
            continue
        try:
            return loaded.adopt(snapshot), n_read
        except StateMismatch as error:
            minds.discard(fingerprint, chain, error)
    if borders[0].n_tokens == 0 and borders[0].chain != EMPTY_CHAIN:
        # Going on as if nothing had been read would be another chat.
        raise StateMismatch(
            f"This chat goes on from a state that is not here for {loaded.name}.",
            hint="Load the model it was for, or load the state's file once more.",
        )
    return None, 0


def plan_path(
    path: Sequence[Node], template: PromptTemplate, mode: str = "", *, for_reply: bool = True
) -> Plan:
    """Render a path.

    Args:
        path: root to the node after which the model goes on.
        template: how turns are written.
        mode: thinking mode of the reply asked for.
        for_reply: open a new reply at the end; False goes on inside the last node, or only reads the path.
    """
    turns = path[1:]
    if not template.multi_turn:
        # Each question stands alone: everything before the last one is left out, but for documents.
        last_user = max((i for i, node in enumerate(turns) if node.role is Role.USER), default=0)
        turns = [*documents(turns[:last_user]), *turns[last_user:]]
    segments = [_root_segment(path[0], template)]
    after_reply = has_turns = False
    for place, node in enumerate(turns):
        if node.role is Role.ASSISTANT:
            is_last = place == len(turns) - 1
            if not node.text and (for_reply or not is_last):
                continue  # a reply that never began was read by nobody
            segments.append(_reply_segment(node, template))
            after_reply = True
        else:
            follows = turns[place + 1 : place + 2]
            asked = _mode_of(follows[0], template) if follows else _known_mode(mode, template)
            text = _turn_text(node, template, first=not after_reply, mode=asked)
            is_document = node.role is Role.RAW and not has_turns
            segments.append(Segment(node.id, text, known=node.tokens, is_start=is_document))
            has_turns = has_turns or not is_document
            after_reply = False
    if for_reply:
        segments.append(Segment(None, "", prefix=template.reply_prefix(_known_mode(mode, template))))
    return Plan(tuple(segments))


def documents(turns: Sequence[Node]) -> list[Node]:
    """The texts that a chat begins with, before anybody says anything."""
    return list(takewhile(lambda node: node.role is Role.RAW, turns))


def drawn_ids(node: Node, template: PromptTemplate, tokenizer_id: str) -> Ids:
    """The ids of a reply that were drawn, not given, if they are known for this tokenizer."""
    n_drawn = node.meta.n_drawn if node.meta else 0
    known = fed_ids(node, template, tokenizer_id)
    return known[len(known) - n_drawn :] if n_drawn <= len(known) else ()


def fed_ids(node: Node, template: PromptTemplate, tokenizer_id: str) -> Ids:
    """All ids of a reply, what the template put before it included, if they are known for this tokenizer."""
    return node.tokens.get(reply_dialect(node, template, tokenizer_id), ())


def reply_dialect(node: Node, template: PromptTemplate, tokenizer_id: str) -> str:
    """Under which name the ids of a reply with this text are kept."""
    return _reply_segment(node, template).dialect(tokenizer_id)


def _root_segment(root: Node, template: PromptTemplate) -> Segment:
    text = template.opening() + template.system_segment(root.text)
    return Segment(
        root.id, text, start_ids=template.start_ids, known=root.tokens, is_start=True, base=root.base
    )


def _turn_text(node: Node, template: PromptTemplate, *, first: bool, mode: str) -> str:
    if node.role is Role.USER:
        return template.user_segment(node.text, first, mode)
    return template.system_segment(node.text) if node.role is Role.SYSTEM else node.text


def _reply_segment(node: Node, template: PromptTemplate) -> Segment:
    return Segment(
        node.id, node.text, prefix=template.reply_prefix(_mode_of(node, template)), known=node.tokens
    )


def _mode_of(node: Node, template: PromptTemplate) -> str:
    return _known_mode(node.meta.thinking if node.meta else "", template)


def _known_mode(mode: str, template: PromptTemplate) -> str:
    return mode if mode in template.thinking else template.default_mode


def reading_on(
    reading: Reading,
    loaded: LoadedModel,
    cancelled: Callable[[], bool],
    progress: Callable[[int, int, str], None],
) -> Generator[None, None, list[Snapshot] | None]:
    """Feed what no snapshot holds yet, on the engine thread, with pauses for replies.

    Returns:
        The minds at the marks and, last, after all of it; None when it was cancelled.
    """
    from chatrwkv.engine import read_ids  # torch is loaded by now, and not before

    prompt = reading.prompt
    if not prompt.token_ids:
        return [prompt.snapshot] if prompt.snapshot is not None else None
    steps = read_ids(loaded, prompt.snapshot, prompt.token_ids, cancelled, progress, prompt.marks)
    return (yield from steps)
