"""The generations before RWKV-7 on the native path are those of the torch path, in every format."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

import pytest
import torch

from chatrwkv.engine.checkpoint import open_checkpoint
from chatrwkv.engine.model import load_model
from chatrwkv.engine.state import Scratch
from chatrwkv.paths import bundled_museum
from tests import checkpoints
from tests.checkpoints import Size
from tests.engine.generations import canonical
from tests.engine.native_library import (
    LEVELS,
    best_library,
    library_at,
    meant_by,
    native_and_meant,
    native_of,
)

if TYPE_CHECKING:
    from torch import Tensor

# the first test compiles the library: 35 s on an idle machine, and more than the usual limit on a busy one
pytestmark = pytest.mark.timeout(600)

MAKERS = {"4": checkpoints.rwkv4, "5.2": checkpoints.rwkv5, "6": checkpoints.rwkv6}
VARIANTS = {
    "5.0": partial(checkpoints.rwkv5, minor=0),
    "5.0 time_first": partial(checkpoints.rwkv5, minor=0, has_time_first=True),
    "5.1": partial(checkpoints.rwkv5, minor=1),
}
KINDS = ("fp32", "bf16", "int8", "int4")
# Of logits and states against the torch path with the same weights in float32.
STEP = {"fp32": 5e-5, "bf16": 5e-5, "int8": 5e-3, "int4": 5e-3}
SCAN_BF16 = 1e-1
# padding in a line, in a tile and in a group; heads of less than a register to the largest
SIZES = (
    Size(2, 64, 64, 50),
    Size(2, 48, 8, 37),
    Size(1, 80, 16, 131, 200),
    Size(2, 120, 40, 50),
    Size(2, 128, 128, 65, 96),
)


@pytest.fixture(params=LEVELS)
def library(request):
    return library_at(request.config, request.param)


@pytest.fixture
def best(request):
    return best_library(request.config)


@pytest.fixture(params=MAKERS)
def make(request):
    return MAKERS[request.param]


def is_bf16(library, kind: str) -> bool:
    """Whether a prompt's activations enter as bf16."""
    return library.isa_name.endswith("bf16") and kind != "fp32"


def difference(
    found: Tensor | list[Tensor], expected: Tensor | list[Tensor], a: Scratch, b: Scratch
) -> float:
    """The largest of logits and states, whose sums over many tokens are taken by their size."""
    assert isinstance(found, torch.Tensor)
    assert isinstance(expected, torch.Tensor)
    mine, theirs = canonical(a.tensors), canonical(b.tensors)
    pairs = [(found, expected), *((mine[name], theirs[name]) for name in theirs)]
    return max(
        float(((x - y).abs().max() / y.abs().max().clamp(min=1)).nan_to_num(nan=torch.inf)) for x, y in pairs
    )


def twins(model, n_rows: int) -> tuple[Scratch, Scratch]:
    return Scratch.stack([model.blank()] * n_rows), Scratch.stack([model.blank()] * n_rows)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("size", SIZES, ids=str)
def test_step_and_scan_are_those_of_the_torch_path(library, make, kind, size):
    assert_same(library, size, kind, make)


@pytest.mark.parametrize("kind", ["fp32", "int8"])
@pytest.mark.parametrize("variant", VARIANTS)
def test_variants_of_5_are_those_of_the_torch_path(best, variant, kind):
    """One decay and one bonus a head, with and without a gate."""
    assert_same(best, SIZES[1], kind, VARIANTS[variant])


def assert_same(library, size: Size, kind: str, make) -> None:
    """Steps and a scan of three rows."""
    native, meant = native_and_meant(library, size, kind, make=make)
    a, b = twins(meant, 3)
    for i in range(4):
        ids = [(7 * i + 11 * row) % size.n_vocab for row in range(3)]
        expected = meant.scan([[i] for i in ids], b)
        assert difference(native.step(ids, a), expected, a, b) < STEP[kind]
    rows = [[(3 * i + row) % size.n_vocab for i in range(n)] for row, n in enumerate((30, 1, 9))]
    bound = SCAN_BF16 if is_bf16(library, kind) else STEP[kind]
    found, expected = native.scan(rows, a), meant.scan(rows, b)
    assert difference(found, expected, a, b) < bound


