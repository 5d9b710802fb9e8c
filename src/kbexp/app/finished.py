"""A run that its folder holds complete: it is shown, and nothing of it is done again."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import kbexp
from kbexp.app.baselines import chosen_baselines
from kbexp.app.confirm import decided
from kbexp.app.result import NAME, Result, environment
from kbexp.config import Baseline, RunConfig
from kbexp.events import Event, RunEnded, RunStarted
from kbexp.summary import RunSummary
from kbexp.task import Task
from kbexp.tracking import RunInfo, read

SAME = ("task", "search")
"""What must be the same of a run that goes on in the folder of an earlier session."""

LIKE_SETTINGS = ("logger", "project", "run_name", "verbose")
"""Settings that change nothing of what a run comes to."""

MOST_NOTES = 20


def same_run(before: Mapping[str, Any], about: Mapping[str, Any]) -> bool:
    """Tell whether what a journal says of its run is what a command asks for."""
    return all(before.get(key) == about[key] for key in SAME)


def finished(
    info: RunInfo, about: Mapping[str, Any], config: RunConfig, summary: RunSummary
) -> Result | None:
    """Return what the run in a folder came to, None where something is left to do.

    Something is left where the run did not end as complete, where a setting is another one (a
    larger budget goes on with a run), where something could not be judged after the search, or
    where one of its files is gone. `summary` is empty and takes the run's events in. Raises
    KbexpError where the journal cannot be read.
    """
    started, last = _folded(info.journal, summary)
    if started is None or not isinstance(last, RunEnded) or last.state != "complete":
        return None
    wanted = json.loads(json.dumps(about, default=str))
    if not same_run(started.about, wanted) or _settings(started.about) != _settings(wanted):
        return None
    written = _written(info.folder / NAME)
    best = summary.winner
    gone = best is not None and not (info.folder / "best_kernel.py").is_file()
    if written is None or gone or not _settled(summary, config):
        return None
    notes, wall_s = written.get("notes"), written.get("wall_s")
    known = isinstance(wall_s, int | float) and math.isfinite(wall_s)
    return Result(
        state=last.state,
        reason=last.reason,
        task=str(wanted["task"]["name"]),
        device=best.verdict.device if best else str(written.get("device", "")),
        config=config,
        summary=summary,
        wall_s=float(wall_s) if known and wall_s is not None else summary.wall_s,
        notes=tuple(str(note) for note in notes[:MOST_NOTES]) if isinstance(notes, list) else (),
    )


def _folded(journal: Path, summary: RunSummary) -> tuple[RunStarted | None, Event | None]:
    """Return a run's latest start and its last event."""
    started: RunStarted | None = None
    last: Event | None = None
    for event in read(journal):
        summary.apply(event)
        started = event if isinstance(event, RunStarted) else started
        last = event
    return started, last


def _settings(about: Mapping[str, Any]) -> dict[str, Any] | None:
    config = about.get("config")
    if not isinstance(config, Mapping):
        return None
    return {key: value for key, value in config.items() if key not in LIKE_SETTINGS}


def _settled(summary: RunSummary, config: RunConfig) -> bool:
    """Tell whether all that follows a search was done."""
    winner = summary.winner
    if winner is None:
        return True
    if config.confirm.kernels and winner.confirmed is None:
        return False
    names = [
        str(name)
        for name in chosen_baselines(config.baselines, config.gpu)
        if name is not Baseline.eager
    ]
    verdicts = [again.verdict for again in summary.confirmations]
    verdicts += [judged.verdict for judged in summary.baselines.values()]
    return set(names) <= set(summary.baselines) and all(map(decided, verdicts))


def _written(path: Path) -> dict[str, Any] | None:
    try:
        record = json.loads(path.read_text(encoding="utf-8", errors="replace"))
    except (OSError, ValueError, RecursionError):
        return None
    return record if isinstance(record, dict) else None


def about_run(info: RunInfo, config: RunConfig, task: Task) -> dict[str, Any]:
    """Return what the first line of a run's journal says of it."""
    return {
        "kbexp": kbexp.__version__,
        "name": info.name,
        "project": info.project,
        "task": {"name": task.name, "id": task.id, "family": task.family},
        "search": {
            "algorithm": info.config["algorithm"],
            "mode": info.config["search"]["mode"],
            "metric": info.config["metric"],
            "seed": config.seed,
        },
        "config": info.public_config(),
        "environment": environment(),
    }
