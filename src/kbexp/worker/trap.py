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
import functools
import os
import signal
import socket

F_SETSIG = 10
"""fcntl(2); Python has no name for it."""


@functools.cache
def traps_work() -> bool:
    """Return whether what comes to a socket sends a signal here, and nothing else does.

    On Linux; where another system stands in for it (gVisor), what is taken from a socket sends one,
    too, and would stop a runner before its call. To be asked first while this process has no other
    thread, which could take the signal.
    """
    near, far = socket.socketpair()
    # One that does nothing to who does not wait for it.
    number = signal.SIGURG
    mask = signal.pthread_sigmask(signal.SIG_BLOCK, {number})
    try:
        fcntl.fcntl(near, F_SETSIG, number)
        fcntl.fcntl(near, fcntl.F_SETOWN, os.getpid())
        set_trap(near, True)
        near.sendall(b"?")
        far.recv(1)
        taken = signal.sigtimedwait({number}, 0)
        far.sendall(b"!")
        came = signal.sigtimedwait({number}, 0)
    except OSError:
        return False
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)
        near.close()
        far.close()
    return taken is None and came is not None


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
