"""How long the command line takes to answer, and what it imports to do so.

    python benchmarks/startup.py --times 20

Runs `run.py --help` and `run.py --cfg job` in fresh processes and prints one JSON object with the
wall time of each (seconds: median, least, most) and which heavy modules were imported.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import time
from pathlib import Path

from machine import machine

REPOSITORY = Path(__file__).resolve().parents[1]
HEAVY = ("torch", "litellm", "mlflow", "opto", "wandb", "modal", "numpy")


def timed(arguments: list[str], times: int) -> dict[str, object]:
    """Return the wall times of a command, run `times` times after one that warms the disk."""
    command = [sys.executable, str(REPOSITORY / "run.py"), *arguments]
    subprocess.run(command, capture_output=True, check=True)
    taken = []
    for _ in range(times):
        start = time.perf_counter()
        subprocess.run(command, capture_output=True, check=True)
        taken.append(time.perf_counter() - start)
    trace = subprocess.run(
        [sys.executable, "-X", "importtime", *command[1:]],
        capture_output=True,
        text=True,
        check=True,
    )
    imported = {line.rpartition("|")[2].strip() for line in trace.stderr.splitlines()}
    return {
        "median_s": round(statistics.median(taken), 3),
        "least_s": round(min(taken), 3),
        "most_s": round(max(taken), 3),
        "times": times,
        "heavy_modules": sorted(set(HEAVY) & imported),
    }


def main() -> None:
    """Measure both commands and print the result."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--times", type=int, default=20)
    times = parser.parse_args().times
    result = {
        "machine": machine(),
        "--help": timed(["--help"], times),
        "--cfg job": timed(["--cfg", "job"], times),
    }
    print(json.dumps(result, indent=2))


if __name__ == "__main__":
    main()
