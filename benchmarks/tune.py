"""What twenty examples of one style do to the built-in model: loss on five held-out ones, and the time.

python benchmarks/tune.py
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

STYLE = Path(__file__).parent / "style"


def main() -> None:
    """Run `chatrwkv tune` in a folder of its own and print a line for the README."""
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-m", "chatrwkv", "tune", str(STYLE / "captain.jsonl"), "-m", "sprout"]
        command += [
            "--held-out",
            str(STYLE / "captain-heldout.jsonl"),
            "-o",
            f"{folder}/captain.pth",
            "--json",
        ]
        environ = {**os.environ, "CHATRWKV_DATA_DIR": folder}
        done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True, env=environ)
        found = json.loads(done.stdout)
    gain = 100 * (1 - found["after"] / found["before"])
    print(
        f"{found['n_lessons']} examples, {found['n_steps']} steps in {found['seconds']:.0f} s:"
        f" held-out loss {found['before']:.3f} to {found['after']:.3f} nats a token (-{gain:.0f} %)"
    )


if __name__ == "__main__":
    main()
