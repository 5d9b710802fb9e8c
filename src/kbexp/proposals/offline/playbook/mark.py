"""The line by which the playbook knows its own kernels: `# playbook: softmax/online LANES=16`."""

from __future__ import annotations

import re
from dataclasses import dataclass

from kbexp.proposals.offline.playbook.entry import Values

_MARK = re.compile(r"# playbook: (\w{1,80})/(\w{1,80})((?: [A-Z_]{1,40}=-?\d{1,9}){0,40})")


@dataclass(frozen=True, slots=True)
class Mark:
    """A task (or `generic`), a variant, and the values of its tunables."""

    task: str
    variant: str
    values: Values


def write_mark(mark: Mark) -> str:
    """Return the line, without its end."""
    values = "".join(f" {name}={value}" for name, value in mark.values.items())
    return f"# playbook: {mark.task}/{mark.variant}{values}"


def read_mark(source: str) -> Mark | None:
    """Return the first mark in a kernel's text, or None where it is not one of the playbook's."""
    for line in source.splitlines():
        found = _MARK.fullmatch(line.rstrip()) if line.startswith("# playbook:") else None
        if found:
            pairs = (pair.split("=") for pair in found[3].split())
            return Mark(found[1], found[2], {name: int(value) for name, value in pairs})
    return None
