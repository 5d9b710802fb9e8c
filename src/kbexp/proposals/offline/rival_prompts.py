"""Reads kernels and feedback in the words of GEPA and of OpenEvolve, as a model would.

Both put kernels between fences under headings of their own. What is read is what stands there: a
kernel's text, and of what came of it as much as the prompt says.
"""

from __future__ import annotations

import re

from kbexp.proposals.offline.shown import ShownKernel

_GEPA_KERNEL = "\n## Current Component\n\nThe component being optimized:\n\n```\n"
_GEPA_RESULTS = "\n## Evaluation Results\n"
_GEPA_END = "\n## Your Task\n"
_CURRENT = "\n# Current Program\n```python\n"
_CURRENT_END = "\n```\n\n# Task\n"
_INFORMATION = "# Current Program Information\n"
_HISTORY = "\n# Program Evolution History\n"
_HEADING = re.compile(r"^### (?=(?:Program|Inspiration) \w+ \(Score: )", re.MULTILINE)


def read_rival(text: str) -> tuple[ShownKernel | None, tuple[ShownKernel, ...]]:
    """Return the kernel to improve and the others, (None, ()) where it is no such prompt."""
    return _gepa(text) or _openevolve(text) or (None, ())


def _gepa(text: str) -> tuple[ShownKernel | None, tuple[ShownKernel, ...]] | None:
    _, found, rest = text.partition(_GEPA_KERNEL)
    source, results, told = rest.rpartition(_GEPA_RESULTS)
    if not found or not results:
        return None
    source = source.rstrip().removesuffix("```")
    return ShownKernel("", source.strip("\n"), told.partition(_GEPA_END)[0]), ()


def _openevolve(text: str) -> tuple[ShownKernel | None, tuple[ShownKernel, ...]] | None:
    before, found, rest = text.rpartition(_CURRENT)
    source, end, _ = rest.rpartition(_CURRENT_END)
    if not found or not end:
        return None
    information, _, history = before.rpartition(_INFORMATION)[2].partition(_HISTORY)
    return ShownKernel("", source, information), _others(history)


def _others(history: str) -> tuple[ShownKernel, ...]:
    """Return the programs of the history; a heading and a last line say how each fared."""
    shown: list[ShownKernel] = []
    for part in _HEADING.split(history)[1:]:
        heading, found, rest = part.partition("\n```python\n")
        source, _, said = rest.rpartition("\n```\n")
        if found and "\n" not in heading and source:
            shown.append(ShownKernel("", source, f"{heading}\n{said}"))
    return tuple(shown)
