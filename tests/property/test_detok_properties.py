"""Any bytes, cut anywhere, give the text of decoding them at once."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from chatrwkv.engine.tokens.detok import Utf8Stream

texts = st.text().map(str.encode) | st.text(alphabet="aé世🦜\n").map(str.encode)
raws = texts | st.binary() | st.lists(texts | st.binary(max_size=3)).map(b"".join)


@st.composite
def cut(draw: st.DrawFn) -> list[bytes]:
    raw = draw(raws)
    places = sorted(draw(st.lists(st.integers(0, len(raw)), max_size=len(raw))))
    return [raw[a:b] for a, b in zip([0, *places], [*places, len(raw)], strict=True)]


@given(cut())
def test_stream_equals_full_decode_for_any_split(pieces: list[bytes]):
    stream = Utf8Stream()
    text = "".join(map(stream.feed, pieces)) + stream.finish()
    assert text == b"".join(pieces).decode("utf-8", "replace")


@given(cut())
def test_stream_never_holds_more_than_three_bytes(pieces: list[bytes]):
    stream = Utf8Stream()
    for piece in pieces:
        stream.feed(piece)
        assert len(stream.pending) <= 3


@given(st.text(alphabet="aé世🦜"))
def test_stream_of_valid_text_never_shows_a_replacement(text: str):
    stream = Utf8Stream()
    shown = [stream.feed(bytes([byte])) for byte in text.encode()]
    assert "\ufffd" not in "".join(shown)
    assert stream.pending == b""
