"""The one command for a machine with a GPU: its table, and what it does with parts that fail. No GPU needed."""

from __future__ import annotations

import os
import runpy
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import pytest

ROOT = Path(__file__).parents[2]
FOUND: dict[str, dict[str, Any]] = {
    "tests": {"summary": "80 passed"},
    "decode": {
        "results": [
            {"shape": "7.2b", "rows": 1, "share": 0.914, "share_with_zeros": 1.02, "times_one_row": 1.0},
            {"shape": "7.2b", "rows": 8, "share": 0.9, "share_with_zeros": 1.0, "times_one_row": 6.9},
            {"shape": "0.1b", "rows": 1, "share": 0.4, "share_with_zeros": 0.4, "times_eager": 11.0},
        ]
    },
    "prefill": {"share": 0.61, "wkv_share": 0.2},
    "errors": {"float32": 2e-6, "bfloat16": 1e-2},
    "draw": {"1 rows, us": 40.0},
    "bench": {"problem": "it took longer than 90 s"},
}


gpu = SimpleNamespace(**runpy.run_path(str(ROOT / "benchmarks" / "gpu.py")))


def test_the_table_has_a_verdict_for_every_goal_that_was_measured():
    rows = [line for line in gpu.table(FOUND) if line.startswith("| ")]
    verdicts = {
        row.split("|")[1].strip(): (row.split("|")[3].strip(), row.split("|")[4].strip()) for row in rows
    }
    assert verdicts["decode 7.2B, one reply, share of the bandwidth"] == ("91.4 %", "met")
    assert verdicts["the same with 85 % FFN zeros"] == ("102.0 %", "missed")
    assert verdicts["decode 1.5B, share"] == ("not measured", "")
    assert verdicts["decode 0.1B against eager torch"] == ("11.0x", "met")
    assert verdicts["8 replies, 7.2B, total against one"] == ("6.9x", "met")
    assert verdicts["prefill 4,096, 7.2B, share of the matrix rate"] == ("61.0 %", "met")
    assert verdicts["WKV's share of that time"] == ("20.0 %", "missed")
    assert verdicts["error against float64, float32 inputs"] == ("2.0e-06", "met")
    assert verdicts["error against float64, bfloat16 inputs"] == ("1.0e-02", "missed")
    assert "tests: 80 passed" in gpu.table(FOUND)
    assert "bench: it took longer than 90 s" in gpu.table(FOUND)


def test_nothing_measured_is_a_table_without_verdicts():
    table = gpu.table({name: {"problem": "no"} for name in gpu.PARTS})
    assert not [line for line in table if " met " in line or " missed " in line]
    assert sum("not measured" in line for line in table) == 12


def test_a_part_that_fails_or_hangs_is_told_of(capsys: pytest.CaptureFixture[str]):
    assert gpu.run("x", ["-c", "print('{\"a\": 1}')"], 60) == {"a": 1}
    assert "boom" in gpu.run("x", ["-c", "raise SystemExit('boom')"], 60)["problem"]
    assert gpu.run("x", ["-c", "import time; time.sleep(60)"], 1) == {"problem": "it took longer than 1 s"}
    assert capsys.readouterr().err == "x ...\n" * 3


def test_all_parts_together_stay_within_eight_minutes():
    assert sum(limit for limit, _ in gpu.PARTS.values()) <= gpu.LIMIT_S


def test_without_a_gpu_it_says_so_and_needs_no_interface():
    code = (
        "import sys, runpy\n"
        "for name in ('textual', 'rich', 'platformdirs', 'huggingface_hub'): sys.modules[name] = None\n"
        "sys.argv = ['benchmarks/gpu.py']\n"
        "runpy.run_path('benchmarks/gpu.py', run_name='__main__')"
    )
    environ = {**os.environ, "CUDA_VISIBLE_DEVICES": ""}
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=False, cwd=ROOT, env=environ
    )
    assert (done.returncode, done.stdout) == (1, "")
    assert "torch sees no NVIDIA GPU here" in done.stderr
