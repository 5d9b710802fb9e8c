"""Nothing of a kernel's processes runs while it is not called.

The judge holds the leash of each runner and lets go only around calls. So no thread or process
that a kernel left behind can work ahead while the judge writes the next inputs, or slow the
reference down while it is timed. SIGSTOP reaches all of a runner's processes in one call where a
namespace holds them; the trusted process at the other end sends it.

From a report to that signal a tenth of a millisecond passes; see `trap`.
"""

from __future__ import annotations

import contextlib
import select
import signal
import socket
from collections.abc import Callable

from kbexp.worker import wire
from kbexp.worker.rest import await_stopped
from kbexp.worker.trap import ASLEEP, Lookout

HOLD = b"h"
SEE = b"s"
LET_GO = b"g"
END = b"e"
SIGNALS = {HOLD: signal.SIGSTOP, SEE: signal.SIGSTOP, LET_GO: signal.SIGCONT, END: signal.SIGKILL}
TIMEOUT_S = 30.0
HOLD_AGAIN_S = 0.01


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

    def hold_trapped(self) -> bytes:
        """Stop them all, who should have run into a trap; return what `Lookout` saw of them.

        Raises `wire.Closed` or `wire.TooLate`.
        """
        self._await_answers()
        self._order(SEE)
        self._unanswered = b""
        self._held = True
        return self._read(1)

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
        while self._unanswered:
            answers = self._read(len(self._unanswered))
            if not self._unanswered.startswith(answers):
                raise wire.Closed("the other end of a leash answers what nobody asked")
            self._unanswered = self._unanswered[len(answers) :]

    def _read(self, most: int) -> bytes:
        try:
            self._channel.settimeout(TIMEOUT_S)
            answers = self._channel.recv(most)
        except TimeoutError:
            raise wire.TooLate from None
        except OSError as error:
            raise wire.Closed(str(error)) from error
        if not answers:
            raise wire.Closed("the other end of a leash has gone")
        return answers


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
        self._lookout = Lookout()
        self._holds = False
        self._poll = select.poll()
        self._poll.register(channel, select.POLLIN)

    def attend(self, timeout_s: float) -> None:
        """Wait for an order, at most `timeout_s`, and carry it out; hold again what is held."""
        if self._poll.poll(1000 * (HOLD_AGAIN_S if self._holds else timeout_s)):
            if not obey(self._channel, self._send, self._lookout.look):
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


def obey(
    channel: socket.socket,
    send: Callable[[signal.Signals], None],
    look: Callable[[], bytes] = lambda: ASLEEP,
) -> bool:
    """Carry out one order that has arrived; False where there will be no more."""
    try:
        order = channel.recv(1)
        if order not in SIGNALS:
            return False
        answer = look() if order == SEE else order
        # With nobody left to send to, the order is carried out; the judge learns of it elsewhere.
        with contextlib.suppress(ProcessLookupError):
            send(SIGNALS[order])
        channel.sendall(answer)
    except OSError:
        return False
    return True
