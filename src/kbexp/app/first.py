"""The first kernel of a run: the task's own reference under the kernel's name."""

from __future__ import annotations

import ast
import io
import tokenize

from kbexp.kernel import Kernel
from kbexp.task import Task


def first_kernel(task: Task) -> Kernel:
    """Return the task's source with `Model` renamed to `ModelNew`, all else as it stands."""
    source = task.source
    defines = any(
        isinstance(statement, ast.ClassDef) and statement.name == "Model"
        for statement in ast.parse(source).body
    )
    if not defines:
        return Kernel(f"{source.rstrip()}\n\n\nModelNew = Model\n")
    lines = source.splitlines(keepends=True)
    before = ""
    found = []
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        if token.type == tokenize.NAME and token.string == "Model" and before != ".":
            found.append(token.start)
        before = token.string
    for row, column in reversed(found):
        line = lines[row - 1]
        lines[row - 1] = f"{line[:column]}ModelNew{line[column + len('Model') :]}"
    return Kernel("".join(lines))
