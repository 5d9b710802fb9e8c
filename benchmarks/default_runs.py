"""Whether the offline default really finds faster kernels: one run on every bundled task.

    python benchmarks/default_runs.py --evaluations 30 --seed 0

Each run is `python run.py task=... budget.evaluations=N` with nothing else changed but the wall
clock's limit. A task counts as faster where the whole 95 % interval of the best kernel's speedup,
judged again by a fresh evaluator, lies above 1.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from machine import machine

from kbexp.tasks.catalog import NAMES

REPOSITORY = Path(__file__).resolve().parents[1]


def search(task: str, folder: Path, evaluations: int, seed: int) -> dict[str, Any]:
    """Run one search; return its result.json."""
    command = [
        sys.executable, str(REPOSITORY / "run.py"), f"task={task}", f"seed={seed}",
        f"budget.evaluations={evaluations}", "budget.wall_s=null", "logger=none",
        "algorithm.num_steps=1000", f"hydra.run.dir={folder}",
    ]  # fmt: skip
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"{task}: exit code {done.returncode}\n{done.stderr}")
    result: dict[str, Any] = json.loads((folder / "result.json").read_text(encoding="utf-8"))
    return result


def judged_again(task: str, folder: Path) -> dict[str, Any]:
    """Judge the run's best kernel once more, in new processes on new inputs."""
    best = folder / "best_kernel.py"
    command = [
        sys.executable, str(REPOSITORY / "scripts" / "evaluate.py"), f"kernel={best}",
        f"task={task}", "gpu=cpu",
    ]  # fmt: skip
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    verdict: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return verdict


def main() -> None:
    """Run every task, print a line each and the whole result at the end."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--evaluations", type=int, default=30)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--tasks", nargs="*", default=list(NAMES))
    arguments = parser.parse_args()
    rows: dict[str, dict[str, Any]] = {}
    for task in arguments.tasks:
        with tempfile.TemporaryDirectory() as temporary:
            folder = Path(temporary) / "run"
            result = search(task, folder, arguments.evaluations, arguments.seed)
            again = judged_again(task, folder) if result["best"] else {}
        best = result["best"] or {}
        rows[task] = {
            "searched": [best.get(key) for key in ("speedup_low", "speedup", "speedup_high")],
            "judged_again": [again.get(key) for key in ("speedup_low", "speedup", "speedup_high")],
            "reference_ms": again.get("reference_ms"),
            "counts": result["counts"],
            "wall_s": result["wall_s"],
        }
        print(task, json.dumps(rows[task]), flush=True)
    faster = [task for task, row in rows.items() if (row["judged_again"][0] or 0) > 1]
    summary = {
        "machine": machine(),
        "evaluations": arguments.evaluations,
        "seed": arguments.seed,
        "faster": len(faster),
        "of": len(rows),
        "tasks": rows,
    }
    print(json.dumps(summary, indent=2))


if __name__ == "__main__":
    main()
