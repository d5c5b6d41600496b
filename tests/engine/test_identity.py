"""The rolling hash: fixed for good, since chains on disk must be found again."""

from __future__ import annotations

import pytest

from chatrwkv.engine.identity import EMPTY_CHAIN, extend


def test_the_chain_is_the_documented_one():
    """A change of the formula would orphan every stored state."""
    assert EMPTY_CHAIN == "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
    assert extend(EMPTY_CHAIN, [0]) == "d3bfe98e8f1ce891614854569a20f5f4508d6ab4025b872b7b3a8282ef75b12a"


def test_any_split_gives_the_same_chain():
    """Prefill is cut into chunks at will; the chain must not know."""
    ids = [5, 0, 65535, 2**32 - 1, 5]
    whole = extend(EMPTY_CHAIN, ids)
    for cut in range(len(ids) + 1):
        assert extend(extend(EMPTY_CHAIN, ids[:cut]), ids[cut:]) == whole


def test_order_number_and_value_of_tokens_matter():
    """Two texts with one chain would share a mind."""
    chains = {extend(EMPTY_CHAIN, ids) for ids in ([], [0], [0, 0], [1, 2], [2, 1], [258], [2, 1, 0])}
    assert len(chains) == 7


@pytest.mark.parametrize("bad", [-1, 2**32])
def test_an_impossible_id_is_refused(bad):
    """It would wrap around onto another token's chain."""
    with pytest.raises(OverflowError):
        extend(EMPTY_CHAIN, [bad])
