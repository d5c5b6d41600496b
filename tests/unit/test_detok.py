"""Characters that arrive in pieces."""

from __future__ import annotations

from chatrwkv.engine.tokens.detok import Utf8Stream


def test_half_a_character_waits_for_the_other_half():
    """R27: no U+FFFD may flash up between two tokens."""
    stream = Utf8Stream()
    parrot = "🦜".encode()
    assert [stream.feed(parrot[i : i + 1]) for i in range(4)] == ["", "", "", "🦜"]
    assert stream.pending == b""


def test_at_most_three_bytes_wait():
    stream = Utf8Stream()
    stream.feed("é🦜".encode()[:5])
    assert stream.pending == "🦜".encode()[:3]


def test_bytes_that_cannot_become_a_character_are_replaced_at_once():
    stream = Utf8Stream()
    assert stream.feed(b"a\xffb") == "a\ufffdb"
    assert stream.feed(b"\xe4\xbd") == ""
    assert stream.feed(b"x") == "\ufffdx"


def test_finish_replaces_half_a_character():
    stream = Utf8Stream()
    stream.feed(b"ok\xf0\x9f")
    assert stream.finish() == "\ufffd"
    assert stream.finish() == ""
