"""A task from a file of one's own, in KernelBench's format."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from kbexp.config import SizeClass
from kbexp.errors import KbexpError
from kbexp.task import Task
from kbexp.tasks.source import MAX_CHARACTERS, check_format, sized


def from_file(
    path: str | Path,
    sizes: SizeClass = SizeClass.cpu,
    overrides: Mapping[str, Any] | None = None,
) -> Task:
    """Return the task in a file; it is named `file/<stem>`.

    A `SIZES` table as in the bundled tasks is used where there is one, else the file's own sizes
    stand for every size class. Raises KbexpError where the file is missing, cannot be read, is not
    Python, does not define `Model`, `get_inputs` and `get_init_inputs`, or an override does not
    fit. Nothing of the file is run.
    """
    path = Path(path).expanduser()
    where = f"The task file {path}"
    source = read_source(path, where)
    check_format(source, where)
    return Task(name=f"file/{path.stem}", source=sized(source, sizes, overrides or {}, where))


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