@pytest.mark.parametrize("kind", KINDS)
def test_any_number_of_rows_gives_each_row_its_own_reply(best, make, kind):
    """The very bits of a reply that runs alone, for 1 to 17 rows."""
    native, _ = native_and_meant(best, Size(2, 64, 32, 50), kind, make=make)
    turns = [[(i + 3 * row) % 50 for row in range(17)] for i in range(2)]
    alone = [native.blank().thaw() for _ in range(17)]
    expected = [
        torch.cat([native.step([token], s) for token, s in zip(ids, alone, strict=True)]) for ids in turns
    ]
    states = [scratch.freeze(0).digest() for scratch in alone]
    for n_rows in range(1, 18):
        together = Scratch.stack([native.blank()] * n_rows)
        for ids, logits in zip(turns, expected, strict=True):
            assert torch.equal(native.step(ids[:n_rows], together), logits[:n_rows])
        assert [together.freeze(row).digest() for row in range(n_rows)] == states[:n_rows]


def test_one_thread_and_several_give_the_same_bits(best, make):
    logits = []
    for n_threads in (1, 2, 5):
        native, _ = native_and_meant(best, Size(2, 128, 64, 90), "int4", n_threads, make=make)
        scratch = native.blank().thaw()
        native.scan([list(range(40))], scratch)
        logits.append(native.step([3], scratch))
    assert torch.equal(logits[0], logits[1])
    assert torch.equal(logits[0], logits[2])


@pytest.mark.parametrize("kind", KINDS)
def test_a_prompt_at_once_in_pieces_and_token_by_token_is_the_same(library, make, kind):
    """Longer than one call takes, so that a block's end is among the cuts."""
    native, _ = native_and_meant(library, Size(2, 64, 32, 50), kind, make=make)
    ids = [(i * i) % 50 for i in range(270)]
    whole, pieces, steps = (native.blank().thaw() for _ in range(3))
    expected = native.scan([ids], whole)
    for start, end in ((0, 1), (1, 30), (30, 31), (31, 270)):
        found = native.scan([ids[start:end]], pieces)
    for token_id in ids:
        stepped = native.step([token_id], steps)
    bound = SCAN_BF16 if is_bf16(library, kind) else 2 * STEP[kind]
    assert difference(found, expected, pieces, whole) < bound
    assert difference(stepped, expected, steps, whole) < bound


def test_all_logits_are_those_of_every_token(best, make):
    native, meant = native_and_meant(best, Size(2, 64, 32, 50), "fp32", make=make)
    rows = [list(range(40)), [3], list(range(10, 17))]
    a, b = twins(meant, 3)
    found, expected = native.scan(rows, a, all_logits=True), meant.scan(rows, b, all_logits=True)
    for one, other in zip(found, expected, strict=True):
        assert one.shape == other.shape
        assert float((one - other).abs().max()) < 1e-4


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("scale", [0.0, 1e3, 1e6], ids=["zero", "large", "huge"])
def test_activations_of_any_size_are_those_of_the_torch_path(library, make, kind, scale):
    """Keys are exponents in RWKV-4, and decays exponents of exponents in 6."""
    tensors = make(Size(2, 48, 16, 37))
    for i in range(2):
        tensors[f"blocks.{i}.ln1.weight"] *= scale
        tensors[f"blocks.{i}.ln1.bias"] *= scale
    native = native_of(library, tensors, kind)
    meant = meant_by(native, tensors)
    a, b = twins(meant, 2)
    for i in range(3):
        found, expected = native.step([i, i + 5], a), meant.step([i, i + 5], b)
        assert expected.isfinite().all()
        assert float((found - expected).abs().max()) < 100 * STEP[kind]
    prompt = native.scan([list(range(30)), [4]], a)
    assert isinstance(prompt, torch.Tensor)
    assert prompt.isfinite().all()


@pytest.mark.parametrize("kind", KINDS)
def test_what_is_no_number_stays_visible(library, make, kind):
    native, _ = native_and_meant(library, Size(2, 64, 32, 50), kind, make=make)
    scratch = Scratch.stack([native.blank()] * 2)
    scratch.tensors["att_shift"][0, 0, 3] = torch.nan
    logits = native.step([1, 2], scratch)
    assert not logits[0].isfinite().any()
    assert logits[1].isfinite().all()


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("shift", [0.0, -2.0, -1000.0], ids=["half", "most", "all"])
def test_skipped_zeros_leave_every_bit_as_it_was(library, make, kind, shift):
    tensors = make(Size(2, 48, 8, 37, 130))
    for i in range(2):
        tensors[f"blocks.{i}.ln2.bias"].fill_(1.0)
        tensors[f"blocks.{i}.ffn.key.weight"].add_(shift / 48)
    native = native_of(library, tensors, kind)
    replies = []
    for skip in (False, True):
        native.engine.skip_zeros(skip)
        scratch = native.blank().thaw()
        replies.append(torch.cat([native.step([3 * i % 37], scratch) for i in range(6)]))
    assert native.engine.stats().is_skipping
    assert torch.equal(*replies)


