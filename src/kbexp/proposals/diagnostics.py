"""Finding the error that came first in what a compiler or Python said."""

from __future__ import annotations

import re

_MAX_LOG_CHARS = 200_000
_MAX_LINE_CHARS = 400
_CONTEXT_LINES = 8

# A diagnostic of gcc and clang (`a.c:3:5: error:`), nvcc and NVRTC (`a.cu(3): error:`), ptxas,
# the linkers and the compilers' drivers (`g++: error:`, `nvcc fatal   :`).
_DIAGNOSTIC = re.compile(
    r"""^\s*(?:
        [^\s:()][^:()]{0,300}(?::\d+){1,2}:\s*(?:fatal\s+)?error\b
      | [^\s()][^()]{0,300}\(\d+(?:,\d+)?\):\s*(?:catastrophic\s+|fatal\s+)?error\b
      | (?:ptxas|nvlink|nvcc|cudafe\+\+|cicc|clang(?:\+\+)?|gcc|g\+\+|c\+\+|cc1plus|cc1|ld|lld)
        \s*:?\s*(?:fatal|error)\s*:
      | error\s*:
    )""",
    re.VERBOSE | re.IGNORECASE,
)
_LINKER = re.compile(
    r"undefined reference to|multiple definition of|cannot find -l|undefined symbol:"
)
# What ends the lines that belong to a diagnostic: the next one, or a build tool's own words.
_NEXT = re.compile(
    r"^\s*(?:[^\s:()][^:()]{0,300}(?::\d+){1,2}:\s*(?:warning|error|fatal)\b"
    r"|[^\s()][^()]{0,300}\(\d+(?:,\d+)?\):\s*(?:warning|error|fatal|remark)\b"
    r"|ninja:|make:|FAILED:|\[\d+/\d+\]|collect2:|\d+ errors? (?:generated|detected)"
    r"|Traceback \(most recent)",
    re.IGNORECASE,
)
_GCC_SCOPE = re.compile(r"^\s*[^\s:]{1,300}: (?:In |At )")
_TRACEBACK = "Traceback (most recent call last):"
# The line after a traceback's frames: `RuntimeError: text`, `triton.errors.CompilationError: …`.
_EXCEPTION = re.compile(r"^(?:[A-Za-z_][\w.]{0,120})(?::|$)")
_INSTALLED = re.compile(r'(?:site|dist)-packages|File "<frozen|/lib/python3')
_ERROR_WORD = re.compile(r"\b(?:[Ee]rror|ERROR|[Ee]xception|Segmentation fault|Killed|Aborted)\b")


def first_error(log: str, *, max_chars: int = 2000) -> str:
    """Return the first real error of a log with its few lines of context, or "".

    A compiler's first error is the one that counts: the rest mostly follow from it, and the last
    lines are the build tool's. Without one, the first exception of a Python log is the cause of
    those that were raised while it was handled.
    """
    lines = [line.rstrip()[:_MAX_LINE_CHARS] for line in log[:_MAX_LOG_CHARS].splitlines()]
    found = _compiler_error(lines) or _python_error(lines) or _line_with_error(lines)
    text = "\n".join(found).strip("\n")
    return text if len(text) <= max_chars else text[:max_chars].rstrip() + " …"


def _compiler_error(lines: list[str]) -> list[str]:
    """The first diagnostic, its scope line before it, its source lines and notes after it."""
    marks = [i for i, line in enumerate(lines) if _DIAGNOSTIC.match(line)]
    links = [i for i, line in enumerate(lines) if _LINKER.search(line)]
    if links and (not marks or links[0] < marks[0]):
        marks = links
    if not marks:
        return []
    first = marks[0]
    found = [lines[first - 1]] if first and _GCC_SCOPE.match(lines[first - 1]) else []
    found.append(lines[first])
    for line in lines[first + 1 : first + _CONTEXT_LINES]:
        if _NEXT.match(line) or _DIAGNOSTIC.match(line) or _GCC_SCOPE.match(line):
            break
        found.append(line)
    while found and not found[-1]:
        found.pop()
    others = len(marks) - 1
    if others:
        found.append(f"(and {others} more {'error' if others == 1 else 'errors'} after it)")
    return found


def _python_error(lines: list[str]) -> list[str]:
    """The first traceback's frame that is the kernel's own, and its exception.

    The exception's text may have several lines; of the frames, the last one outside of installed
    packages is where the kernel's author can do something.
    """
    starts = [i for i, line in enumerate(lines) if line.strip() == _TRACEBACK]
    if not starts:
        return []
    indent = len(lines[starts[0]]) - len(lines[starts[0]].lstrip())
    body = [line[indent:] if not line[:indent].strip() else line for line in lines]
    for i in range(starts[0] + 1, len(body)):
        if _EXCEPTION.match(body[i]):
            return _frame(body[starts[0] + 1 : i]) + _exception_text(body[i:])
    return []


def _frame(lines: list[str]) -> list[str]:
    """The frame to show: its `File` line and the source line below."""
    starts = [i for i, line in enumerate(lines) if line.startswith('  File "')]
    if not starts:
        return []
    own = [i for i in starts if not _INSTALLED.search(lines[i])]
    start = (own or starts)[-1]
    return [line for line in lines[start : start + 2] if line is lines[start] or line[:4].isspace()]


def _exception_text(lines: list[str]) -> list[str]:
    found = [lines[0]]
    for line in lines[1 : 3 * _CONTEXT_LINES]:
        if line.startswith(("During handling of", "The above exception", _TRACEBACK)):
            break
        found.append(line)
    while found and not found[-1].strip():
        found.pop()
    return found


def _line_with_error(lines: list[str]) -> list[str]:
    """The first line that speaks of an error, else the last lines that say anything."""
    for i, line in enumerate(lines):
        if _ERROR_WORD.search(line):
            return lines[max(0, i - 1) : i + 4]
    return [line for line in lines if line.strip()][-4:]
