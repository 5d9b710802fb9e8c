"""Nothing of a kernel's processes runs while it is not called.

The judge holds the leash of each runner and lets go only around calls. So no thread or process
that a kernel left behind can work ahead while the judge writes the next inputs, or slow the
reference down while it is timed. SIGSTOP reaches all of a runner's processes in one call where a
namespace holds them; the trusted process at the other end sends it.
"""

from __future__ import annotations

import contextlib
import os
import select
import signal
import socket
import time
from collections.abc import Callable, Iterable

from kbexp.worker import wire
from kbexp.worker.syscalls import signal_thread

HOLD = b"h"
LET_GO = b"g"
END = b"e"
SIGNALS = {HOLD: signal.SIGSTOP, LET_GO: signal.SIGCONT, END: signal.SIGKILL}
TIMEOUT_S = 30.0
HOLD_AGAIN_S = 0.01
LOOK_S = 0.00005
LOOK_AGAIN_S = 0.0005
QUICK_LOOKS = 8
"""Most have stopped within a tenth of a millisecond; who has not may be in a long system call."""

WAITING_S = 0.05
STOPPED = {b"T", b"t", b"Z", b"X"}
WAITING = b"D"
"""States of proc(5): stopped, traced, a zombie, dead; and waiting for what no signal ends."""


class Leash:
    """The judge's end."""

    def __init__(self, channel: socket.socket) -> None:
        self._channel = channel
        self._held = False
        self._unanswered = b""

    def hold(self) -> None:
        """Stop all processes of the runner; raises `wire.Closed` or `wire.TooLate`.

        They have stopped when this returns.
        """
        if not self._held:
            self._order(HOLD)
            self._await_answers()
            self._held = True

    def let_go(self) -> None:
        """Have them run on, now or soon; raises `wire.Closed` or `wire.TooLate`."""
        # Whoever is told something next reads it when it runs: nothing needs the answer.
        if self._held:
            self._order(LET_GO)
            self._held = False

    def end(self) -> None:
        """Kill them all and wait until they are gone; raises `wire.TooLate`."""
        try:
            self._channel.settimeout(TIMEOUT_S)
            self._channel.sendall(END)
            # Whoever holds the other end outlives them.
            while self._channel.recv(64):
                pass
        except TimeoutError:
            raise wire.TooLate from None
        except OSError:
            return  # They have gone already.

    def close(self) -> None:
        """Give the leash up."""
        self._channel.close()

    def _order(self, order: bytes) -> None:
        try:
            self._channel.settimeout(TIMEOUT_S)
            self._channel.sendall(order)
            self._unanswered += order
        except TimeoutError:
            raise wire.TooLate from None
        except OSError as error:
            raise wire.Closed(str(error)) from error

    def _await_answers(self) -> None:
        """Wait until every order so far was carried out; each is answered by itself."""
        try:
            while self._unanswered:
                answers = self._channel.recv(len(self._unanswered))
                if not answers or not self._unanswered.startswith(answers):
                    raise wire.Closed("the other end of a leash has gone")
                self._unanswered = self._unanswered[len(answers) :]
        except TimeoutError:
            raise wire.TooLate from None
        except OSError as error:
            raise wire.Closed(str(error)) from error


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
    while running := _running(processes()):
        # Who waits for a child to become another program does so until that is let go, too.
        if set(running.values()) == {WAITING} and time.monotonic() > waiting_until:
            return
        for process, thread in running:
            with contextlib.suppress(OSError):  # It has ended meanwhile.
                signal_thread(process, thread, signal.SIGSTOP)
        looks += 1
        time.sleep(LOOK_S if looks < QUICK_LOOKS else LOOK_AGAIN_S)
        stop()


def _running(processes: Iterable[int]) -> dict[tuple[int, int], bytes]:
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


class Grip:
    """The other end: carries out what the judge orders, with `send` reaching every process.

    Linux itself wakes stopped processes at times (those of a process group that is orphaned), so
    while they are to be held they are stopped again every `HOLD_AGAIN_S`. `at_rest` returns once
    they have stopped, and is given what stops them again.
    """

    def __init__(
        self,
        channel: socket.socket,
        send: Callable[[signal.Signals], None],
        at_rest: Callable[[Callable[[], None]], None] = await_stopped,
    ) -> None:
        self._channel = channel
        self._deliver = send
        self._at_rest = at_rest
        self._holds = False
        self._poll = select.poll()
        self._poll.register(channel, select.POLLIN)

    def attend(self, timeout_s: float) -> None:
        """Wait for an order, at most `timeout_s`, and carry it out; hold again what is held."""
        if self._poll.poll(1000 * (HOLD_AGAIN_S if self._holds else timeout_s)):
            if not obey(self._channel, self._send):
                self._poll.unregister(self._channel)
                self._holds = False
        elif self._holds:
            self._stop()

    def _send(self, number: signal.Signals) -> None:
        self._holds = number == signal.SIGSTOP
        self._deliver(number)
        if self._holds:
            self._at_rest(self._stop)

    def _stop(self) -> None:
        with contextlib.suppress(ProcessLookupError):
            self._deliver(signal.SIGSTOP)


def obey(channel: socket.socket, send: Callable[[signal.Signals], None]) -> bool:
    """Carry out one order that has arrived; False where there will be no more."""
    try:
        order = channel.recv(1)
        if order not in SIGNALS:
            return False
        # With nobody left to send to, the order is carried out; the judge learns of it elsewhere.
        with contextlib.suppress(ProcessLookupError):
            send(SIGNALS[order])
        channel.sendall(order)
    except OSError:
        return False
    return True
