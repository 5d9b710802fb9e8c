"""KernelBench's tasks, from a checkout, from the Hugging Face hub or from a copy of its dataset.

KernelBench (Ouyang et al., 2025, github.com/ScalingIntelligence/KernelBench) has four levels. A
checkout holds one file a problem, `KernelBench/level1/23_Softmax.py`; the dataset on the hub holds
one split a level (`level_1`), with the columns code, level, name and problem_id.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from kbexp.errors import KbexpError
from kbexp.task import Task
from kbexp.tasks.kernelbench_problems import HUB_DATASET, Problem, problems, ranges
from kbexp.tasks.source import check_format, with_sizes

MATMUL_WORDS = "matrix multiplication"
"""A level-1 task belongs to the matmul preset if its source contains these words."""

MATMUL_COUNT = 16
"""How many tasks the matmul preset has."""


def kernelbench(
    level: int,
    problem: int,
    root: str | Path | None = None,
    dataset: str = HUB_DATASET,
    overrides: Mapping[str, Any] | None = None,
) -> Task:
    """Return one KernelBench task, named like `kernelbench/1/23_Softmax`.

    `root` is a checkout or its inner folder `KernelBench`. With no root, `dataset` is read: a
    local folder with the dataset's parquet files, or a name on the hub, `owner/name` or
    `owner/name@revision`. Raises KbexpError where the level or the problem is unknown, the hub is
    out of reach, or an override does not fit.
    """
    found = problems(level, root, dataset)
    if problem not in found:
        raise KbexpError(
            f"KernelBench's level {level} has no problem {problem}: set task.problem to "
            f"{ranges(sorted(found))}."
        )
    return _task(found[problem], overrides or {})


def kernelbench_matmul(
    index: int,
    root: str | Path | None = None,
    dataset: str = HUB_DATASET,
    overrides: Mapping[str, Any] | None = None,
) -> Task:
    """Return one of the 16 matrix multiplications of level 1; `index` counts them from 0.

    They are the level-1 tasks whose source contains "matrix multiplication", by problem number.
    Raises KbexpError as `kernelbench` does, and where there are not 16 of them.
    """
    found = matmul_problems(root, dataset)
    if not 0 <= index < len(found):
        raise KbexpError(
            f"The matmul preset has no task {index}: set task.index to 0..{len(found) - 1}."
        )
    return _task(found[index], overrides or {})


def matmul_problems(
    root: str | Path | None = None, dataset: str = HUB_DATASET
) -> tuple[Problem, ...]:
    """Return the problems of the matmul preset, in the order of their numbers."""
    every = problems(1, root, dataset)
    found = tuple(every[key] for key in sorted(every) if is_matmul(every[key].source))
    if len(found) != MATMUL_COUNT:
        raise KbexpError(
            f"Level 1 of {root or dataset} has {len(found)} tasks that say "
            f"'{MATMUL_WORDS}', not {MATMUL_COUNT}, so the preset would not be the same: take a "
            "complete copy of KernelBench, or name a task with task=kernelbench."
        )
    return found


def is_matmul(source: str) -> bool:
    """Return whether a source calls itself a matrix multiplication."""
    return MATMUL_WORDS in source.lower()


def _task(problem: Problem, overrides: Mapping[str, Any]) -> Task:
    where = f"The KernelBench task {problem.level}/{problem.name}"
    check_format(problem.source, where)
    return Task(
        name=f"kernelbench/{problem.level}/{problem.name}",
        source=with_sizes(problem.source, overrides, where),
        family="matmul" if is_matmul(problem.source) else f"kernelbench/{problem.level}",
    )
