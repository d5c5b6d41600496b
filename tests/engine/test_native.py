"""The native path is the torch path: every format, every instruction set this CPU runs, odd sizes."""

from __future__ import annotations

import ctypes

import pytest
import torch

from chatrwkv.engine import quant
from chatrwkv.engine.coarse import Coarse
from chatrwkv.engine.cores import default_threads
from chatrwkv.engine.kernels import Engine
from chatrwkv.engine.models import packing
from chatrwkv.engine.models.native import Native
from chatrwkv.engine.models.rwkv7 import RWKV7
from chatrwkv.engine.models.selftest import self_test
from chatrwkv.engine.native import abi
from chatrwkv.engine.native.abi import Format
from chatrwkv.engine.state import Scratch
from chatrwkv.errors import KernelMismatch
from tests.checkpoints import Size, rwkv7
from tests.engine.native_library import LEVELS, best_library, library_at, native_and_meant, spec_of

# the first test compiles the library: 35 s on an idle machine, and more than the usual limit on a busy one
pytestmark = pytest.mark.timeout(600)

KINDS = ("fp32", "bf16", "int8", "int4")
# Of a product, against the largest sum of |x w| over its rows. Few tokens: float32 sums or 16-bit inputs;
# many: bf16 inputs (half of 2^-8) where the CPU multiplies them.
FEW = {"fp32": 1e-6, "bf16": 1e-6, "int8": 4e-5, "int4": 4e-5}
MANY_BF16 = 4e-3
OUTLIER = 3e-4  # 63 neighbours share a step of 1/32767 of it
# Of logits and states against the torch path with the same weights in float32.
STEP = {"fp32": 2e-5, "bf16": 2e-5, "int8": 2e-3, "int4": 2e-3}
SCAN_BF16 = 6e-2


@pytest.fixture(params=LEVELS)
def library(request):
    return library_at(request.config, request.param)


@pytest.fixture
def best(request):
    return best_library(request.config)


def packed_matrix(engine: Engine, w: torch.Tensor, kind: str) -> tuple[abi.Matrix, torch.Tensor]:
    """A packed matrix, and the memory it lives in."""
    n_bytes = engine.library.packed_bytes(quant.FORMATS[kind], *w.shape)
    room = quant.allocate(n_bytes)
    strides = (w.stride(0), w.stride(1))
    engine.pack(
        quant.FORMATS[kind], w.data_ptr(), Format.FP32, (w.shape[0], w.shape[1]), strides, room.ctypes.data
    )
    matrix = abi.Matrix(room.ctypes.data, w.shape[0], w.shape[1], quant.FORMATS[kind], 0)
    return matrix, torch.from_numpy(room)


