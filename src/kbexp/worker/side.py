"""The judge's end of a conversation with one runner."""

from __future__ import annotations

import contextlib
import re
import socket
import time
from collections.abc import Iterator
from typing import Any

from kbexp.verdict import Phase, Status
from kbexp.worker import wire
from kbexp.worker.arena import Arena
from kbexp.worker.clocks import Clock
from kbexp.worker.hints import hint
from kbexp.worker.leash import Leash
from kbexp.worker.memory import Lending
from kbexp.worker.outcome import Outcome, Stop
from kbexp.worker.report import Kind, Leaf, Report, read_report
from kbexp.worker.trap import set_trap, traps_work

EXCEPTION = re.compile(r"[A-Za-z_][\w.]*(Error|Exception|Exit|Interrupt|Warning|Unsupported)\b")

REFERENCE_LIMIT_S = 60.0


class Side:
    """One runner: what it is called in messages, its socket, its memory, its deadline.

    Whatever goes wrong raises `Stop`. The kernel is not blamed for faults of the reference, nor for
    what its own runner fails at before it has been told of the kernel (`expose`): those are
    infrastructure errors.
    """

    def __init__(
        self, name: str, channel: socket.socket, leash: socket.socket, blamed: bool
    ) -> None:
        self.name = name
        self.clock = Clock()
        self.arena: Arena | None = None
        self.phase = Phase.LOAD
        self._channel = channel
        self._leash = Leash(leash)
        self._untrusted = blamed
        self._exposed = False
        self._limit_s = 0.0
        self._deadline = 0.0

    @property
    def _blamed(self) -> bool:
        return self._untrusted and self._exposed

    def expose(self) -> None:
        """From now on its runner knows of its module, whose doing it may be what goes wrong."""
        self._exposed = True

    def enter(self, phase: Phase, limit_s: float) -> None:
        """Begin a phase, in which all answers together may take `limit_s`.

        The limit is meant for kernels; the reference, which no setting should fail on a busy
        machine, has at least `REFERENCE_LIMIT_S`.
        """
        if not self._blamed:
            limit_s = max(limit_s, REFERENCE_LIMIT_S)
        self.phase = phase
        self._limit_s = limit_s
        self._deadline = time.monotonic() + limit_s

    @contextlib.contextmanager
    def apart(self) -> Iterator[None]:
        """Surround what the judge does for itself, such as drawing inputs: no runner's time."""
        begun = time.monotonic()
        yield
        self._deadline += time.monotonic() - begun

    def close(self) -> None:
        """Give up the sockets; the worker ends the process."""
        self._channel.close()
        self._leash.close()

    def hold(self) -> None:
        """Stop all of its processes until `let_go`."""
        try:
            self._leash.hold()
        except (wire.Closed, wire.TooLate):
            raise self._died() from None

    @contextlib.contextmanager
    def trapped(self) -> Iterator[None]:
        """Surround a call that is to stop all of its processes as soon as it is reported."""
        set_trap(self._channel, traps_work())
        try:
            yield
        finally:
            set_trap(self._channel, False)

    def let_go(self) -> None:
        """Have its processes run."""
        try:
            self._leash.let_go()
        except (wire.Closed, wire.TooLate):
            raise self._died() from None

    def end(self) -> None:
        """Kill all of its processes; nothing can be told or expected afterwards."""
        try:
            self._leash.end()
        except wire.TooLate:
            raise self._stop(Status.REJECTED, f"{self.name}'s process did not end") from None

    def tell(self, message: dict[str, Any], fds: tuple[int, ...] = ()) -> None:
        """Send an order."""
        try:
            wire.send(self._channel, message, fds)
        except wire.Closed:
            raise self._died() from None

    def say_word(self) -> None:
        """Have it go on with what it was told before."""
        try:
            wire.send_word(self._channel)
        except wire.Closed:
            raise self._died() from None

    def expect(
        self, kind: Kind, calls: int = 0, outputs: tuple[Leaf, ...] = (), soon: bool = False
    ) -> Report:
        """Wait for one kind of report; `outputs` is the layout that the task gives.

        Where it is to come `soon`, without falling asleep at first.
        """
        if soon:
            wire.linger(self._channel)
        left_s = max(self._deadline - time.monotonic(), 0.01)
        try:
            report = read_report(self._channel, left_s, calls)
        except wire.TooLate:
            text = f"{self.name} did not finish within {self._limit_s:g} s"
            raise self._stop(Status.TIMEOUT, text) from None
        except wire.Closed:
            raise self._died() from None
        if report.kind is Kind.FAILED:
            last = exception_line(report.text)
            if "IpcUnavailable" in last and Lending.ipc and not self._blamed:
                Lending.give_up(last[:200])
                raise Stop(Outcome(Status.INFRASTRUCTURE_ERROR, self.phase, (last,), again=True))
            raise self._stop(Status.RUNTIME_ERROR, last[:500] + hint(last), report.text)
        if report.kind is Kind.LAYOUT:
            self.phase = Phase.CORRECTNESS
            text = f"forward gives {say(report.leaves)}, the task {say(outputs)}"
            raise self._stop(Status.INCORRECT, text)
        if report.kind is not kind:
            raise self._stop(Status.REJECTED, f"{self.name} answered out of turn")
        return report

    def _died(self) -> Stop:
        return self._stop(Status.RUNTIME_ERROR, f"{self.name}'s process ended", died=self.name)

    def _stop(self, status: Status, reason: str, log: str = "", died: str = "") -> Stop:
        again = not self._exposed  # Nothing but our own code has run in it.
        if not self._blamed:
            who = "a runner did not get ready" if again else "the reference failed"
            status, reason = Status.INFRASTRUCTURE_ERROR, f"{who}: {reason}"
        return Stop(Outcome(status, self.phase, (reason,), log=log, died=died, again=again))


def exception_line(text: str) -> str:
    """Return the line of a traceback that names the exception: CUDA's go on for lines after it."""
    lines = text.strip().splitlines() or ["no message"]
    named = [line for line in lines if EXCEPTION.match(line)]
    return named[-1] if named else lines[-1]


def say(leaves: tuple[Leaf, ...]) -> str:
    """Return a layout in words."""
    return ", ".join(str(leaf) for leaf in leaves) or "nothing"