def test_states_go_from_torch_to_native_and_back(best, make):
    """The library may become ready in the middle of a conversation."""
    native, meant = native_and_meant(best, Size(2, 64, 32, 50), "fp32", make=make)
    mixed, scratch = meant.blank().thaw(), meant.blank().thaw()
    for i in range(12):
        expected = meant.step([i], scratch)
        found = (native if i % 3 else meant).step([i], mixed)
    assert difference(found, expected, mixed, scratch) < 1e-4


def test_rows_may_leave_and_join_between_steps(best, make):
    """`drop` and `append` make tensors of other strides."""
    native, meant = native_and_meant(best, Size(2, 64, 32, 50), "fp32", make=make)
    a, b = twins(meant, 3)
    for scratch, model in ((a, native), (b, meant)):
        model.step([1, 2, 3], scratch)
        scratch.drop([1])
        model.step([4, 5], scratch)
        scratch.append(meant.blank().thaw())
    assert difference(native.step([6, 7, 8], a), meant.step([6, 7, 8], b), a, b) < 1e-4


def test_an_empty_row_is_refused(best, make):
    native, _ = native_and_meant(best, Size(1, 64, 64, 50), "fp32", make=make)
    with pytest.raises(ValueError, match="needs a token"):
        native.scan([[1], []], Scratch.stack([native.blank()] * 2))


def test_an_id_beyond_the_vocabulary_is_refused_before_anything_is_written(best, make):
    native, _ = native_and_meant(best, Size(1, 64, 64, 50), "fp32", make=make)
    scratch = native.blank().thaw()
    with pytest.raises(ValueError, match="refused"):
        native.step([50], scratch)
    assert scratch.freeze(0).digest() == native.blank().digest()


def test_unpacked_float32_weights_compute_the_very_same(best, make):
    """What tuning and embedding read is what the file holds."""
    tensors = make(Size(2, 64, 32, 50))
    native = native_of(best, tensors, "fp32")
    original = type(meant_by(native, tensors))(native.spec, tensors)
    ids, state = torch.arange(20)[None], native.blank_rows(1)
    found, _ = native.forward(ids, state, None, all_logits=True)
    expected, _ = original.forward(ids, state, None, all_logits=True)
    assert float((found - expected).abs().max()) < 1e-5


def test_the_option_k_clamp_reaches_the_native_code(library):
    """It leaves no trace in the file, and would be lost silently."""
    tensors, ids = checkpoints.rwkv6(Size(2, 64, 32, 50)), list(range(20))
    native = native_of(library, tensors, "fp32", options={"k_clamp": True})
    meant = meant_by(native, tensors)
    assert all(layer.att.clamps_k for layer in meant.weights.layers)
    a, b = twins(meant, 1)
    assert difference(native.scan([ids], a), meant.scan([ids], b), a, b) < STEP["fp32"]
    a, b = twins(meant, 1)
    plain = native_of(library, tensors, "fp32")
    assert difference(plain.scan([ids], a), meant.scan([ids], b), a, b) > 1e-2


@pytest.mark.parametrize("generation", MAKERS)
@pytest.mark.parametrize(("kind", "bound"), [("fp32", 1e-8), ("bf16", 1e-3), ("int8", 5e-3), ("int4", 8e-2)])
def test_trained_weights_stay_within_the_stated_kl_of_their_format(best, generation, kind, bound):
    """The museum against the torch path in float32, at once and token by token; bounds as in the README."""
    path = bundled_museum() / f"museum-{generation}.safetensors"
    loaded = load_model(path, device="cpu", dtype="fp32")
    ids = loaded.tokenizer.encode(
        "User: Tell me a story.\n\nAssistant: Once upon a time, a duck lived in a garden."
    )
    expected = (
        loaded.model.scan([ids], loaded.model.blank().thaw(), all_logits=True)[0].double().log_softmax(-1)
    )
    native = native_of(best, open_checkpoint(path).tensors, kind)
    found = native.scan([ids], native.blank().thaw(), all_logits=True)[0]
    scratch = native.blank().thaw()
    steps = torch.cat([native.step([token_id], scratch) for token_id in ids])
    for logits in (found, steps):
        kl = (expected.exp() * (expected - logits.double().log_softmax(-1))).sum(-1)
        assert float(kl.mean()) < bound