def product(engine: Engine, w: torch.Tensor, kind: str, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """x times the packed w by the native code, and by float64 with what the packed matrix means."""
    matrix, room = packed_matrix(engine, w, kind)
    meant = torch.empty(w.shape)
    engine.unpack(matrix, meant.data_ptr())
    y = torch.full((len(x), len(w)), torch.nan)
    engine.matmul(matrix, x.data_ptr(), len(x), y.data_ptr())
    del room
    return y, meant


def relative_error(y: torch.Tensor, w: torch.Tensor, x: torch.Tensor) -> float:
    exact = x.double() @ w.double().T
    size = (x.double().abs() @ w.double().abs().T).max().clamp(min=1e-300)
    return float((y.double() - exact).abs().max() / size)


@pytest.mark.parametrize("kind", KINDS)
def test_products_of_odd_sizes_are_right(library, kind):
    """Padding rows and columns must neither be stored nor counted."""
    engine = Engine(library, 2)
    for rows, cols in [(1, 1), (15, 3), (16, 64), (17, 65), (33, 130), (130, 200), (48, 511)]:
        torch.manual_seed(rows)
        w = torch.randn(rows, cols)
        for n in (1, 2, 3, 5, 8, 9, 17, 40):
            x = torch.randn(n, cols)
            y, meant = product(engine, w, kind, x)
            is_bf16 = library.isa_name.endswith("bf16") and kind != "fp32" and n > 8
            assert relative_error(y, meant, x) < (MANY_BF16 if is_bf16 else FEW[kind]), (rows, cols, n)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("case", ["zero", "huge", "tiny", "one outlier", "zero weights"])
def test_products_of_adversarial_inputs_are_right(library, kind, case):
    """One scale for a whole row of activations would drown the others beside an outlier."""
    engine = Engine(library, 2)
    torch.manual_seed(0)
    w = torch.zeros(48, 200) if case == "zero weights" else torch.randn(48, 200)
    for n in (1, 17):
        x = torch.randn(n, 200) * {"zero": 0.0, "huge": 1e30, "tiny": 1e-20}.get(case, 1.0)
        if case == "one outlier":
            x[:, 7] = 1e4
        y, meant = product(engine, w, kind, x)
        is_bf16 = library.isa_name.endswith("bf16") and kind != "fp32" and n > 8
        few = FEW[kind] if kind in ("fp32", "bf16") or case != "one outlier" else OUTLIER
        assert relative_error(y, meant, x) < (MANY_BF16 if is_bf16 else few)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("bad", [torch.nan, torch.inf])
def test_what_is_no_number_stays_visible(library, kind, bad):
    """A quantiser that maps NaN to some integer would hide that a state is broken."""
    engine = Engine(library, 1)
    for n in (1, 17):
        x = torch.randn(n, 130)
        x[0, 70] = bad
        y, _ = product(engine, torch.rand(40, 130) + 0.5, kind, x)
        assert not y[0].isfinite().any()
        assert y[1:].isfinite().all()


@pytest.mark.parametrize(("kind", "bound"), [("fp32", 0.0), ("bf16", 2e-3), ("int8", 6e-3), ("int4", 8.5e-2)])
def test_formats_keep_the_error_they_promise(best, kind, bound):
    """The stated error of Gaussian weights, root mean square, relative."""
    torch.manual_seed(1)
    w = torch.randn(256, 512)
    _, meant = product(Engine(best, 2), w, kind, torch.randn(1, 512))
    assert float((meant - w).square().mean().sqrt()) <= bound


def test_int8_keeps_small_weights_beside_large_ones(best):
    """One scale a row would round these to zero."""
    w = torch.full((16, 256), 1e-3)
    w[:, 0] = 10.0
    _, meant = product(Engine(best, 1), w, "int8", torch.randn(1, 256))
    assert torch.allclose(meant[:, 64:], w[:, 64:], rtol=1e-2)


@pytest.mark.parametrize("columns", [256, 200])
def test_int8_means_the_same_without_native_code(best, columns):
    """A chat goes on with the same model on a GPU; where two scales fit equally well, rounding may choose."""
    torch.manual_seed(2)
    w = torch.randn(128, columns) * torch.rand(128, 1)
    _, meant = product(Engine(best, 1), w, "int8", torch.randn(1, columns))
    found = Coarse.of(w, "int8", torch.float32).dense()
    assert (found == meant).float().mean() >= 0.95
    ratio = (found - w).square().mean() / (meant - w).square().mean()
    assert abs(float(ratio) - 1) <= 1e-3


@pytest.mark.parametrize("source", [torch.float32, torch.bfloat16, torch.float16])
def test_every_type_of_file_is_packed_exactly(best, source):
    engine = Engine(best, 1)
    w = torch.tensor([0.0, -1.5, 2.0**-20, 1024.0, -(2.0**-14)] * 8).view(8, 5).to(source)
    room = quant.allocate(best.packed_bytes(Format.FP32, 5, 8))
    kind = {torch.float32: Format.FP32, torch.bfloat16: Format.BF16, torch.float16: Format.FP16}[source]
    engine.pack(Format.FP32, w.data_ptr(), kind, (5, 8), (1, 5), room.ctypes.data)  # transposed
    found = torch.empty(5, 8)
    engine.unpack(abi.Matrix(room.ctypes.data, 5, 8, Format.FP32, 0), found.data_ptr())
    assert torch.equal(found, w.float().T)


def assert_close(scratch: Scratch, state: Scratch, a: torch.Tensor, b: torch.Tensor, bound: float) -> None:
    assert float((a - b).abs().max()) < bound
    for name, tensor in state.tensors.items():
        assert float((tensor - scratch.tensors[name]).abs().max()) < bound, name


SIZES = (
    Size(2, 64, 64, 50),
    Size(2, 48, 8, 37),
    Size(1, 80, 16, 131, 200),
    Size(2, 120, 40, 50),
    Size(2, 128, 128, 65, 96),
)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("size", SIZES, ids=str)
def test_step_and_scan_are_those_of_the_torch_path(library, kind, size):
    native, meant = native_and_meant(library, size, kind)
    native_scratch, scratch = (Scratch.stack([meant.blank()] * 3) for _ in range(2))
    for i in range(4):
        ids = [(7 * i + 11 * row) % size.n_vocab for row in range(3)]
        expected = meant.scan([[i] for i in ids], scratch)
        assert_close(native_scratch, scratch, native.step(ids, native_scratch), expected, STEP[kind])
    rows = [[(3 * i + row) % size.n_vocab for i in range(n)] for row, n in enumerate((30, 1, 9))]
    bound = SCAN_BF16 if library.isa_name.endswith("bf16") and kind != "fp32" else STEP[kind]
    assert_close(native_scratch, scratch, native.scan(rows, native_scratch), meant.scan(rows, scratch), bound)


@pytest.mark.parametrize("n_rows", range(1, 18))
def test_any_number_of_rows_gives_each_row_its_own_reply(best, n_rows):
    """The very bits of a reply that runs alone: which others run beside it is not for a seed to know.

    Rows are computed in groups; a group that is not full must not leak into another row.
    """
    size = Size(2, 64, 32, 50)
    for kind in KINDS:
        native, _ = native_and_meant(best, size, kind)
        alone = [native.blank().thaw() for _ in range(n_rows)]
        together = Scratch.stack([native.blank()] * n_rows)
        for i in range(2):
            ids = [(i + 3 * row) % size.n_vocab for row in range(n_rows)]
            expected = torch.cat([native.step([token], s) for token, s in zip(ids, alone, strict=True)])
            assert torch.equal(native.step(ids, together), expected)


def test_one_thread_and_several_give_the_same_bits(best):
    """A replay from a seed must not depend on how many cores were free."""
    logits = []
    for n_threads in (1, 2, 5):
        native, _ = native_and_meant(best, Size(2, 128, 64, 90), "int4", n_threads)
        scratch = native.blank().thaw()
        native.scan([list(range(40))], scratch)
        logits.append(native.step([3], scratch))
    assert torch.equal(logits[0], logits[1])
    assert torch.equal(logits[0], logits[2])


def test_more_tokens_and_rows_than_one_call_takes(best):
    native, meant = native_and_meant(best, Size(1, 32, 16, 20), "fp32")
    rows = [[(i * j) % 20 for i in range(n)] for j, n in enumerate((700, 1, 300))]
    a, b = (Scratch.stack([meant.blank()] * 3) for _ in range(2))
    # the state sums 700 outer products: values up to 20, and the torch path takes 32 tokens at a time
    assert_close(a, b, native.scan(rows, a), meant.scan(rows, b), 2e-3)
    many = [[i % 20] for i in range(300)]
    a, b = (Scratch.stack([meant.blank()] * 300) for _ in range(2))
    assert_close(a, b, native.scan(many, a), meant.scan(many, b), 1e-4)
    assert_close(a, b, native.step([5] * 300, a), meant.step([5] * 300, b), 1e-4)


def test_all_logits_are_those_of_every_token(best):
    native, meant = native_and_meant(best, Size(2, 64, 32, 50), "fp32")
    rows = [list(range(40)), [3], list(range(10, 17))]
    a, b = (Scratch.stack([meant.blank()] * 3) for _ in range(2))
    found, expected = native.scan(rows, a, all_logits=True), meant.scan(rows, b, all_logits=True)
    for one, other in zip(found, expected, strict=True):
        assert one.shape == other.shape
        assert float((one - other).abs().max()) < 1e-4


def test_pieces_of_any_length_are_the_whole(best):
    native, _ = native_and_meant(best, Size(2, 64, 32, 50), "fp32")
    ids = [(i * i) % 50 for i in range(90)]
    whole, pieces = native.blank().thaw(), native.blank().thaw()
    expected = native.scan([ids], whole)
    for start, end in ((0, 1), (1, 30), (30, 31), (31, 90)):
        found = native.scan([ids[start:end]], pieces)
    assert_close(pieces, whole, found, expected, 1e-5)


def test_states_go_from_torch_to_native_and_back(best):
    """The library may become ready in the middle of a conversation."""
    native, meant = native_and_meant(best, Size(2, 64, 32, 50), "fp32")
    mixed, scratch = meant.blank().thaw(), meant.blank().thaw()
    for i in range(12):
        expected = meant.step([i], scratch)
        found = (native if i % 3 else meant).step([i], mixed)
    assert_close(mixed, scratch, found, expected, 1e-4)


def test_a_step_leaves_the_state_it_was_forked_from_alone(best):
    native, _ = native_and_meant(best, Size(2, 64, 32, 50), "bf16")
    scratch = native.blank().thaw()
    native.scan([[1, 2, 3]], scratch)
    state = scratch.freeze(0)
    before = state.digest()
    forks = Scratch.stack([state, state])
    native.step([4, 5], forks)
    native.scan([list(range(20)), [1]], forks)
    assert state.digest() == before
    native.step([4], scratch)
    assert state.digest() == before


def test_rows_may_leave_and_join_between_steps(best):
    """`drop` and `append` make tensors of other strides."""
    native, meant = native_and_meant(best, Size(2, 64, 32, 50), "fp32")
    a, b = (Scratch.stack([meant.blank()] * 3) for _ in range(2))
    for scratch, model in ((a, native), (b, meant)):
        model.step([1, 2, 3], scratch)
        scratch.drop([1])
        model.step([4, 5], scratch)
        scratch.append(meant.blank().thaw())
    assert_close(a, b, native.step([6, 7, 8], a), meant.step([6, 7, 8], b), 1e-4)


@pytest.mark.parametrize("ids", [[-1], [50], [2**31 - 1]])
def test_an_id_beyond_the_vocabulary_is_refused_before_anything_is_written(best, ids):
    native, _ = native_and_meant(best, Size(1, 64, 64, 50), "fp32")
    scratch = native.blank().thaw()
    with pytest.raises(ValueError, match="refused"):
        native.step(ids, scratch)
    assert scratch.freeze(0).digest() == native.blank().digest()


def test_an_empty_row_is_refused(best):
    native, _ = native_and_meant(best, Size(1, 64, 64, 50), "fp32")
    with pytest.raises(ValueError, match="needs a token"):
        native.scan([[1], []], Scratch.stack([native.blank()] * 2))


def test_threads_change_while_it_runs(best):
    native, meant = native_and_meant(best, Size(2, 64, 32, 50), "fp32", n_threads=1)
    a, b = native.blank().thaw(), native.blank().thaw()
    for i, n_threads in enumerate((1, 4, 2, 1, 3)):
        native.engine.set_threads(n_threads)
        found, expected = native.step([i], a), meant.step([i], b)
    assert_close(a, b, found, expected, 1e-4)
    assert native.engine.n_threads == 3
    assert native.engine.stats().passes == 5


def test_two_engines_share_one_set_of_weights(best):
    native, _ = native_and_meant(best, Size(1, 64, 64, 50), "bf16")
    twin = Native(native.spec, native.packed, Engine(best, 1))
    assert torch.equal(native.step([3], native.blank().thaw()), twin.step([3], twin.blank().thaw()))


def test_a_wrong_mirror_of_a_struct_is_refused(best):
    """Python and C++ disagreeing about a field would read weights from anywhere."""
    native, _ = native_and_meant(best, Size(1, 64, 64, 50), "fp32")
    native._model.layer_bytes += 8
    with pytest.raises(ValueError, match="refused"):
        native.step([1], native.blank().thaw())


def test_the_self_test_passes_on_every_level(library):
    assert self_test(library) < 1.0


def test_the_self_test_finds_a_wrong_kernel(best, monkeypatch):
    """Without a planted error nobody knows that the test tests."""
    real = Engine.forward

    def wrong(self, model, state, lengths, ids, n_logits, logits):
        real(self, model, state, lengths, ids, n_logits, logits)
        ctypes.cast(logits, ctypes.POINTER(ctypes.c_float))[5] += 0.2

    monkeypatch.setattr(Engine, "forward", wrong)
    with pytest.raises(KernelMismatch, match="times its tolerance"):
        self_test(best)


def test_default_threads_are_at_least_one_and_at_most_the_cpus():
    assert 1 <= default_threads() <= (torch.get_num_threads() + 1024)


def test_unpacked_float32_weights_are_the_ones_packed(best):
    native, _ = native_and_meant(best, Size(2, 64, 32, 50), "fp32")
    tensors = rwkv7(Size(2, 64, 32, 50))
    original = RWKV7(spec_of(tensors), tensors).weights
    back = packing.unpacked(native.packed, native.spec, native.engine)
    for mine, theirs in zip(back.layers, original.layers, strict=True):
        assert torch.equal(mine.att.key, theirs.att.key)
        assert torch.equal(mine.att.w.down, theirs.att.w.down)
        assert torch.equal(mine.att.x_g, theirs.att.x_g)
        assert torch.equal(mine.ffn.value, theirs.ffn.value)
        assert torch.equal(mine.att.ln_x.bias, theirs.att.ln_x.bias)
