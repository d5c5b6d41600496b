"""Nodes and settings as database rows and back; unknown fields of newer programs are skipped."""

from __future__ import annotations

import json
import sys
from array import array
from dataclasses import asdict
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from chatrwkv.chat.tree import Node, NodeStatus, ReplyMeta, Role
from chatrwkv.engine import SAMPLING_FIELDS, GenerationStats, SamplingParams
from chatrwkv.errors import StoreCorrupt

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Iterable, Mapping

_STATS = ("prompt_tokens", "reply_tokens", "prefill_s", "decode_s")


def dump(value: object) -> str:
    """`value` as compact JSON."""
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))


def pack_ids(token_ids: Iterable[int]) -> bytes:
    """Token ids as u32, little endian."""
    packed = array("I", token_ids)
    if sys.byteorder == "big":
        packed.byteswap()
    return packed.tobytes()


def unpack_ids(blob: bytes) -> tuple[int, ...]:
    """The inverse of `pack_ids`."""
    packed = array("I")
    packed.frombytes(blob[: len(blob) // 4 * 4])
    if sys.byteorder == "big":
        packed.byteswap()
    return tuple(packed)


def params_to_dict(params: SamplingParams) -> dict[str, Any]:
    """Sampling settings as JSON values."""
    return {**asdict(params), "banned": sorted(params.banned), "stop": list(params.stop)}


def params_from_dict(values: Mapping[str, Any]) -> SamplingParams:
    """The inverse of `params_to_dict`."""
    known = {key: value for key, value in values.items() if key in SAMPLING_FIELDS}
    known["banned"] = frozenset(known.get("banned", ()))
    known["stop"] = tuple(known.get("stop", ()))
    return SamplingParams(**known)


def meta_to_dict(meta: ReplyMeta) -> dict[str, Any]:
    """How a reply came about as JSON values."""
    return {
        "model": meta.model,
        "fingerprint": meta.fingerprint,
        "template": meta.template,
        "thinking": meta.thinking,
        "params": params_to_dict(meta.params),
        "seed": meta.seed,
        "reason": meta.reason,
        "stats": {name: getattr(meta.stats, name) for name in _STATS} if meta.stats else None,
        "n_drawn": meta.n_drawn,
        "mu": meta.mu,
        "chosen": list(meta.chosen),
        "resumed": list(meta.resumed),
        "voices": list(meta.voices),
    }


def meta_from_dict(values: Mapping[str, Any]) -> ReplyMeta:
    """The inverse of `meta_to_dict`."""
    stats, seed = values.get("stats"), values.get("seed")
    return ReplyMeta(
        model=str(values.get("model", "")),
        fingerprint=str(values.get("fingerprint", "")),
        template=str(values.get("template", "")),
        thinking=str(values.get("thinking", "")),
        params=params_from_dict(values.get("params") or {}),
        seed=None if seed is None else int(seed),
        reason=str(values.get("reason", "")),
        stats=_stats(stats) if stats else None,
        n_drawn=int(values.get("n_drawn", 0)),
        mu=None if values.get("mu") is None else float(values["mu"]),
        chosen=tuple(map(int, values.get("chosen") or ())),
        resumed=tuple(map(int, values.get("resumed") or ())),
        voices=tuple(map(str, values.get("voices") or ())),
    )


def _stats(values: Mapping[str, Any]) -> GenerationStats:
    return GenerationStats(
        prompt_tokens=int(values.get("prompt_tokens", 0)),
        reply_tokens=int(values.get("reply_tokens", 0)),
        prefill_s=float(values.get("prefill_s", 0)),
        decode_s=float(values.get("decode_s", 0)),
    )


def node_columns(node: Node) -> dict[str, Any]:
    """The columns of a node that a change may set."""
    return {
        "text": node.text,
        "status": node.status.value,
        "meta": dump(meta_to_dict(node.meta)) if node.meta else None,
        "name": node.name,
    }


def node_from_row(row: sqlite3.Row, tokens: Mapping[str, tuple[int, ...]]) -> Node:
    """A node as it was stored.

    Raises:
        StoreCorrupt: a column holds what no version wrote.
    """
    try:
        return Node(
            id=row["id"],
            parent=row["parent"],
            role=Role(row["role"]),
            text=row["text"],
            status=NodeStatus(row["status"]),
            meta=meta_from_dict(json.loads(row["meta"])) if row["meta"] else None,
            created=row["created"],
            tokens=MappingProxyType(dict(tokens)),
            name=row["name"],
            base=row["base"],
        )
    except (ValueError, TypeError, KeyError) as error:
        raise StoreCorrupt(
            f"Message {row['id']} is damaged ({error}).",
            hint="Start again: the file is put aside and the newest backup is offered.",
        ) from error
