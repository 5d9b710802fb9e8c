"""Baselines that were judged before, one small file each in the user's cache folder.

What is read from there is believed no more than any other file: it is bounded, and a record that
is not exactly what was asked for, with figures that could have been measured, is passed over.
"""

from __future__ import annotations

import contextlib
import json
import math
import os
import stat
from dataclasses import asdict
from pathlib import Path
from typing import Any

from kbexp.app.result import write_atomically
from kbexp.config import EvaluatorConfig
from kbexp.kernel import Kernel, text_id
from kbexp.task import Task
from kbexp.verdict import Interval, Phase, Record, Status, Verdict

SCHEMA = 1
"""Counts up when what is kept changes, or how a baseline is judged."""

MAX_BYTES = 16_384
"""A record has about 700."""

MAX_FILES = 2_000
"""Above so many files those that were used longest ago are deleted."""

VERSIONS = ("torch", "cuda", "compute_capability", "threads")
"""Of a verdict's environment, what a baseline's time depends on."""

LIKE_SETTINGS = ("name", "isolation", "cache", "cache_dir", "build_timeout_s", "run_timeout_s")
"""Settings of the evaluator that change no time."""

FIGURES = ("speedup", "time_ms", "reference_ms")


def default_folder() -> Path:
    """Return the folder of baselines in the user's cache."""
    base = os.environ.get("XDG_CACHE_HOME")
    return (Path(base) if base else Path.home() / ".cache") / "kbexp" / "baselines"


class BaselineCache:
    """Verdicts by task, baseline, device, versions and settings. Losing one costs time only."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def find(
        self, task: Task, kernel: Kernel, like: Verdict, settings: EvaluatorConfig
    ) -> Verdict | None:
        """Return what was kept for the device of `like`, or None."""
        key = _key(task, kernel, like, settings)
        record = _read(self._path(key))
        try:
            if record is None or record["schema"] != SCHEMA or record["key"] != key:
                return None
            figures = {name: _interval(record[name]) for name in FIGURES}
        except (KeyError, TypeError, ValueError, OverflowError):
            return None
        with contextlib.suppress(OSError):
            os.utime(self._path(key))
        return Verdict(
            kernel_id=kernel.id,
            task_id=task.id,
            status=Status.CORRECT,
            phase=Phase.TIMING,
            device=like.device,
            isolation=like.isolation,
            environment={name: like.environment[name] for name in _versions(like)},
            speedup=figures["speedup"],
            time_ms=figures["time_ms"],
            reference_ms=figures["reference_ms"],
        )

    def keep(self, task: Task, kernel: Kernel, verdict: Verdict, settings: EvaluatorConfig) -> None:
        """Keep a correct verdict; a folder that cannot be written to is none of the run's cares."""
        key = _key(task, kernel, verdict, settings)
        figures = {
            "speedup": verdict.speedup,
            "time_ms": verdict.time_ms,
            "reference_ms": verdict.reference_ms,
        }
        record: Record = {"schema": SCHEMA, "key": key}
        for name, interval in figures.items():
            if interval is None:
                return
            record[name] = [interval.value, interval.low, interval.high]
        with contextlib.suppress(OSError, ValueError):
            self._folder.mkdir(parents=True, exist_ok=True, mode=0o700)
            self._prune()
            write_atomically(self._path(key), json.dumps(record, allow_nan=False) + "\n")

    def _path(self, key: Record) -> Path:
        return self._folder / f"{text_id(json.dumps(key, sort_keys=True))}.json"

    def _prune(self) -> None:
        files = sorted(self._folder.glob("*.json"), key=lambda path: path.lstat().st_mtime)
        for path in files[: max(0, len(files) - MAX_FILES + 1)]:
            path.unlink(missing_ok=True)


def _key(task: Task, kernel: Kernel, like: Verdict, settings: EvaluatorConfig) -> Record:
    chosen = {k: v for k, v in asdict(settings).items() if k not in LIKE_SETTINGS}
    return {
        "task_id": task.id,
        "kernel_id": kernel.id,
        "device": like.device,
        "versions": {name: like.environment[name] for name in _versions(like)},
        "settings": chosen,
    }


def _versions(like: Verdict) -> list[str]:
    return [name for name in VERSIONS if name in like.environment]


def _read(path: Path) -> dict[str, Any] | None:
    """Return the JSON object in a file; None where it is anything else, or another user's."""
    try:
        # A link or a pipe would lead elsewhere, or nowhere for ever.
        fd = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
        with os.fdopen(fd, "rb") as file:
            status = os.fstat(fd)
            if not stat.S_ISREG(status.st_mode) or status.st_uid != os.geteuid():
                return None
            data = file.read(MAX_BYTES + 1)
        record = json.loads(data) if len(data) <= MAX_BYTES else None
    except (OSError, ValueError, RecursionError):
        return None
    return record if isinstance(record, dict) else None


def _interval(ends: Any) -> Interval:
    """Return three numbers as an interval; raises ValueError for what no clock ever showed."""
    if not isinstance(ends, list) or not all(type(end) in (int, float) for end in ends):
        raise ValueError("not numbers")
    value, low, high = (float(end) for end in ends)
    if not (low > 0 and math.isfinite(high)):
        raise ValueError("not a measured figure")
    return Interval(value, low, high)
