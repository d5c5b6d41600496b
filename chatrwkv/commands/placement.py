"""Where a model goes and in which precision: the flags that say so, and the plan as it is printed."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from chatrwkv.errors import BadValue

if TYPE_CHECKING:
    import argparse
    from collections.abc import Mapping
    from pathlib import Path

    from chatrwkv.config import Settings

DTYPES = ("auto", "fp32", "bf16", "fp16", "int8", "int4")


def add_placement(parser: argparse.ArgumentParser) -> None:
    """`--device`, `--dtype`, `--gpu-layers` and `--strategy`."""
    parser.add_argument("--device", metavar="DEVICE", help="auto, cpu, cuda, cuda:N or mps")
    parser.add_argument("--dtype", choices=DTYPES, help="precision of the weights")
    parser.add_argument(
        "--gpu-layers", metavar="N", type=int, help="this many layers on the GPU, the rest on the CPU"
    )
    parser.add_argument(
        "--strategy", metavar="TEXT", help='which layers go where, such as "cuda fp16 *10 -> cpu fp32"'
    )


def placement_flags(args: argparse.Namespace) -> dict[str, str | None]:
    """The settings that the flags stand for; a strategy takes the place of the device.

    Raises:
        BadValue: the flags contradict each other.
    """
    from chatrwkv.engine.plan import parse_strategy, strategy_of

    if args.strategy is not None:
        if args.device or args.dtype or args.gpu_layers is not None:
            raise BadValue(
                "--strategy says all that --device, --dtype and --gpu-layers say.", hint="Leave those out."
            )
        parse_strategy(args.strategy, 1)  # what is none is told before a model is opened
        return _whole(args.strategy)
    if args.gpu_layers is None:
        return {"model.device": args.device, "model.dtype": args.dtype}
    return _whole(strategy_of(args.device or "auto", args.dtype or "auto", args.gpu_layers))


def _whole(strategy: str) -> dict[str, str | None]:
    return {"model.device": strategy, "model.dtype": "auto"}


def plan_lines(path: Path, settings: Settings) -> list[str]:
    """What is where, and the memory of each device; [] when the settings leave both to the program.

    Raises:
        ChatRWKVError: the file, the device, the precision or the strategy cannot be used.
    """
    if settings.model.device == settings.model.dtype == "auto":
        return []
    fields = plan_fields(path, settings)
    memory = ", ".join(f"{device} {size}" for device, size in fields["memory"].items())
    return [*fields["layers"], f"memory for the weights: {memory}"]


def plan_fields(path: Path, settings: Settings, *, in_bytes: bool = False) -> Mapping[str, Any]:
    """The plan of the settings' device and precision for one file, without reading its weights.

    The devices need not be here, so that it can be asked what would fit one.

    Raises:
        ChatRWKVError: the file, the device, the precision or the strategy cannot be used.
    """
    from chatrwkv.engine import detect
    from chatrwkv.engine.checkpoint import open_checkpoint
    from chatrwkv.engine.kernels import library
    from chatrwkv.engine.placement import sketch_plan
    from chatrwkv.text import format_bytes

    checkpoint = open_checkpoint(path)
    spec = detect(checkpoint.shapes, dtype=checkpoint.dtype)
    is_exact = spec.has_native_path and spec.dtype == "bf16" and library() is not None
    plan = sketch_plan(settings.model.device, settings.model.dtype, spec, is_exact_in_bf16=is_exact)
    memory = plan.memory(checkpoint.shapes)
    return {
        "strategy": plan.text,
        "layers": plan.lines(),
        "memory": {name: n if in_bytes else format_bytes(n) for name, n in memory.items()},
    }
