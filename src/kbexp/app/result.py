"""`result.json`: what a run came to, written whole or not at all."""

from __future__ import annotations

import contextlib
import importlib.metadata
import json
import os
import platform
import subprocess
import tempfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import kbexp
from kbexp.config import Baseline, RunConfig
from kbexp.score import metric_name
from kbexp.summary import RunSummary, figures_record, interval_record
from kbexp.verdict import Interval, Record, Verdict
from kbexp.winner import Winner

SCHEMA = 2
"""Counts up when a key of `result.json` goes or changes its meaning."""

NAME = "result.json"


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    """What `result.json` says; `task` is the task's name, `device` the device's own.

    `notes` say in a sentence each what was left out after the search.
    """

    state: str
    reason: str
    task: str
    device: str
    config: RunConfig
    summary: RunSummary
    wall_s: float
    environment: dict[str, str] = field(default_factory=dict)
    notes: tuple[str, ...] = ()

    def to_record(self) -> Record:
        """Return the content of `result.json`."""
        config = self.config
        counted = self.summary.to_record()
        return {
            "schema": SCHEMA,
            "state": self.state,
            "reason": self.reason,
            "task": self.task,
            "gpu": config.gpu.name,
            "device": self.device,
            "algorithm": config.algorithm.name,
            "llm": config.llm.name,
            "seed": config.seed,
            "metric": metric_name(config.metric),
            "counts": counted["counts"],
            "best": counted["best"],
            "confirmations": counted["confirmations"],
            "baselines": _baselines(self.summary),
            "notes": list(self.notes),
            "cost": {**counted["cost"], "unpriced_proposals": self.summary.unpriced},
            "wall_s": self.wall_s,
            "environment": self.environment,
        }


def over_baseline(winner: Winner, baseline: Verdict) -> Interval | None:
    """Return how many times as fast the winner is as a baseline; None where it was not measured.

    Both were timed in turns with the reference, not with each other: the figure is the quotient
    of their speedups over it, which is free of what the device did meanwhile.
    """
    from kbexp.statistics import quotient

    best, other = winner.verdict.speedup, baseline.speedup
    if best is None or other is None or not baseline.correct or other.value <= 0:
        return None
    return quotient(best, other)


def _baselines(summary: RunSummary) -> Record:
    """Return what the best kernel is compared with; the reference's time is that beside it."""
    winner = summary.winner
    eager = winner.verdict.reference_ms if winner else None
    found: Record = {str(Baseline.eager): {"time_ms": eager.value if eager else None}}
    for name, judged in summary.baselines.items():
        verdict = judged.verdict
        over = over_baseline(winner, verdict) if winner else None
        found[name] = {
            **figures_record(verdict),
            "status": str(verdict.status),
            "reasons": list(verdict.reasons),
            "cached": judged.cached,
            **interval_record("best_speedup", over),
        }
    return found


def write_atomically(path: Path, text: str, errors: str = "surrogatepass") -> None:
    """Put a text on the disk under its name in one step: readers see the old file or the new.

    `errors` is what becomes of characters that UTF-8 has not, as for `str.encode`.
    """
    fd, temporary = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
    try:
        with os.fdopen(fd, "w", encoding="utf-8", errors=errors, newline="") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        Path(temporary).chmod(0o644)
        Path(temporary).replace(path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise
    folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


def write_result(folder: Path, result: Result) -> None:
    """Write `result.json` into a run's folder."""
    record: dict[str, Any] = result.to_record()
    write_atomically(folder / NAME, json.dumps(record, indent=2, allow_nan=False) + "\n")


def environment() -> dict[str, str]:
    """Return what the run ran on: versions, platform, processor and, in a checkout, the commit."""
    found = {
        "python": platform.python_version(),
        "torch": importlib.metadata.version("torch"),
        "kbexp": kbexp.__version__,
        "platform": platform.platform(),
        "cpu": _processor(),
    }
    commit = _commit(Path(kbexp.__file__).resolve().parents[2])
    if commit:
        found["git_commit"] = commit
    return found


def _commit(folder: Path) -> str:
    """Return the commit of a checkout, with -dirty where files were changed; "" elsewhere."""
    if not (folder / ".git").exists():
        return ""
    command = ["git", "describe", "--always", "--abbrev=40", "--dirty", "--exclude=*"]
    try:
        done = subprocess.run(
            command, cwd=folder, capture_output=True, text=True, timeout=10, check=False
        )
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return done.stdout.strip() if done.returncode == 0 else ""


def _processor() -> str:
    """Return the processor's name for itself, or its architecture."""
    with contextlib.suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()
