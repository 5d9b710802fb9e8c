"""How far ahead of the evaluator a stream asks.

A kernel that waits long was asked for with less known than there was to know. So a call is sent
only when the evaluator will want its kernel: when what waits, and what other calls will bring, is
likely to be judged by the time the answer comes. With a slow model as many calls as are allowed
are in flight; with a fast one a few kernels lie ready and no more.
"""

from __future__ import annotations

import time
from collections.abc import Callable

WEIGHT = 0.3
"""What the newest time counts in the mean; the ones before it count for the rest."""


class Pace:
    """Mean times of calls and of the evaluator, as this session has seen them.

    `ready` kernels are to lie ready whatever the times.
    """

    def __init__(self, ready: int, clock: Callable[[], float] = time.monotonic) -> None:
        self._ready = ready
        self._clock = clock
        self._call_s: float | None = None
        self._verdict_s: float | None = None
        self._sent: dict[int, float] = {}
        self._since: float | None = None

    def sent(self, number: int) -> None:
        """A call was sent."""
        self._sent[number] = self._clock()

    def answered(self, number: int) -> None:
        """A call was answered."""
        if (at := self._sent.pop(number, None)) is not None:
            self._call_s = _mean(self._call_s, self._clock() - at)

    def begun(self) -> None:
        """The evaluator has something to do."""
        if self._since is None:
            self._since = self._clock()

    def judged(self, *, idle: bool) -> None:
        """A verdict came; `idle` where the evaluator has nothing left to do.

        What counts is the time since the last one: several devices are faster than one.
        """
        now = self._clock()
        if self._since is not None:
            self._verdict_s = _mean(self._verdict_s, now - self._since)
        self._since = None if idle else now

    def allows(self, waiting: int, calls: int) -> bool:
        """True where one more call may be sent beside `calls`, while `waiting` kernels wait."""
        if self._call_s is None or self._verdict_s is None:
            return True
        judged_meanwhile = self._call_s / max(self._verdict_s, 1e-9)
        return waiting + calls < self._ready + judged_meanwhile


def _mean(before: float | None, new: float) -> float:
    return new if before is None else (1 - WEIGHT) * before + WEIGHT * new
