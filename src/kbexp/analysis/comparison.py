"""Runs side by side: every one of them, and those that differ by their seeds alone together."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from kbexp.analysis.outcomes import Outcome
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


@dataclass(frozen=True, slots=True, kw_only=True)
class Group:
    """Runs of one task, device, algorithm and model.

    `speedup` is the geometric mean over the runs that have a figure, with its 95 % interval;
    None where fewer than two have one.
    """

    task: str
    gpu: str
    algorithm: str
    llm: str
    runs: int
    measured: int
    speedup: Interval | None


def grouped(outcomes: Sequence[Outcome]) -> list[Group]:
    """Return the groups with more than one run, in the order in which they come."""
    together: dict[tuple[str, str, str, str], list[Outcome]] = {}
    for run in outcomes:
        together.setdefault((run.task, run.gpu, run.algorithm, run.llm), []).append(run)
    groups = []
    for (task, gpu, algorithm, llm), runs in together.items():
        if len(runs) < 2:
            continue
        figures = [run.speedup.value for run in runs if run.speedup is not None]
        groups.append(
            Group(
                task=task,
                gpu=gpu,
                algorithm=algorithm,
                llm=llm,
                runs=len(runs),
                measured=len(figures),
                speedup=geometric_mean(figures) if len(figures) > 1 else None,
            )
        )
    return groups


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
        "folder": str(run.folder),
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
        **interval_record("speedup", group.speedup),
    }
