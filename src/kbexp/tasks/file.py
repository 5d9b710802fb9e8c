"""A task from a file of one's own, in KernelBench's format."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from kbexp.config import SizeClass
from kbexp.errors import KbexpError
from kbexp.task import Task
from kbexp.tasks.source import MAX_CHARACTERS, check_format, sized

LONGEST_NAME = 80
"""Characters of a task's name, which becomes a folder's."""


def file_task_name(path: str | Path | None) -> str:
    """Return the name of a file's task: the file's without its ending, in safe characters only."""
    stem = re.sub(r"\.py$", "", Path(str(path)).name) if path else ""
    safe = re.sub(r"[^A-Za-z0-9._=+-]+", "_", stem).strip("._-")
    return safe[:LONGEST_NAME] or "file"


def from_file(
    path: str | Path,
    sizes: SizeClass = SizeClass.cpu,
    overrides: Mapping[str, Any] | None = None,
    name: str = "",
) -> Task:
    """Return the task in a file; it is named after the file, unless a `name` is given.

    A `SIZES` table as in the bundled tasks is used where there is one, else the file's own sizes
    stand for every size class. Raises KbexpError where the file is missing, cannot be read, is not
    Python, does not define `Model`, `get_inputs` and `get_init_inputs`, or an override does not
    fit. Nothing of the file is run.
    """
    path = Path(path).expanduser()
    where = f"The task file {path}"
    source = read_source(path, where)
    check_format(source, where)
    return Task(
        name=file_task_name(name or path), source=sized(source, sizes, overrides or {}, where)
    )


def read_source(path: Path, where: str) -> str:
    """Return the text of a Python file; raises KbexpError, which begins with `where`."""
    try:
        if path.is_dir():
            raise KbexpError(f"{where} is a folder: give the path of one Python file.")
        with path.open("rb") as file:
            data = file.read(4 * MAX_CHARACTERS + 1)
    except FileNotFoundError as error:
        raise KbexpError(
            f"{where} does not exist: give the path of a Python file in KernelBench's format."
        ) from error
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise KbexpError(
            f"{where} cannot be read ({reason}): check the path and its rights."
        ) from error
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise KbexpError(
            f"{where} is not valid Python (it is not UTF-8 text): save it as UTF-8."
        ) from error
