"""Trains the model on prepared rows and goes on exactly where it stopped.

    python -m training.train --data work/main --out work/run --steps 4000
    python -m training.train --data work/final --out work/run2 --from work/run/last.pt \
        --steps 1500 --schedule cosine --lr-final 2e-5

Run the same command again after an interruption: `OUT/last.pt` holds weights, optimiser and position, and
the rows are read in their stored order, so the result is the same bit for bit. `OUT/log.txt` gets a line
every few steps, `OUT/loss.svg` the curve, `OUT/best.pt` the weights with the lowest held-out loss.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import signal
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from training import fast7, folders, generations
from training.corpus import PAD, PROMPT
from training.init import Shape
from training.optim import Optimiser
from training.plot import write_curve

if TYPE_CHECKING:
    from collections.abc import Callable

Arrays = dict[str, np.ndarray]


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """What a run depends on beside its rows."""

    steps: int = 4000
    rows: int = 8
    lr: float = 2e-3
    lr_final: float = 2e-5
    warm_up: int = 20
    schedule: str = "flat"
    weight_decay: float = 0.05
    prompt_weight: float = 0.3
    clip: float = 1.0
    seed: int = 1
    muon: bool = True
    half: bool = True
    compiled: bool = True
    generation: str = "7"
    fast: bool = True
    """RWKV-7 by `fast7`; else, and for all other generations, the engine's own `forward`."""
    device: str = "cpu"
    shape: Shape = field(default_factory=Shape)

    def rate(self, step: int) -> float:
        """The learning rate of a step: a short warm-up, then flat or half a cosine down to `lr_final`."""
        if step < self.warm_up:
            return self.lr * (0.01 + 0.99 * step / self.warm_up)
        if self.schedule == "flat":
            return self.lr
        done = (step - self.warm_up) / max(1, self.steps - self.warm_up)
        return self.lr_final + (self.lr - self.lr_final) * 0.5 * (1 + math.cos(math.pi * min(1.0, done)))


def load_rows(path: Path) -> Arrays:
    """The four arrays of a prepared file."""
    with np.load(path) as file:
        return {name: file[name] for name in file.files}


def batch(rows: Arrays, step: int, size: int) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """The rows of a step as int64 tensors: ids, targets, roles, starts; from the front again at the end."""
    n = len(rows["ids"])
    chosen = [(step * size + i) % n for i in range(size)]
    ids, targets, roles, starts = (
        torch.from_numpy(rows[name][chosen].astype(np.int64))
        for name in ("ids", "targets", "roles", "starts")
    )
    return ids, targets, roles, starts


