"""What to say of a size that a task does not have."""

from __future__ import annotations

import difflib
from pathlib import Path
from typing import Any

from kbexp.errors import KbexpError


def unknown_size(name: str, sizes: Any) -> str | None:
    """Return a sentence that names the sizes there are, None where they are not known here.

    `sizes` is the node `task.sizes` of a configuration, as an error of OmegaConf has it. The
    sizes of a bundled task stand there; those of a file are its constants.
    """
    from omegaconf import DictConfig

    task = sizes._get_parent() if isinstance(sizes, DictConfig) else None
    if not isinstance(task, DictConfig):
        return None
    kind, path = task.get("kind"), task.get("path")
    known = [str(key) for key in sizes]
    if kind == "file" and path:
        try:
            known = _constants(Path(str(path)))
        except KbexpError as error:
            return str(error)
        if name in known:
            return (
                f"task.sizes has no entry '{name}' yet: add it with a plus, as in "
                f"+task.sizes.{name}=…"
            )
    elif kind != "bundled" or not known:
        return None
    near = difflib.get_close_matches(name, known, n=1)
    hint = f" (did you mean {near[0]}?)" if near else ""
    there = f"its sizes are {', '.join(known)}" if known else "it has none that can be set"
    return f"The task {task.get('name')} has no size '{name}'{hint}; {there}."


def _constants(path: Path) -> list[str]:
    """Return the names of a task file's constants; raises KbexpError where it cannot be read."""
    from kbexp.tasks.file import read_source
    from kbexp.tasks.source import constants

    where = f"The task file {path}"
    return list(constants(read_source(path.expanduser(), where), where))
