"""What the playbook is made of: entries, variants, tunables and mistakes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum

Values = Mapping[str, int]
"""The tunables of one kernel, by name."""


class Fault(StrEnum):
    """What a mistake leads to."""

    COMPILE = "does not compile"
    WRONG = "is wrong"
    SLOW = "is slow"


@dataclass(frozen=True, slots=True)
class Tunable:
    """A number of a template: its name there, and the values it may take, in order."""

    name: str
    values: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Slip:
    """A mistake in one template: `old`, which stands there exactly once, becomes `new`."""

    fault: Fault
    name: str
    old: str
    new: str


@dataclass(frozen=True, slots=True)
class Variant:
    """One way to compute a task.

    `source` is the native source among the templates ("" where `module` is all there is), and
    `module` the Python around it. `languages` are those a prompt may allow it under; `device`
    is `cpu` or `cuda`. `about` is the sentence that a reply gives with it.
    """

    name: str
    about: str
    device: str
    languages: tuple[str, ...]
    module: str
    source: str = ""
    tunables: tuple[Tunable, ...] = ()
    slips: tuple[Slip, ...] = ()

    @property
    def native(self) -> bool:
        """True where there is a source to compile beside the Python."""
        return bool(self.source)


@dataclass(frozen=True, slots=True)
class Entry:
    """A bundled task and the ways to compute it."""

    task: str
    variants: tuple[Variant, ...]

    def variant(self, name: str) -> Variant | None:
        """Return the variant of that name, or None."""
        return next((variant for variant in self.variants if variant.name == name), None)


def wrong(name: str, old: str, new: str) -> Slip:
    """Return a slip that makes the answer wrong."""
    return Slip(Fault.WRONG, name, old, new)