class Trainer:
    """Weights, optimiser and position of a run."""

    def __init__(self, settings: Settings, weights: dict[str, Tensor] | None = None) -> None:
        self.settings = settings
        weights = weights or generations.RECIPES[settings.generation].initial(settings.shape, settings.seed)
        self.weights = {
            name: t.detach().to(settings.device, copy=True).requires_grad_() for name, t in weights.items()
        }
        self.optimiser = Optimiser(self.weights, weight_decay=settings.weight_decay, use_muon=settings.muon)
        self.step = 0
        self.curve: list[tuple[int, float, float]] = []
        self.best = math.inf
        self.is_fast = settings.fast and settings.generation == "7"
        self._block: Callable[..., Any] = fast7.block
        self._losses: Callable[..., Tensor] = fast7.token_losses
        if settings.compiled and self.is_fast:
            self._block = torch.compile(fast7.block, dynamic=False)
            self._losses = torch.compile(fast7.token_losses, dynamic=False)

    def _batch(self, rows: Arrays, step: int) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """The rows of a step, where the weights are."""
        ids, targets, roles, starts = batch(rows, step, self.settings.rows)
        device = self.settings.device
        return ids.to(device), targets.to(device), roles.to(device), starts.to(device)

    def losses(self, ids: Tensor, targets: Tensor, starts: Tensor) -> Tensor:
        """Cross-entropy of every position in nats."""
        if not self.is_fast:
            return generations.losses(self.settings.generation, self.weights, ids, targets)
        half = self.settings.half
        hidden = fast7.forward(self.weights, ids, starts, half=half, run=self._block)
        return self._losses(hidden, self.weights["head.weight"], targets, half=half)

    def update(self, rows: Arrays) -> float:
        """One step; returns its loss over the weighted positions."""
        ids, targets, roles, starts = self._batch(rows, self.step)
        weight = torch.where(
            roles == PAD, 0.0, torch.where(roles == PROMPT, self.settings.prompt_weight, 1.0)
        )
        loss = (self.losses(ids, targets, starts) * weight).sum() / weight.sum()
        loss.backward()  # type: ignore[no-untyped-call] # torch leaves it untyped
        torch.nn.utils.clip_grad_norm_(self.weights.values(), self.settings.clip)
        self.optimiser.step(self.settings.rate(self.step))
        self.step += 1
        return loss.item()

    @torch.no_grad()
    def held_out(self, tests: dict[str, Arrays]) -> dict[str, float]:
        """Nats a token of the first rows of every test source, user turns left out."""
        found = {}
        for name, rows in tests.items():
            ids, targets, roles, starts = self._batch(rows, 0)
            counts = (roles > PROMPT).float()
            found[name] = float((self.losses(ids, targets, starts) * counts).sum() / counts.sum())
        return found

    def save(self, path: Path) -> None:
        """Write everything that the rest of the run depends on, atomically."""
        state = {
            "weights": {n: t.detach() for n, t in self.weights.items()},
            "optimiser": self.optimiser.state_dict(),
            "step": self.step,
            "curve": self.curve,
            "best": self.best,
        }
        part = path.with_suffix(".part")
        torch.save(state, part)
        part.replace(path)

    def load(self, path: Path, *, as_start: bool = False) -> None:
        """Go on from a checkpoint; `as_start` takes weights and momenta into a new run's step 0."""
        state = torch.load(path, weights_only=True, map_location="cpu")
        with torch.no_grad():
            for name, tensor in self.weights.items():
                tensor.copy_(state["weights"][name])
        self.optimiser.load_state_dict(state["optimiser"])
        if not as_start:
            self.step, self.best = state["step"], state["best"]
            self.curve = [(int(s), float(a), float(b)) for s, a, b in state["curve"]]


def overall(losses: dict[str, float]) -> float:
    """One number to choose the best checkpoint by: half the own text, half the mean of the others."""
    others = [loss for name, loss in losses.items() if name != "own"]
    if not others:
        return losses["own"]
    return 0.5 * losses["own"] + 0.5 * sum(others) / len(others)


class Run:
    """A trainer with its folder: log, plot, checkpoints, and a clean stop on SIGTERM."""

    def __init__(self, trainer: Trainer, rows: Arrays, tests: dict[str, Arrays], out: Path) -> None:
        self.trainer, self.rows, self.tests, self.out = trainer, rows, tests, out
        self.stopping = False
        out.mkdir(parents=True, exist_ok=True)
        signal.signal(signal.SIGTERM, self._stop)

    def _stop(self, *_: object) -> None:
        self.stopping = True

    def say(self, line: str) -> None:
        """A line to the log and to the terminal."""
        line = f"{time.strftime('%H:%M:%S')} {line}"
        with (self.out / "log.txt").open("a", encoding="utf-8") as log:
            log.write(line + "\n")
        print(line, flush=True)

    def go(self, log_every: int = 20, test_every: int = 250, save_every: int = 100) -> None:
        """Train to the last step or until told to stop."""
        trainer = self.trainer
        total = trainer.settings.steps
        recent: list[float] = []
        mark, tokens = time.monotonic(), 0
        while trainer.step < total and not self.stopping:
            recent.append(trainer.update(self.rows))
            tokens += trainer.settings.rows * self.rows["ids"].shape[1]
            if trainer.step % log_every == 0:
                speed = tokens / (time.monotonic() - mark)
                left = (total - trainer.step) * trainer.settings.rows * self.rows["ids"].shape[1] / speed
                mean = sum(recent) / len(recent)
                rate = trainer.settings.rate(trainer.step)
                self.say(
                    f"step {trainer.step}/{total} loss {mean:.4f} lr {rate:.2e} {speed:.0f} tok/s ETA {left / 60:.0f} min"
                )
                if trainer.step % test_every != 0:
                    recent, tokens, mark = recent[-log_every:], 0, time.monotonic()
            if trainer.step % test_every == 0 or trainer.step == total:
                self.test(sum(recent) / len(recent))
                recent, tokens, mark = [], 0, time.monotonic()
            if trainer.step % save_every == 0:
                trainer.save(self.out / "last.pt")
        trainer.save(self.out / "last.pt")
        self.say(f"stopped at step {trainer.step} of {total}")

    def test(self, train_loss: float) -> None:
        """Measure the held-out sources; keep the weights if they are the best so far; draw the curve."""
        trainer = self.trainer
        losses = trainer.held_out(self.tests)
        score = overall(losses)
        trainer.curve.append((trainer.step, train_loss, score))
        table = " ".join(f"{name} {loss:.3f}" for name, loss in losses.items())
        self.say(f"held-out {score:.4f}: {table}")
        write_curve(self.out / "loss.svg", trainer.curve)
        if score < trainer.best:
            trainer.best = score
            torch.save({n: t.detach().cpu() for n, t in trainer.weights.items()}, self.out / "best.pt")


