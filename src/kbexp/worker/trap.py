"""A report stops whoever makes it.

From a report to the judge's stop signal two messages pass, a tenth of a millisecond, in which a
process could work on what it has reported as done. So where an output is to be looked at, which
only the judge knows, it sets a trap first: where one end of a socket has asked for a signal to be
sent when something comes, Linux sends it within the call that writes to the other end. Here that is
SIGSTOP, to the process group of the runner. What is in another group, or cannot take the signal
because it waits for a child, slips through: it is looked whether something has run since then.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import signal
import socket
import time
from collections.abc import Callable, Iterable

from kbexp.worker.rest import RUNNING, others, running

AT_REST, ASLEEP, RUNS = b"r", b"a", b"n"
"""What is seen of processes that a trap should have stopped: it has, or not, or they have run."""

F_SETSIG = 10
"""fcntl(2); Python has no name for it."""

LOOK_AGAIN_S = 0.0001
"""Who was stopped a moment ago may still have to get a processor to do so."""

RAN_NS = 20_000
"""Who waits for nothing but its end is not even woken."""


def prepare_trap(channel: socket.socket, group: int) -> None:
    """Have a trap that is set on this end of a channel stop a process group, where that can be."""
    with contextlib.suppress(OSError):
        fcntl.fcntl(channel, fcntl.F_SETOWN, -group)
        fcntl.fcntl(channel, F_SETSIG, signal.SIGSTOP)


def set_trap(channel: socket.socket, there: bool) -> None:
    """Set the trap on this end of a channel, or take it away."""
    with contextlib.suppress(OSError):
        flags = fcntl.fcntl(channel, fcntl.F_GETFL)
        flags = flags | os.O_ASYNC if there else flags & ~os.O_ASYNC
        fcntl.fcntl(channel, fcntl.F_SETFL, flags)


class Lookout:
    """Sees what a trap did, when its judge has had the report, and before all are stopped."""

    def __init__(self, processes: Callable[[], Iterable[int]] = others) -> None:
        self._processes = processes
        self._ran_ns: dict[tuple[int, int], int] = {}

    def look(self) -> bytes:
        """Return `AT_REST`, `ASLEEP` or `RUNS`.

        A thread that has not been stopped runs if it does so now, or has since it was seen last.
        """
        left = running(self._processes())
        if RUNNING in left.values():
            time.sleep(LOOK_AGAIN_S)
            left = running(self._processes())
        ran_ns = {thread: _ran_ns(*thread) for thread in left}
        ran = any(ns - self._ran_ns.get(thread, 0) > RAN_NS for thread, ns in ran_ns.items())
        self._ran_ns |= ran_ns
        if ran or RUNNING in left.values():
            return RUNS
        return ASLEEP if left else AT_REST


def _ran_ns(process: int, thread: int) -> int:
    """Return how long a thread has run in all; 0 where that is not known."""
    try:
        with open(f"/proc/{process}/task/{thread}/schedstat", "rb") as file:
            return int(file.read().split()[0])
    except (OSError, ValueError, IndexError):
        return 0
