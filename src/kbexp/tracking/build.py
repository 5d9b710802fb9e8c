"""From the `logger` settings to the trackers of one run."""

from __future__ import annotations

from kbexp.config import LoggerConfig
from kbexp.tracking.follow import Tracker
from kbexp.tracking.run_info import RunInfo


def trackers(config: LoggerConfig, run: RunInfo) -> list[Tracker]:
    """Return the trackers that are switched on, none of them started.

    They do nothing until events reach them (`Journal.subscribe`), so that a broken one cannot
    keep a run from starting. Raises KbexpError for a setting that means nothing.
    """
    raise NotImplementedError
