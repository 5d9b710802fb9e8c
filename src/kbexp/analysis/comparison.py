"""Runs side by side: every one of them, and those that differ by their seeds alone together."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from kbexp.analysis.outcomes import Outcome
from kbexp.analysis.settings import differences
from kbexp.summary import interval_record
from kbexp.verdict import Interval, Record

SCHEMA = 1
"""Counts up when a key of a comparison goes or changes its meaning."""

T_95 = (
    12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262, 2.228,
    2.201, 2.179, 2.160, 2.145, 2.131, 2.120, 2.110, 2.101, 2.093, 2.086,
)  # fmt: skip
"""Student's t at 95 %, two-sided, for 1 to 20 degrees of freedom, as any table of it has them."""

T_MANY = 2.086
"""For more than 20: the value at 20, which errs towards a wider interval."""

FEWEST_FOR_INTERVAL = 4
"""With fewer figures Student's interval says next to nothing; their range is shown instead."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Group:
    """Runs that differ by their seeds alone: one task, device, model, and all settings alike.

    `settings` are those by which groups of the same task, device, algorithm and model differ.
    `figures` are the speedups of the runs that have one, `speedup` their geometric mean, with its
    95 % interval where there are enough of them; None where fewer than two have one.
    """

    task: str
    gpu: str
    algorithm: str
    llm: str
    runs: int
    figures: tuple[float, ...]
    speedup: Interval | None
    settings: Mapping[str, str] = field(default_factory=dict)

    @property
    def measured(self) -> int:
        """How many of the runs have a figure."""
        return len(self.figures)

    @property
    def has_interval(self) -> bool:
        """True where there are figures enough for an interval of their mean."""
        return self.measured >= FEWEST_FOR_INTERVAL


def grouped(outcomes: Sequence[Outcome]) -> list[Group]:
    """Return the groups with more than one run, in the order in which they come.

    A run whose settings are not known is in none.
    """
    groups = []
    for (task, gpu, algorithm, llm), alike in _by_names(outcomes).items():
        differing = _differing(alike)
        for number, runs in enumerate(alike):
            if len(runs) < 2:
                continue
            figures = tuple(run.speedup.value for run in runs if run.speedup is not None)
            groups.append(
                Group(
                    task=task,
                    gpu=gpu,
                    algorithm=algorithm,
                    llm=llm,
                    runs=len(runs),
                    figures=figures,
                    speedup=geometric_mean(figures) if len(figures) > 1 else None,
                    settings={name: values[number] for name, values in differing.items()},
                )
            )
    return groups


def kept_apart(outcomes: Sequence[Outcome]) -> list[tuple[str, dict[str, list[str]]]]:
    """Return what runs of the same task, device, algorithm and model differ by, but for seeds.

    Each is the names in words, and the settings with the values that they have.
    """
    found = []
    for names, alike in _by_names(outcomes).items():
        if len(alike) > 1:
            differing = {n: list(dict.fromkeys(v)) for n, v in _differing(alike).items()}
            found.append((" ".join(name for name in names if name), differing))
    return found


def _by_names(outcomes: Sequence[Outcome]) -> dict[tuple[str, str, str, str], list[list[Outcome]]]:
    """Return, for each task, device, algorithm and model, the runs that only seeds tell apart."""
    together: dict[tuple[str, str, str, str], dict[str, list[Outcome]]] = {}
    for run in outcomes:
        if run.settings is not None:
            names = (run.task, run.gpu, run.algorithm, run.llm)
            key = json.dumps(run.settings, sort_keys=True)
            together.setdefault(names, {}).setdefault(key, []).append(run)
    return {
        names: [runs for same in alike.values() for runs in _by_device(same)]
        for names, alike in together.items()
    }


def _by_device(runs: Sequence[Outcome]) -> list[list[Outcome]]:
    """Split runs by the devices that they had; one that came to none is with the first."""
    devices = dict.fromkeys(run.device for run in runs if run.device)
    if len(devices) < 2:
        return [list(runs)]
    first = next(iter(devices))
    return [[run for run in runs if (run.device or first) == device] for device in devices]


def _differing(alike: Sequence[Sequence[Outcome]]) -> dict[str, list[str]]:
    """Return the settings by which groups of runs differ, with the value in each, and devices."""
    found = differences([runs[0].settings or {} for runs in alike])
    devices = [next((run.device for run in runs if run.device), "-") for runs in alike]
    if len({device for device in devices if device != "-"}) > 1:
        found["device"] = devices
    return found


def geometric_mean(figures: Sequence[float]) -> Interval:
    """Return the geometric mean of positive figures and its 95 % interval, by Student's t.

    The interval is that of a mean of logarithms, so it speaks of other runs like these: how much
    they differ, from seed to seed, and not how well each was measured. Raises ValueError for
    fewer than two figures.
    """
    if len(figures) < 2:
        raise ValueError("an interval needs two figures")
    logs = np.log(np.asarray(figures, dtype=np.float64))
    freedom = len(figures) - 1
    t = T_95[freedom - 1] if freedom <= len(T_95) else T_MANY
    middle = float(np.mean(logs))
    around = t * float(np.std(logs, ddof=1)) / math.sqrt(len(figures))
    high = math.exp(middle + around) if middle + around < 700 else math.inf
    return Interval(math.exp(middle), math.exp(middle - around), high)


def compared(outcomes: Sequence[Outcome]) -> Record:
    """Return a comparison as a JSON object."""
    return {
        "schema": SCHEMA,
        "runs": [_run_record(run) for run in outcomes],
        "groups": [_group_record(group) for group in grouped(outcomes)],
    }


def _run_record(run: Outcome) -> Record:
    return {
        "folder": None if run.label else str(run.folder),
        "task": run.task,
        "gpu": run.gpu,
        "algorithm": run.algorithm,
        "llm": run.llm,
        "seed": run.seed,
        **interval_record("speedup", run.speedup),
        "confirmed": run.confirmed,
        "metric": run.metric,
        "score": run.score,
        "evaluations": run.evaluations,
        "cost_usd": run.cost_usd,
        "unpriced_proposals": run.unpriced,
        "wall_s": run.wall_s,
        "state": run.state,
        "reason": run.reason,
    }


def _group_record(group: Group) -> Record:
    return {
        "task": group.task,
        "gpu": group.gpu,
        "algorithm": group.algorithm,
        "llm": group.llm,
        "runs": group.runs,
        "measured": group.measured,
        "settings": dict(group.settings),
        **interval_record("speedup", _told(group)),
        "lowest": min(group.figures, default=None),
        "highest": max(group.figures, default=None),
    }


def _told(group: Group) -> Interval | None:
    """Return the mean, with an interval where there are figures enough for one."""
    if group.speedup is None or group.has_interval:
        return group.speedup
    return Interval(group.speedup.value, -math.inf, math.inf)
