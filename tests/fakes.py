"""Test doubles for everything above the engine: models that are exact, fast and sensitive to every token.

`FakeModel`'s state is a rolling hash of all ids it has read and its logits come from that hash: a token that
is lost, doubled, swapped or leaked from another row changes the text, while any chunking gives the same.
The state is a real `State` of real tensors, so snapshots, the vault and state files work with it.

torch is imported by the first model that is built, so importing this file costs nothing.
"""

from __future__ import annotations

import struct
import threading
import time
from hashlib import sha256
from pathlib import Path
from random import Random
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from torch import Tensor

    from chatrwkv.engine.model import LoadedModel
    from chatrwkv.engine.spec import ModelSpec
    from chatrwkv.engine.state import Scratch, State

WAIT_S = 20.0  # a test that waits this long has failed; generous because CI machines stall
WORDS = b"abcdefghijklmnopqrstuvwxyz     "


def wait_until(predicate: Callable[[], object], timeout: float = WAIT_S) -> None:
    """Block until `predicate()` is true; for conditions that nothing signals."""
    deadline = time.monotonic() + timeout
    pause = threading.Event()
    while not predicate():
        assert time.monotonic() < deadline, "waited too long"
        pause.wait(0.002)


class Gate:
    """Holds a model before each forward pass until the test allows it: time without clocks.

    Closed at first. `allow(n)` lets n passes through, `open()` all of them.
    """

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._allowed = 0
        self._is_open = False
        self.waiting = 0
        self.n_passed = 0

    def allow(self, n: int = 1) -> None:
        with self._changed:
            self._allowed += n
            self._changed.notify_all()

    def open(self) -> None:
        with self._changed:
            self._is_open = True
            self._changed.notify_all()

    def close(self) -> None:
        with self._changed:
            self._is_open = False

    def __call__(self) -> None:
        with self._changed:
            self.waiting += 1
            passed = self._changed.wait_for(lambda: self._is_open or self._allowed > 0, WAIT_S)
            self.waiting -= 1
            assert passed, "the test never opened the gate"
            self._allowed -= 0 if self._is_open else 1
            self.n_passed += 1

    def wait_until_blocked(self) -> None:
        wait_until(lambda: self.waiting)


class ByteTokenizer:
    """id = byte + 1, 0 = end of text: `Tokenizer` without a vocabulary file."""

    tokenizer_id = "byte-tokenizer00"
    n_vocab = 257
    end_id = 0

    def encode(self, text: str) -> list[int]:
        return [byte + 1 for byte in text.encode()]

    def bytes_of(self, token_id: int) -> bytes:
        return bytes([token_id - 1]) if 1 <= token_id <= 256 else b""

    def decode(self, token_ids: Iterable[int]) -> str:
        return b"".join(map(self.bytes_of, token_ids)).decode("utf-8", "replace")

    def unused(self, n: int) -> frozenset[int]:
        return frozenset(range(257, n))


class PieceTokenizer(ByteTokenizer):
    """`ByteTokenizer` plus longer pieces (ids from 257 on), longest match first."""

    tokenizer_id = "piece-tokenizer0"

    def __init__(self, *pieces: str | bytes) -> None:
        self.pieces = [piece.encode() if isinstance(piece, str) else piece for piece in pieces]
        self.n_vocab = 257 + len(self.pieces)

    def encode(self, text: str) -> list[int]:
        raw = text.encode()
        by_length = sorted(range(len(self.pieces)), key=lambda i: -len(self.pieces[i]))
        ids = []
        while raw:
            best = next((i for i in by_length if raw.startswith(self.pieces[i])), None)
            ids.append(raw[0] + 1 if best is None else 257 + best)
            raw = raw[1 if best is None else len(self.pieces[best]) :]
        return ids

    def bytes_of(self, token_id: int) -> bytes:
        return self.pieces[token_id - 257] if token_id >= 257 else super().bytes_of(token_id)

    def unused(self, n: int) -> frozenset[int]:
        return frozenset(range(self.n_vocab, n))


