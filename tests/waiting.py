"""Waiting until something is so, with a limit that no honest run comes near."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path


def wait_for(condition: Callable[[], object], timeout_s: float = 90) -> None:
    """Wait until a condition holds; raises AssertionError when the time is up."""
    deadline = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def stopped(process: int) -> bool:
    """Return whether all threads of a process have stopped."""
    stats = Path(f"/proc/{process}/task").glob("*/stat")
    return all(stat.read_text().rpartition(")")[2].split()[0] == "T" for stat in stats)
