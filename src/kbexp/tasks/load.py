"""From a task's configuration to the task: the one way in for every kind."""

from __future__ import annotations

from kbexp.config import SizeClass, TaskConfig
from kbexp.errors import KbexpError
from kbexp.task import Task

KINDS = ("bundled", "file", "kernelbench", "kernelbench_matmul")
"""Where a task can come from: the values of `task.kind`."""

READ_BY = {
    "path": "file",
    "level": "kernelbench",
    "problem": "kernelbench",
    "index": "kernelbench_matmul",
}
"""The kind of task that reads a setting; for any other it would be a mistake to pass over."""


def load(config: TaskConfig, sizes: SizeClass) -> Task:
    """Return the task that a configuration names, its sizes written into its source.

    `sizes` chooses among the sizes of a bundled task and of a file with a `SIZES` table;
    KernelBench's tasks have one size each. `config.sizes` overrides single constants of any of
    them. Raises KbexpError, in one sentence, where the task cannot be had.
    """
    for setting, kind in READ_BY.items():
        if getattr(config, setting) is not None and config.kind != kind:
            raise KbexpError(
                f"task.{setting} is read by task={kind} and not by {config.kind} tasks such as "
                f"{config.name}: add task={kind}, or leave task.{setting} out."
            )
    match config.kind:
        case "bundled":
            from kbexp.tasks.catalog import bundled

            return bundled(config.name, sizes, config.sizes)
        case "file":
            from kbexp.tasks.file import from_file

            if not config.path:
                raise KbexpError("task=file needs a file: set task.path to the task's file.")
            name = "" if config.name == "???" else config.name
            return from_file(config.path, sizes, config.sizes, name)
        case "kernelbench":
            from kbexp.tasks.kernelbench import kernelbench

            if config.level is None or config.problem is None:
                raise KbexpError(
                    "task=kernelbench needs a problem: set task.level and task.problem, "
                    "for example task.level=1 task.problem=23."
                )
            return kernelbench(
                config.level, config.problem, config.root, config.dataset, config.sizes
            )
        case "kernelbench_matmul":
            from kbexp.tasks.kernelbench import kernelbench_matmul

            if config.index is None:
                raise KbexpError("task=kernelbench_matmul needs task.index: set it to 0..15.")
            return kernelbench_matmul(config.index, config.root, config.dataset, config.sizes)
        case _:
            raise KbexpError(
                f"There is no kind of task '{config.kind}': set task.kind to one of "
                f"{', '.join(KINDS)}."
            )