def parse(arguments: list[str] | None = None) -> argparse.Namespace:
    """Options of the command."""
    parser = argparse.ArgumentParser(prog="python -m training.train", description=__doc__.split("\n", 1)[0])
    parser.add_argument("--data", type=Path, default=folders.ROWS, help="folder written by training.data")
    parser.add_argument("--out", type=Path, default=folders.RUN, help="log, plot and checkpoints")
    parser.add_argument("--from", dest="start", type=Path, help="last.pt of an earlier run to start from")
    parser.add_argument("--steps", type=int, default=4000)
    parser.add_argument("--rows", type=int, default=8, help="rows of 512 tokens a step")
    parser.add_argument("--lr", type=float, default=2e-3)
    parser.add_argument("--lr-final", type=float, default=2e-5)
    parser.add_argument("--warm-up", type=int, default=20)
    parser.add_argument("--schedule", choices=("flat", "cosine"), default="flat")
    parser.add_argument("--weight-decay", type=float, default=0.05)
    parser.add_argument("--prompt-weight", type=float, default=0.3, help="weight of the loss on user turns")
    parser.add_argument("--optimiser", choices=("muon", "adamw"), default="muon")
    parser.add_argument("--generation", choices=sorted(generations.RECIPES), default="7")
    parser.add_argument("--layers", type=int, default=6)
    parser.add_argument("--width", type=int, default=192)
    parser.add_argument("--head-size", type=int, default=64)
    parser.add_argument("--vocab", type=int, default=4096, help="ids of the vocabulary (default 4096)")
    parser.add_argument("--pure", action="store_true", help="RWKV-7 by the engine's own forward, too")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--device", help="cpu, cuda or cuda:N (default: a GPU where there is one)")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--plain", action="store_true", help="float32, nothing compiled")
    return parser.parse_args(arguments)


def main() -> None:
    """The command."""
    options = parse()
    torch.set_num_threads(options.threads)
    rows = load_rows(options.data / "train.npz")
    settings = Settings(
        steps=options.steps,
        rows=options.rows,
        lr=options.lr,
        lr_final=options.lr_final,
        warm_up=options.warm_up,
        schedule=options.schedule,
        weight_decay=options.weight_decay,
        prompt_weight=options.prompt_weight,
        seed=options.seed,
        muon=options.optimiser == "muon",
        half=not options.plain,
        compiled=not options.plain,
        generation=options.generation,
        fast=not options.pure,
        device=options.device or ("cuda" if torch.cuda.is_available() else "cpu"),
        shape=Shape(
            n_layer=options.layers,
            n_embd=options.width,
            head_size=options.head_size,
            n_vocab=options.vocab,
            n_context=rows["ids"].shape[1],
        ),
    )
    tests = {
        path.stem.removeprefix("test-"): load_rows(path) for path in sorted(options.data.glob("test-*.npz"))
    }
    trainer = Trainer(settings)
    run = Run(trainer, rows, tests, options.out)
    run.say(
        f"{sum(t.numel() for t in trainer.weights.values()) / 1e6:.2f} M parameters, pid {os.getpid()}, {settings}"
    )
    if (options.out / "last.pt").exists():
        trainer.load(options.out / "last.pt")
        run.say(f"going on at step {trainer.step}")
    elif options.start:
        trainer.load(options.start, as_start=True)
        run.say(f"starting from {options.start.name}")
    (options.out / "settings.json").write_text(
        json.dumps(vars(options), default=str, indent=2) + "\n", encoding="utf-8"
    )
    run.go()


if __name__ == "__main__":
    main()