class FakeModel:
    """Speaks lower-case nonsense that depends on every id read and on nothing else.

    Args:
        salt: two models with different salts disagree and have different fingerprints.
        n_vocab: 257 fits `ByteTokenizer`.
        speaks: the ids it may say; lower-case letters and spaces by default.
        end_rate: in how many of 256 places the text ends (token 0).
        before: called before every forward pass: a `Gate`, or a counter.
    """

    LAYERS, HEADS, SIZE = 1, 2, 2  # 4 + 8 + 4 numbers of 16 bits: one sha256, exact in float32

    def __init__(
        self,
        salt: str = "",
        *,
        n_vocab: int = 257,
        speaks: Sequence[int] | None = None,
        end_rate: int = 0,
        before: Callable[[], object] | None = None,
    ) -> None:
        self.salt = salt.encode()
        self.speaks = list(speaks) if speaks is not None else sorted({byte + 1 for byte in WORDS})
        self.end_rate = end_rate
        self.before = before or (lambda: None)
        self.spec = _spec(f"{type(self).__name__}:{salt}", n_vocab)
        self.step_sizes: list[int] = []
        self.scan_sizes: list[list[int]] = []

    def blank(self) -> State:
        return self._state(self.initial())

    def step(self, token_ids: Sequence[int], scratch: Scratch) -> Tensor:
        self.before()
        assert len(token_ids) == scratch.n_rows, "one id a row"
        assert 0 not in token_ids, "the end of a reply must never be read"
        self.step_sizes.append(len(token_ids))
        return self._read([[token_id] for token_id in token_ids], scratch)

    def scan(
        self, rows: Sequence[Sequence[int]], scratch: Scratch, *, all_logits: bool = False
    ) -> Tensor | list[Tensor]:
        import torch

        self.before()
        assert len(rows) == scratch.n_rows, "one list of ids a row"
        self.scan_sizes.append([len(row) for row in rows])
        if not all_logits:
            return self._read(rows, scratch)
        return [
            torch.stack([self._read_row(i, [token_id], scratch) for token_id in row])
            for i, row in enumerate(rows)
        ]

    # What a subclass may replace: a memory of 32 bytes, how an id changes it, and what it makes likely.

    def initial(self) -> bytes:
        return sha256(b"fake" + self.salt).digest()

    def read(self, memory: bytes, token_id: int) -> bytes:
        return sha256(memory + token_id.to_bytes(4, "little")).digest()

    def scores(self, memory: bytes) -> Mapping[int, float]:
        """Logits of the ids that may be said; all others get -30."""
        random = Random(memory)
        scores = {token_id: random.uniform(0, 4) for token_id in self.speaks}
        if memory[0] < self.end_rate:
            scores[0] = 20.0
        return scores

    def _read(self, rows: Sequence[Sequence[int]], scratch: Scratch) -> Tensor:
        import torch

        return torch.stack([self._read_row(i, row, scratch) for i, row in enumerate(rows)])

    def _read_row(self, row: int, token_ids: Sequence[int], scratch: Scratch) -> Tensor:
        import torch

        tensors = {name: tensor[:, row] for name, tensor in scratch.tensors.items()}
        memory = _memory(tensors)
        for token_id in token_ids:
            assert 0 <= token_id < self.spec.n_vocab, f"id {token_id} is not in the vocabulary"
            memory = self.read(memory, token_id)
        for name, tensor in self._state(memory).tensors.items():
            tensors[name].copy_(tensor)
        logits = torch.full((self.spec.n_vocab,), -30.0)
        for token_id, score in self.scores(memory).items():
            logits[token_id] = score
        return logits

    def _state(self, memory: bytes) -> State:
        import torch

        from chatrwkv.engine.state import State

        words = torch.tensor(struct.unpack("<16H", memory), dtype=torch.float32)
        size = self.HEADS * self.SIZE
        wkv = words[size : 3 * size].view(self.LAYERS, self.HEADS, self.SIZE, self.SIZE)
        shifts = {"att_shift": words[None, :size], "ffn_shift": words[None, 3 * size :]}
        return State({"wkv": wkv.clone()} | {name: tensor.clone() for name, tensor in shifts.items()})


class HeavyModel(FakeModel):
    """A fake model whose states weigh as much as a real one's.

    Args:
        n_bytes: of each state, beside the 64 of a `FakeModel`.
    """

    def __init__(self, n_bytes: int, salt: str = "", **more: Any) -> None:
        self.n_ballast = n_bytes // 4
        super().__init__(f"heavy {n_bytes} {salt}", **more)

    def _state(self, memory: bytes) -> State:
        import torch

        from chatrwkv.engine.state import State

        ballast = torch.full((1, self.n_ballast), float(memory[0]))
        return State({**super()._state(memory).tensors, "ballast": ballast})


