"""Rows of the record: small, exact about ids, honest about what is not known."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chatrwkv.chat.record import TokenRecord, record_before, record_from_dict, record_to_dict
from chatrwkv.engine.record import (
    NARROW_BYTES,
    WIDE_BYTES,
    gap_rows,
    n_chars_of,
    pack_row,
    row_bytes,
    unpack_rows,
)
from chatrwkv.engine.sampling import Picked

TOP = tuple((100 + i, -0.5 * (i + 1)) for i in range(8))


def test_a_row_has_at_most_64_bytes_and_fits_the_vocabulary():
    assert (row_bytes(65536), row_bytes(65537)) == (NARROW_BYTES, WIDE_BYTES)
    assert max(NARROW_BYTES, WIDE_BYTES) <= 64


@pytest.mark.parametrize("n_bytes", [NARROW_BYTES, WIDE_BYTES])
def test_the_drawn_token_is_always_among_the_eight(n_bytes: int):
    [row] = unpack_rows(pack_row(Picked(9, -12.25, TOP), 3, n_bytes), n_bytes)
    assert row.token_id == 9
    assert row.top == (*TOP[:7], (9, -12.25))
    assert (row.n_chars, row.logprob, row.is_unfinished) == (3, -12.25, False)
    [row] = unpack_rows(pack_row(Picked(102, -1.5, TOP), 0, n_bytes, is_unfinished=True), n_bytes)
    assert (row.token_id, row.top, row.is_unfinished) == (102, TOP, True)


def test_an_id_beyond_65535_needs_the_wide_row():
    picked = Picked(70_000, -0.5, ((70_000, -0.5),))
    [row] = unpack_rows(pack_row(picked, 1, row_bytes(100_000)), WIDE_BYTES)
    assert (row.token_id, row.top) == (70_000, ((70_000, -0.5),))


def test_a_gap_says_that_nothing_is_known():
    rows = unpack_rows(gap_rows(100_000, NARROW_BYTES), NARROW_BYTES)
    assert sum(row.n_chars for row in rows) == 100_000
    assert all(row.token_id is None and not row.top and math.isnan(row.logprob) for row in rows)
    assert gap_rows(0, NARROW_BYTES) == b""
    assert n_chars_of(b"") == 0


@given(
    st.lists(
        st.tuples(st.integers(0, 65535), st.floats(-80, 0)), min_size=1, max_size=8, unique_by=lambda p: p[0]
    ),
    st.integers(0, 65535),
    st.floats(-80, 0),
    st.integers(0, 65535),
)
def test_what_is_packed_comes_back(top: list[tuple[int, float]], token_id: int, logprob: float, n_chars: int):
    known = dict(top)
    picked = Picked(token_id, known.get(token_id, logprob), tuple(top))
    [row] = unpack_rows(pack_row(picked, n_chars, NARROW_BYTES), NARROW_BYTES)
    assert (row.token_id, row.n_chars) == (token_id, n_chars)
    assert row.logprob == pytest.approx(picked.logprob, rel=1e-3, abs=1e-7)
    assert {i for i, _ in row.top} <= {*known, token_id}


@pytest.mark.parametrize(
    ("raw", "why"),
    [(b"x", "no rows"), (b"\x01" + b"\0" * 18 + b"\x00\xfc" * 8, "not among")],
    ids=["half a row", "no candidates"],
)
def test_rows_that_nobody_wrote_are_refused(raw: bytes, why: str):
    with pytest.raises(ValueError, match=why):
        unpack_rows(raw, NARROW_BYTES)


def record(*pieces: str) -> TokenRecord:
    rows = b"".join(pack_row(Picked(i, -1.0, ((i, -1.0),)), len(piece), 35) for i, piece in enumerate(pieces))
    return TokenRecord("bytes", "".join(pieces), rows, 35)


def test_an_edit_leaves_the_tokens_before_it_known():
    whole = record("Once ", "upon ", "a time")
    assert [row.token_id for row in whole.drawn("Once upon a time")] == [0, 1, 2]
    assert [row.token_id for row in whole.drawn("Once upon two times")] == [0, 1]
    assert [row.token_id for row in whole.drawn("Once u")] == [0]
    again = whole.covering("Once upon two times")
    assert [row.token_id for row in again.drawn(again.text)] == [0, 1, None]


def test_a_reply_that_goes_on_in_another_vocabulary_begins_with_a_gap():
    whole = record("Once ", "upon ")
    same = record_before(whole, whole.text, "bytes", 35)
    assert same == whole
    other = record_before(whole, whole.text, "words", 35)
    assert [row.token_id for row in other.drawn(whole.text)] == [None]
    assert [row.token_id for row in record_before(None, "abc", "words", 51).drawn("abc")] == [None]


def test_json_gives_the_record_back():
    whole = record("三", "体")
    assert record_from_dict(record_to_dict(whole)) == whole
    for key, bad in (("rows", "!"), ("rows", "AAAA"), ("row_bytes", 7), ("row_bytes", "x")):
        with pytest.raises(ValueError, match=r"record|rows|row|invalid"):
            record_from_dict({**record_to_dict(whole), key: bad})
