"""A report stops whoever makes it.

From a report to the judge's stop signal two messages pass, a tenth of a millisecond, in which a
process could work on what it has reported as done. So where an output is to be looked at, which
only the judge knows, it sets a trap first: where one end of a socket has asked for a signal to be
sent when something comes, Linux sends it within the call that writes to the other end. Here that is
SIGSTOP, to the process group of the runner, which `seccomp` lets nobody leave.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import signal
import socket

F_SETSIG = 10
"""fcntl(2); Python has no name for it."""


def prepare_trap(channel: socket.socket, group: int) -> None:
    """Have a trap that is set on this end of a channel stop a process group, where that can be."""
    with contextlib.suppress(OSError):
        # In this order: without a signal of its own it would be SIGIO, which ends a process.
        fcntl.fcntl(channel, F_SETSIG, signal.SIGSTOP)
        fcntl.fcntl(channel, fcntl.F_SETOWN, -group)


def set_trap(channel: socket.socket, there: bool) -> None:
    """Set the trap on this end of a channel, or take it away."""
    with contextlib.suppress(OSError):
        flags = fcntl.fcntl(channel, fcntl.F_GETFL)
        flags = flags | os.O_ASYNC if there else flags & ~os.O_ASYNC
        fcntl.fcntl(channel, fcntl.F_SETFL, flags)