class ScriptedModel(FakeModel):
    """Says one of `texts`, then token 0, whatever the sampling settings and the seed.

    Which of them is decided by the hash of the prompt. As long as what it reads is its script it goes on
    from there, so a stopped reply can be continued; anything else starts a new reply. A text must therefore
    not begin with what a prompt ends with.
    """

    def __init__(
        self,
        *texts: str,
        salt: str = "",
        tokenizer: ByteTokenizer | None = None,
        before: Callable[[], object] | None = None,
    ) -> None:
        self.tokenizer = tokenizer or ByteTokenizer()
        super().__init__(salt + "|".join(texts), n_vocab=self.tokenizer.n_vocab, before=before)
        self.scripts = [self.tokenizer.encode(text) for text in texts]

    # memory: a hash of 27 bytes, which script (1), how far (4)

    def initial(self) -> bytes:
        return self._starting(super().initial())

    def read(self, memory: bytes, token_id: int) -> bytes:
        which, done = memory[27], int.from_bytes(memory[28:], "little")
        hashed = sha256(memory[:27] + token_id.to_bytes(4, "little")).digest()
        script = self.scripts[which]
        if done < len(script) and script[done] == token_id:
            return hashed[:27] + bytes([which]) + (done + 1).to_bytes(4, "little")
        return self._starting(hashed)

    def scores(self, memory: bytes) -> Mapping[int, float]:
        script, done = self.scripts[memory[27]], int.from_bytes(memory[28:], "little")
        return {script[done] if done < len(script) else 0: 60.0}

    def _starting(self, hashed: bytes) -> bytes:
        return hashed[:27] + bytes([hashed[31] % len(self.scripts)]) + bytes(4)


def _memory(tensors: Mapping[str, Tensor]) -> bytes:
    numbers = [n for name in ("att_shift", "wkv", "ffn_shift") for n in tensors[name].reshape(-1).tolist()]
    return struct.pack("<16H", *map(int, numbers))


def _spec(name: str, n_vocab: int) -> ModelSpec:
    from chatrwkv.engine.spec import Generation, ModelSpec

    fingerprint = sha256(name.encode()).hexdigest()
    return ModelSpec(Generation.V7, 1, 4, 2, n_vocab, 16, fingerprint, 4096, "float32")


def loaded(
    model: FakeModel | None = None,
    *,
    name: str = "fake",
    tokenizer: ByteTokenizer | None = None,
    family: str = "g1",
    banned: frozenset[int] = frozenset(),
    device: str = "cpu",
    path: Path | None = None,
) -> LoadedModel:
    """`model` as `load_model` would hand it out."""
    from chatrwkv.engine.events import ModelInfo
    from chatrwkv.engine.model import LoadedModel

    model = model or FakeModel()
    tokenizer = tokenizer or getattr(model, "tokenizer", None) or ByteTokenizer()
    spec, path = model.spec, path or Path(f"/models/{name}.pth")
    info = ModelInfo(
        name=name, path=str(path), generation=str(spec.generation), n_layer=spec.n_layer,
        n_embd=spec.n_embd, n_vocab=spec.n_vocab, n_params=spec.n_params, fingerprint=spec.fingerprint,
        tokenizer_id=tokenizer.tokenizer_id, device=device, dtype="float32",
        state_bytes=model.blank().n_bytes, card_family=family, n_context=spec.n_context,
    )  # fmt: skip
    return LoadedModel(
        model=model, tokenizer=tokenizer, name=name, path=path, device=device, dtype="float32",
        banned=banned, info=info,
    )  # fmt: skip


class fake_loader:  # noqa: N801 - it stands where the function `load_model` stands
    """A load function for `EngineThread(loader=...)`.

    Without `model` each path gets a `FakeModel` of its own (salt = file stem), so a switch of model changes
    what is said. A path whose name is in `failures` raises that error instead.

    Args:
        speed: passes a second, for demonstrations; tests use a `Gate` as `before`.
        before: called before each forward pass of the models made here.
        gate: called once during each load.
        gpu: the device that `auto` gives.
    """

    def __init__(
        self,
        model: FakeModel | None = None,
        *,
        speed: float | None = None,
        before: Callable[[], object] | None = None,
        gate: Callable[[], object] | None = None,
        failures: Mapping[str, BaseException] | None = None,
        family: str = "g1",
        gpu: str = "cpu",
    ) -> None:
        self.gpu = gpu
        self.model = model
        self.before = before or (_pacer(speed) if speed else None)
        self.gate = gate or (lambda: None)
        self.failures = dict(failures or {})
        self.family = family
        self.loads: list[str] = []
        self.devices: list[str] = []
        """Where each load was asked to go."""

    def __call__(
        self,
        path: Path,
        *,
        device: str = "auto",
        dtype: str = "auto",
        progress: Callable[[int, int], None] | None = None,
        cancelled: Callable[[], bool] | None = None,
    ) -> LoadedModel:
        path = Path(path)
        self.loads.append(path.name)
        self.devices.append(device)
        if progress is not None:
            progress(1, 2)
        self.gate()
        if path.name in self.failures:
            raise self.failures[path.name]
        if progress is not None:
            progress(2, 2)
        model = self.model or FakeModel(path.stem, before=self.before)
        place = self.gpu if device == "auto" else device
        return loaded(model, name=path.stem, family=self.family, device=place, path=path)


def _pacer(speed: float) -> Callable[[], object]:
    pause = threading.Event()
    return lambda: pause.wait(1 / speed)
