"""A kernel as a prompt shows it."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class ShownKernel:
    """A kernel in a prompt, and the feedback that follows it ("" where none does)."""

    id: str
    source: str
    feedback: str = ""
