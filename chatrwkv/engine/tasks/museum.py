"""The same prompt for several small models, one after the other; the loaded model stays where it is."""

from __future__ import annotations

from typing import TYPE_CHECKING

from chatrwkv.engine.job import ReplyJob
from chatrwkv.engine.model import load_model
from chatrwkv.engine.request import GenerateRequest, Prompt
from chatrwkv.engine.scheduler import Scheduler
from chatrwkv.engine.tasks.evaluate import evaluate
from chatrwkv.engine.tasks.examples import Exhibit, read_examples

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Sequence
    from pathlib import Path

    from chatrwkv.engine.events import Finished
    from chatrwkv.engine.model import LoadedModel
    from chatrwkv.engine.params import SamplingParams


def visit(
    _loaded: LoadedModel,
    cancelled: Callable[[], bool],
    progress: Callable[[int, int, str], None],
    *,
    paths: Sequence[Path],
    prompt: str,
    params: SamplingParams,
    stops: Sequence[str],
    held_out: Path,
) -> Generator[None, None, list[Exhibit]]:
    """Ask every model the same; a pause after each pass.

    Args:
        cancelled: asked between passes; what is done so far is returned.
        progress: told which model is asked.
        paths: the models.
        prompt: as the model reads it, roles and all.
        params: how the reply is drawn.
        stops: what ends it.
        held_out: .jsonl with texts that the loss is measured on.

    Raises:
        ChatRWKVError: a model cannot be loaded.
    """
    found: list[Exhibit] = []
    for place, path in enumerate(paths):
        if cancelled():
            break
        progress(place, len(paths), f"asking {path.stem}")
        model = load_model(path, device="cpu", dtype="fp32")
        yield
        measured = evaluate(model, read_examples(held_out))
        yield
        end = yield from _reply(model, cancelled, prompt, params, stops)
        state = end.snapshot.state if end.snapshot else model.model.blank()
        found.append(
            Exhibit(
                name=model.name,
                generation=model.info.generation,
                n_params=model.info.n_params,
                state_bytes=state.n_bytes,
                bits_per_byte=measured.bits_per_byte,
                reply=end.text.strip(),
                tok_s=end.stats.decode_tok_s,
            )
        )
    return found


def _reply(
    model: LoadedModel,
    cancelled: Callable[[], bool],
    prompt: str,
    params: SamplingParams,
    stops: Sequence[str],
) -> Generator[None, None, Finished]:
    def prepare(loaded: LoadedModel) -> Prompt:
        return Prompt(None, tuple(loaded.tokenizer.encode(prompt)))

    job = ReplyJob(GenerateRequest(prepare=prepare, params=params, stops=tuple(stops)))
    job.claim()
    scheduler = Scheduler(model)
    scheduler.add([(job.request, job)])
    while scheduler.is_busy:
        scheduler.turn()
        if cancelled():
            job.cancel()
        yield
    return job.result()
