"""Whether processes run: they do until each of their threads has stopped."""

from __future__ import annotations

import contextlib
import os
import signal
import time
from collections.abc import Callable, Iterable

from kbexp.worker.syscalls import signal_thread

LOOK_S = 0.00005
LOOK_AGAIN_S = 0.0005
QUICK_LOOKS = 8
"""Most have stopped within a tenth of a millisecond; who has not may be in a long system call."""

WAITING_S = 0.05
STOPPED = {b"T", b"t", b"Z", b"X"}
RUNNING = b"R"
WAITING = b"D"
"""States of proc(5): stopped, traced, a zombie, dead; running; waiting for what no signal ends."""


def others() -> list[int]:
    """Return all processes of this one's namespace but itself."""
    return [
        int(name) for name in os.listdir("/proc") if name.isdigit() and int(name) != os.getpid()
    ]


def await_stopped(
    stop: Callable[[], None], processes: Callable[[], Iterable[int]] = others
) -> None:
    """Wait until no thread of these processes runs, and `stop` them again until then.

    A signal stops a thread only when it leaves the system: a call that fills a gigabyte with zeros
    ends first. What such a call wakes at its end would run for as long as it likes. And a signal to
    a process is given to one of its threads, to the first if that is alive: while that waits for a
    child, all others would run on. So each of them gets one of its own. Whoever waits for this has
    a limit of time.
    """
    waiting_until, looks = time.monotonic() + WAITING_S, 0
    while left := running(processes()):
        # Who waits for a child to become another program does so until that is let go, too.
        if set(left.values()) == {WAITING} and time.monotonic() > waiting_until:
            return
        for process, thread in left:
            with contextlib.suppress(OSError):  # It has ended meanwhile.
                signal_thread(process, thread, signal.SIGSTOP)
        looks += 1
        time.sleep(LOOK_S if looks < QUICK_LOOKS else LOOK_AGAIN_S)
        stop()


def running(processes: Iterable[int]) -> dict[tuple[int, int], bytes]:
    """Return the states, as proc(5) has them, of all threads of these that have not stopped."""
    found = {}
    for process in processes:
        with contextlib.suppress(OSError):  # It has ended meanwhile.
            for thread in os.listdir(f"/proc/{process}/task"):
                with open(f"/proc/{process}/task/{thread}/stat", "rb") as file:
                    # pid (name) state …; a name may hold anything, brackets too.
                    state = file.read().rpartition(b")")[2][1:2]
                if state not in STOPPED:
                    found[process, int(thread)] = state
    return found
