"""What a run leaves behind: the journal, and the trackers that read it.

Importing this room imports no tracker's library: they are loaded when the first event arrives.
"""

from kbexp.tracking.build import console_of, prepare, trackers
from kbexp.tracking.follow import Tracker, replay
from kbexp.tracking.journal import Journal, read
from kbexp.tracking.run_info import RunInfo

__all__ = ["Journal", "RunInfo", "Tracker", "console_of", "prepare", "read", "replay", "trackers"]
