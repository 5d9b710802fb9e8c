"""What single runs came to, read from their folders.

Everything here was written by a run, or by whoever has touched its folder since: it is believed
no further than that it is text, numbers of a size, or nothing.
"""

from __future__ import annotations

import json
import math
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from kbexp.analysis.settings import settings_of
from kbexp.errors import KbexpError
from kbexp.events import RunStarted
from kbexp.score import metric_name
from kbexp.tracking import RunInfo, read
from kbexp.tracking.run_info import JOURNAL_NAME
from kbexp.verdict import Interval

RESULT_NAME = "result.json"
SETTINGS_NAME = ".hydra"

MAX_BYTES = 2**24
"""A result has some kilobytes."""

MAX_RUNS = 10_000

STORES = ("mlartifacts", "mlruns", "wandb")
"""Folders of trackers, which keep copies of results."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """One run. `speedup` is the confirmed one of its best kernel, or else (not `confirmed`) the
    search's; None where no kernel was correct. `unpriced` calls are not in `cost_usd`. `settings`
    are those that tell repetitions of a run from other runs, None where they are not known;
    `device` is the device's own name. A run that has no folder has a `label`, and that of its
    sweep.

    All texts are as they were found: what prints them has to clean them.
    """

    folder: Path
    state: str
    reason: str = ""
    task: str = ""
    gpu: str = ""
    algorithm: str = ""
    llm: str = ""
    metric: str = "speedup"
    seed: int | None = None
    speedup: Interval | None = None
    confirmed: bool = False
    score: float | None = None
    evaluations: int = 0
    cost_usd: float = 0.0
    unpriced: int = 0
    wall_s: float = 0.0
    device: str = ""
    label: str = ""
    settings: Mapping[str, str] | None = None


def run_folders(places: Sequence[Path]) -> list[Path]:
    """Return the folders of runs in and below some places, each once, in their natural order.

    A folder is a run's where it holds a result, a journal or the settings of a run that came no
    further. Raises KbexpError where one of the places is no folder or holds no run.
    """
    found: dict[Path, None] = {}
    for place in places:
        if not place.is_dir():
            raise KbexpError(f"There is no folder {place}: give folders of runs, or of a sweep.")
        below = sorted(_below(place), key=_natural)
        if not below:
            raise KbexpError(f"There is no run in {place}: give folders of runs, or of a sweep.")
        found |= dict.fromkeys(path.resolve() for path in below)
    return list(found)[:MAX_RUNS]


def has_runs(place: Path) -> bool:
    """Tell whether there is a run in or below a folder."""
    return next(_below(place), None) is not None


def _below(place: Path) -> Iterator[Path]:
    for name, folders, files in os.walk(place):
        folders[:] = [folder for folder in folders if folder not in STORES]
        if RESULT_NAME in files or JOURNAL_NAME in files or SETTINGS_NAME in folders:
            folders.clear()
            yield Path(name)


def _natural(path: Path) -> list[tuple[int, int, str]]:
    """Order 2_x before 10_x."""
    parts = []
    for part in path.parts:
        digits = part[: len(part) - len(part.lstrip("0123456789"))][:18]
        number = int(digits) if digits.isascii() and digits else 0
        parts.append((0 if digits else 1, number, part))
    return parts


def outcome_of(folder: Path) -> Outcome:
    """Return what the run in a folder came to, from its journal where it wrote no result."""
    record = _result(folder / RESULT_NAME)
    if record is None:
        record = _told(folder / JOURNAL_NAME)
    if record is None:
        return Outcome(folder=folder, state="no result", settings=settings_of(folder))
    best, cost, counts = (_part(record, name) for name in ("best", "cost", "counts"))
    confirmed = _part(best, "confirmed")
    again, searched = _interval(confirmed), _interval(best)
    seed = record.get("seed")
    return Outcome(
        folder=folder,
        state=_text(record, "state"),
        reason=_text(record, "reason"),
        task=_text(record, "task"),
        gpu=_text(record, "gpu"),
        algorithm=_text(record, "algorithm"),
        llm=_text(record, "llm"),
        metric=_text(record, "metric") or "speedup",
        seed=seed if type(seed) is int and abs(seed) < 2**63 else None,
        speedup=searched if again is None else again,
        confirmed=again is not None,
        score=_number(best, "score"),
        evaluations=int(_number(counts, "evaluations") or 0),
        cost_usd=(_number(cost, "llm_usd") or 0.0) + (_number(cost, "gpu_usd") or 0.0),
        unpriced=int(_number(cost, "unpriced_proposals") or 0),
        wall_s=_number(record, "wall_s") or 0.0,
        device=_text(record, "device"),
        settings=settings_of(folder),
    )


def _result(path: Path) -> Mapping[str, Any] | None:
    try:
        if not path.is_file():
            return None
        with path.open("rb") as file:
            data = file.read(MAX_BYTES + 1)
        record = json.loads(data) if len(data) <= MAX_BYTES else None
    except (OSError, ValueError, RecursionError):
        return None
    return record if isinstance(record, dict) else None


def _told(path: Path) -> Mapping[str, Any] | None:
    """Return what a journal tells of a run that was cut before it could write its result."""
    if not path.is_file():
        return None
    try:
        events = list(read(path))
    except KbexpError:
        return None
    about = next((dict(event.about) for event in events if isinstance(event, RunStarted)), {})
    info = RunInfo.of_journal(path, about, path.parent)
    summary = info.summary()
    for event in events:
        summary.apply(event)
    record = summary.to_record()
    record["state"] = "interrupted" if record["state"] == "running" else record["state"]
    record["cost"]["unpriced_proposals"] = summary.unpriced
    names = {group: info.setting(f"{group}.name") for group in ("task", "gpu", "algorithm", "llm")}
    metric = metric_name(summary.metric)
    return {**record, **names, "seed": info.setting("seed"), "metric": metric}


def _part(record: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    found = record.get(name)
    return found if isinstance(found, Mapping) else {}


def _text(record: Mapping[str, Any], name: str) -> str:
    found = record.get(name)
    return found[:1000] if isinstance(found, str) else ""


def _number(record: Mapping[str, Any], name: str) -> float | None:
    found = record.get(name)
    if isinstance(found, bool) or not isinstance(found, int | float) or abs(found) > 1e300:
        return None
    return float(found) if math.isfinite(found) else None


def _interval(figures: Mapping[str, Any]) -> Interval | None:
    """Return a speedup with its interval, None where it could not have been measured."""
    value = _number(figures, "speedup")
    if value is None or value <= 0:
        return None
    low, high = _number(figures, "speedup_low"), _number(figures, "speedup_high")
    return Interval(
        value,
        low if low is not None and low <= value else 0.0,
        high if high is not None and high >= value else math.inf,
    )
