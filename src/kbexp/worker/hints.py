"""What to know about an error whose own text is true and does not help."""

from __future__ import annotations

import re

MISSING = re.compile(
    r"""^(?:[\w.]+\.)?(?:
        ModuleNotFoundError:\ No\ module\ named
      | ImportError:\ attempted\ relative\ import
      | FileNotFoundError:\ \[Errno\ 2\]
      | OSError:\ .{0,4000}:\ cannot\ open\ shared\ object\ file:\ No\ such\ file
    )""",
    re.VERBOSE,
)
"""The line of an exception that names a module or a file that is not there."""

OF_THE_TASK = re.compile(r"NameError: name '(?:Model|get_inputs|get_init_inputs)' is not defined")
"""What a kernel says that was written for the end of its task's file."""

NOT_THERE_TO_BUILD = re.compile(
    r"missing and no known rule to make it|fatal error: .{1,300}: No such file or directory"
)
"""What ninja says of a source that is not there, and compilers of a header."""


def hint(text: str, what: str = "kernel") -> str:
    """Return what to add to an exception's line or a build's log, or "".

    Only for errors that say that something is not there; `what` was to run: a kernel or a task.
    """
    if MISSING.match(text) or NOT_THERE_TO_BUILD.search(text):
        return (
            f" (a {what} is one self-contained text: files and modules beside it are not visible "
            "to its process)"
        )
    if OF_THE_TASK.search(text) and what == "kernel":
        return " (a kernel sees nothing of the task's text: write into it what it needs of that)"
    return ""
