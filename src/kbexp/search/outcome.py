"""How a search ended."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from kbexp.errors import KbexpError
from kbexp.search.archive import Archive


class RunState(StrEnum):
    """How a search ended."""

    COMPLETE = "complete"
    STOPPED = "stopped"
    FAILED = "failed"


@dataclass(frozen=True, slots=True)
class Outcome:
    """The end of a search: its state, why in one sentence, and all that it knows.

    `error` is what made it fail or pause, None where nothing did.
    """

    state: RunState
    reason: str
    archive: Archive
    error: KbexpError | None = None
