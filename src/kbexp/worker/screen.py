"""A look at a kernel's text before any process is spent on it."""

from __future__ import annotations

import ast
import warnings

from kbexp.verdict import Phase, Status
from kbexp.worker.outcome import Outcome

MAX_SOURCE_BYTES = 2**20


def screen(source: str) -> Outcome | None:
    """Return the outcome where the text cannot be a kernel; None where it may be one."""
    size = len(source.encode("utf-8", "replace"))
    if not source.strip():
        return _ends("The kernel is empty.")
    if size > MAX_SOURCE_BYTES:
        return _ends(f"The kernel has {size} bytes; at most {MAX_SOURCE_BYTES} are read.")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            ast.parse(source)
    except SyntaxError as error:
        line = (error.text or "").rstrip()
        return _ends(
            f"The kernel is not Python: line {error.lineno}: {error.msg}.",
            f"line {error.lineno}: {line}\n{error.msg}",
        )
    except (ValueError, RecursionError, MemoryError) as error:
        return _ends(f"The kernel is not Python: {error or type(error).__name__}.")
    if "ModelNew" not in source:
        return _ends("The kernel defines no ModelNew.")
    return None


def _ends(reason: str, log: str = "") -> Outcome:
    return Outcome(Status.COMPILE_ERROR, Phase.SCREEN, (reason,), log=log)
