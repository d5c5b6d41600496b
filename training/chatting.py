"""Talks to a model as the application does: its template, its sampler, its stop strings, many rows at once."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import torch

from chatrwkv import paths
from chatrwkv.chat.template import PromptTemplate, load_templates
from chatrwkv.engine import LoadedModel, Scratch
from chatrwkv.engine.sampling import Marks, Sampler

if TYPE_CHECKING:
    from collections.abc import Sequence

MAX_TOKENS = 200
"""A reply that has not ended by then counts as endless."""


@dataclass(frozen=True, slots=True)
class Answer:
    """What the model said, and whether it ended by itself."""

    text: str
    ended: bool


def builtin_template() -> PromptTemplate:
    """The template that the application takes for a built-in model."""
    return load_templates([paths.bundled_prompts()]).default_for("builtin")


def segments(template: PromptTemplate, turns: Sequence[tuple[str, str]]) -> list[str]:
    """The pieces that the application feeds for turns that end with the user."""
    pieces = [template.opening()]
    first = True
    for role, text in turns:
        if role == "user":
            pieces += [template.user_segment(text, first=first), template.reply_prefix()]
            first = False
        else:
            pieces.append(f" {text}")
    return [piece for piece in pieces if piece]


@torch.inference_mode()
def reply(loaded: LoadedModel, conversations: Sequence[Sequence[tuple[str, str]]], seed: int) -> list[Answer]:
    """One answer to each conversation at the template's own sampling."""
    model, tokenizer = loaded.model, loaded.tokenizer
    template = builtin_template()
    prompts = [
        [i for piece in segments(template, turns) for i in tokenizer.encode(piece)] for turns in conversations
    ]
    scratch = Scratch.stack([model.blank()] * len(prompts))
    logits = model.scan(prompts, scratch)
    assert isinstance(logits, torch.Tensor)
    marks = Marks.of(tokenizer)
    samplers = [
        Sampler(replace(template.sampling, seed=seed * 1000 + i), model.spec.n_vocab, loaded.banned, marks)
        for i in range(len(prompts))
    ]
    raw = [b""] * len(prompts)
    ended = [False] * len(prompts)
    stops = [stop.encode() for stop in template.stops]
    for position in range(MAX_TOKENS):
        fed = []
        for i, sampler in enumerate(samplers):
            token_id = 0 if ended[i] else sampler.pick(logits[i], position).id
            fed.append(token_id)
            if ended[i]:
                continue
            sampler.accept(token_id)
            raw[i] += tokenizer.bytes_of(token_id)
            ended[i] = token_id == 0 or any(stop in raw[i] for stop in stops)
        if all(ended):
            break
        logits = model.step(fed, scratch)
    return [
        Answer(_before(text, stops).decode(errors="replace").strip(), end)
        for text, end in zip(raw, ended, strict=True)
    ]


def _before(raw: bytes, stops: Sequence[bytes]) -> bytes:
    return min((raw.split(stop)[0] for stop in stops), key=len, default=raw)


def talk(loaded: LoadedModel, messages: Sequence[str], seed: int) -> list[tuple[str, str]]:
    """A conversation of several messages, each answered before the next is sent."""
    turns: list[tuple[str, str]] = []
    for message in messages:
        turns.append(("user", message))
        turns.append(("assistant", reply(loaded, [turns], seed)[0].text))
    return turns
