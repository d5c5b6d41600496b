"""What was likely at each token of a reply: kept beside its text, shown later, the place to branch from.

A record carries the text it covers, so that one that an edit made stale is used exactly as far as the texts still
agree. The rows themselves are `engine.record`'s.
"""

from __future__ import annotations

import base64
import binascii
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from chatrwkv.engine import gap_rows, unpack_rows
from chatrwkv.errors import StoreCorrupt

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Iterable, Mapping

    from chatrwkv.engine import Drawn


@dataclass(frozen=True, slots=True)
class TokenRecord:
    """The rows of one message."""

    tokenizer_id: str
    """Whose ids they are."""
    text: str
    """What the rows cover."""
    rows: bytes
    row_bytes: int

    def __post_init__(self) -> None:
        unpack_rows(b"", self.row_bytes)
        if len(self.rows) % self.row_bytes:
            raise ValueError("a record with half a row")

    def drawn(self, text: str) -> list[Drawn]:
        """The rows from the beginning of `text`, as far as it is the text they were drawn for."""
        pairs = zip(self.text, text, strict=False)
        limit = next((i for i, (a, b) in enumerate(pairs) if a != b), min(len(self.text), len(text)))
        found, at = [], 0
        for row in unpack_rows(self.rows, self.row_bytes):
            at += row.n_chars
            if at > limit:
                break
            found.append(row)
        return found

    def covering(self, text: str) -> TokenRecord:
        """A record of exactly `text`: what is known of it, and a gap after that."""
        known = self.drawn(text)
        gap = gap_rows(len(text) - sum(row.n_chars for row in known), self.row_bytes)
        return TokenRecord(
            self.tokenizer_id, text, self.rows[: len(known) * self.row_bytes] + gap, self.row_bytes
        )

    def extended(self, text: str, rows: bytes) -> TokenRecord:
        """With `rows` for the rest of `text`, which begins with this record's."""
        return TokenRecord(self.tokenizer_id, text, self.rows + rows, self.row_bytes)


def record_before(record: TokenRecord | None, text: str, tokenizer_id: str, row_bytes: int) -> TokenRecord:
    """What the record of a reply that goes on from `text` begins with; another vocabulary's rows cannot stay."""
    if record is not None and (record.tokenizer_id, record.row_bytes) == (tokenizer_id, row_bytes):
        return record.covering(text)
    return TokenRecord(tokenizer_id, text, gap_rows(len(text), row_bytes), row_bytes)


# -- in the database ----------------------------------------------------------------------------------------


def put_record(connection: sqlite3.Connection, node_id: str, record: TokenRecord) -> None:
    """Store the record of a message, in place of the one it has."""
    connection.execute(
        "INSERT OR REPLACE INTO node_records (node, tokenizer, text, row_bytes, rows) VALUES (?, ?, ?, ?, ?)",
        (node_id, record.tokenizer_id, record.text, record.row_bytes, record.rows),
    )


def copy_records(connection: sqlite3.Connection, copies: Mapping[str, str]) -> None:
    """Give copied messages (new to old) the records of those they were copied from."""
    connection.executemany(
        "INSERT OR IGNORE INTO node_records (node, tokenizer, text, row_bytes, rows)"
        " SELECT ?, tokenizer, text, row_bytes, rows FROM node_records WHERE node = ?",
        list(copies.items()),
    )


def read_records(rows: Iterable[sqlite3.Row]) -> dict[str, TokenRecord]:
    """Records by message, from rows of (node, tokenizer, text, row_bytes, rows).

    Raises:
        StoreCorrupt: one holds what no version wrote.
    """
    found = {}
    for node_id, tokenizer, text, row_bytes, raw in rows:
        try:
            found[node_id] = TokenRecord(tokenizer, text, bytes(raw), row_bytes)
        except (ValueError, TypeError) as error:
            raise StoreCorrupt(
                f"The probabilities of message {node_id} are damaged ({error}).",
                hint="The text itself is whole; regenerate the reply to see probabilities.",
            ) from error
    return found


# -- in JSON ------------------------------------------------------------------------------------------------


def record_to_dict(record: TokenRecord) -> dict[str, Any]:
    """A record as JSON values."""
    return {
        "tokenizer": record.tokenizer_id,
        "text": record.text,
        "row_bytes": record.row_bytes,
        "rows": base64.b64encode(record.rows).decode("ascii"),
    }


def record_from_dict(values: Mapping[str, Any]) -> TokenRecord:
    """The inverse of `record_to_dict`.

    Raises:
        ValueError: it is none.
    """
    try:
        raw = base64.b64decode(values["rows"], validate=True)
    except binascii.Error as error:
        raise ValueError(f"a record that is no base64: {error}") from error
    record = TokenRecord(str(values["tokenizer"]), str(values["text"]), raw, int(values["row_bytes"]))
    unpack_rows(record.rows, record.row_bytes)
    return record
