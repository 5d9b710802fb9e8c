"""Two clocks that must agree: the runner's, which is precise, and the judge's, which is honest.

The runner times every call and may lie; the judge's own clock sees a whole block of calls and
what lies around them. What lies around them (messages, the flush, copies of outputs) is measured
on the reference, whose runner runs nothing that was not trusted. What is left over on the side of
the kernel is time that its process did not report: work done before the clock was started or
after it was stopped, in the first calls of a block, which do not count, or only when an output
was asked for.

What an honest kernel's host code can explain is added to its time, with its interval; what is far
more is a rejection, unless the machine was busy with other things: then the delay may be theirs,
and all of it is added. Nothing is gained by unreported time in either case.
"""

from __future__ import annotations

import contextlib
import os
import statistics
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from kbexp.statistics import order_interval
from kbexp.verdict import Interval

CHARGED_SHARE = 0.1
CHARGED_MS = {"cpu": 0.1, "cuda": 0.005}
"""Unreported time above this share of the reported, and so much, is added to it. On a CPU two
processes that are called over sockets differ by some hundredths of a millisecond a call. There, so
much or the reported time itself: who reports next to nothing of a short call hides no whole one."""

NOISE_MS = 0.02
"""By so much two processes of one short kernel may differ for good."""

REJECTED_SHARE = 0.5
REJECTED_MS = 0.2
"""Unreported time above this share of the reported, and so much more, is a rejection. Half: a
kernel whose first calls of a block are slow, or that keeps the host waiting, stays below it."""

UNCLEAR_SHARE = 0.1
"""A charge is worth more blocks where its interval is wider than this share of a call. The clock
around a block of 10 ms on an H100 varies by 0.3 ms, which is a fifth of 25 calls of 0.06 ms."""

TOO_EARLY_SHARE = 0.5
"""A block that left out half of its flushes cannot have flushed at all."""

BUSY_SHARE = 0.25
"""The machine is busy with other things where more programs than for a quarter of its processors
want to run."""

STOLEN_SHARE = 0.25
"""Where other machines took so much of the processor's time, clocks that differ prove nothing."""

FEWEST = 6
"""Blocks below which no 95 % interval of a median exists."""

FEWEST_SEEN = 6
"""Calls that are looked at below which their times may all be the machine's doing. A kernel that
looks faster has more."""


@dataclass(slots=True)
class Clock:
    """One side's blocks: reported and judged time of one call, and the wait for outputs, in ms.

    `strided` is the runner's word that an output does not lie in the order of its elements. `whole`
    says that the wait for outputs may be the work itself, and counts as a whole. `handed_ms` has,
    for each call whose output was waited for, what the judge saw of it and that wait together.
    """

    reported_ms: list[float] = field(default_factory=list)
    judged_ms: list[float] = field(default_factory=list)
    given_ms: list[float] = field(default_factory=list)
    handed_ms: list[float] = field(default_factory=list)
    strided: bool = False
    whole: bool = False

    def add(self, reported_ms: float, judged_ms: float) -> None:
        """Take in one block: the runner's figure for a call, and the judge's."""
        self.reported_ms.append(reported_ms)
        self.judged_ms.append(judged_ms)

    def hand(self, judged_ms: float, given_ms: float) -> None:
        """Take in one call whose output was waited for: the judge's figure, and the wait."""
        self.given_ms.append(given_ms)
        self.handed_ms.append(judged_ms + given_ms)

    def around_ms(self) -> list[float]:
        """Return what the judge saw beyond the report, by block."""
        return [
            judged - reported
            for judged, reported in zip(self.judged_ms, self.reported_ms, strict=True)
        ]


NOTHING = Interval(0.0, 0.0, 0.0)


@dataclass(frozen=True, slots=True)
class Agreement:
    """What the clocks say of a call: `reported_ms`, and what was `unreported`, in ms.

    `rejected` says that it cannot be explained; `early` that a block ended before it could;
    less than `least_ms` is not charged.
    """

    reported_ms: float
    unreported: Interval = NOTHING
    rejected: bool = False
    early: bool = False
    least_ms: float = 0.0

    @property
    def charged(self) -> Interval:
        """What is to be added to every figure of the kernel, in ms."""
        least_ms = max(CHARGED_SHARE * self.reported_ms, self.least_ms)
        if self.unreported.value <= least_ms:
            return NOTHING
        low = self.unreported.low if self.unreported.low > least_ms else 0.0
        return Interval(self.unreported.value, low, self.unreported.high)

    @property
    def unclear(self) -> bool:
        """True where more blocks would say better what is to be charged."""
        charged = self.charged
        call_ms = self.reported_ms + charged.value
        return charged.value > 0 and charged.high - charged.low > UNCLEAR_SHARE * call_ms

    def __str__(self) -> str:
        judged_ms = self.reported_ms + self.unreported.value
        if self.early:
            return (
                f"the kernel's process reported {self.reported_ms:.3g} ms a call and was done "
                "before its calls and the flushes between them could have been"
            )
        counts = "" if self.rejected else ", which counts"
        return (
            f"the two clocks disagree: the kernel's process reports {self.reported_ms:.3g} ms a "
            f"call, the judge's clock says {judged_ms:.3g} ms{counts}"
        )


class Neighbours:
    """What else this machine is busy with, looked at while the runners are held."""

    def __init__(self) -> None:
        self._running: list[int] = []

    def look(self) -> None:
        """Count the processes and threads that run or want to, but for this one."""
        # The fourth field of /proc/loadavg: running/existing.
        with contextlib.suppress(OSError, ValueError, IndexError):
            running = Path("/proc/loadavg").read_text().split()[3]
            self._running.append(max(0, int(running.partition("/")[0]) - 1))

    def contended(self) -> bool:
        """Return whether a runner will have had to wait for a processor; False if unknown."""
        if not self._running:
            return False
        return statistics.mean(self._running) > BUSY_SHARE * len(os.sched_getaffinity(0))


def compare_clocks(
    kernel: Clock,
    reference: Clock,
    flush_ms: float = 0.0,
    contended: bool = False,
    stolen: float = 0.0,
) -> Agreement:
    """Return whether the kernel's clocks agree, as far as the reference's do.

    What is charged is the best estimate, block against the reference's block beside it, with the
    interval of the median over pairs; for a rejection only what is certain at 95 % counts, the
    lower end of the kernel's interval against the upper end of the reference's. `flush_ms` is the
    least that a flush before a call takes; `stolen` is the share of the processor that other
    machines took: with it, clocks differ by more.
    """
    # The lower of two in the middle, where `_beyond` takes the higher: so that what is reported and
    # what is not are of the same blocks, where these are of two kinds.
    reported_ms = statistics.median_low(kernel.reported_ms)
    given_ms = [0.0] * len(kernel.given_ms) if kernel.whole else reference.given_ms
    around = _beyond(kernel.around_ms(), reference.around_ms())
    giving = _beyond(kernel.given_ms, given_ms)
    unreported = Interval(
        around.value + giving.value, around.low + giving.low, around.high + giving.high
    )
    around_ms = _certainly_more(kernel.around_ms(), reference.around_ms())
    giving_ms = _certainly_more(kernel.given_ms, given_ms)
    limit_ms = REJECTED_SHARE * reported_ms + REJECTED_MS
    unreported = max(unreported, _unreported_of_seen(kernel, reference), key=lambda ms: ms.value)
    around_median_ms = statistics.median(kernel.around_ms())
    early = flush_ms > 0 and around_median_ms < TOO_EARLY_SHARE * flush_ms
    # Another order of elements takes longer to copy: work that was left over, and so charged, but
    # in the open. Where outputs are copied between the calls, that lies in the time around them.
    if kernel.strided and not kernel.given_ms:
        hidden_ms = 0.0
    else:
        hidden_ms = around_ms if kernel.strided or kernel.whole else around_ms + giving_ms
    rejected = hidden_ms > limit_ms and not contended and stolen < STOLEN_SHARE
    open_ms = min(CHARGED_MS["cpu"], max(reported_ms, NOISE_MS))
    least_ms = CHARGED_MS["cuda"] if flush_ms else open_ms
    least_ms += stolen * reported_ms
    return Agreement(reported_ms, unreported, early or rejected, early, least_ms)


def _unreported_of_seen(kernel: Clock, reference: Clock) -> Interval:
    """Return what was not reported of the calls whose outputs are looked at, in ms.

    A kernel may leave out the work of some blocks and do it late where an output is asked for, and
    do that of others before its clock starts. Medians of what lies around calls and of waits then
    come from different blocks, and both may look well; but of a call that is looked at the work was
    done, by the judge's clock, in it, before it in its block or while it was waited for. What the
    reference's call at the same place of its block takes beside its own time is taken off.
    """
    seen = min(len(kernel.handed_ms), len(reference.handed_ms))
    if seen < FEWEST_SEEN:
        return NOTHING
    beside_ms = np.array(reference.handed_ms[:seen]) - statistics.median(reference.reported_ms)
    if kernel.whole:
        beside_ms -= np.array(reference.given_ms[:seen])
    expected_ms = statistics.median_low(kernel.reported_ms) + np.maximum(0.0, beside_ms)
    return _beyond(kernel.handed_ms[:seen], expected_ms.tolist())


def _beyond(kernel_ms: list[float], reference_ms: list[float]) -> Interval:
    """Return by how much the kernel's figures are larger than those of the same pairs.

    Of an even number of pairs the higher of the two in the middle counts: a kernel that reports
    little in half of its blocks, and too much in the others, would have a median of nothing.
    """
    if not kernel_ms:
        return NOTHING
    pairs = np.array(kernel_ms) - np.array(reference_ms)
    middle_ms = statistics.median_high(pairs.tolist())
    return Interval(*(max(0.0, ms) for ms in (middle_ms, *order_interval(pairs))))


def _certainly_more(kernel_ms: list[float], reference_ms: list[float]) -> float:
    """Return by how much the kernel's figures are larger for certain; 0 where that is unknown."""
    if min(len(kernel_ms), len(reference_ms)) < FEWEST:
        return 0.0
    return max(
        0.0, order_interval(np.array(kernel_ms))[0] - order_interval(np.array(reference_ms))[1]
    )


def longest_mean(times_ns: list[int]) -> float:
    """Return the largest mean of the last so many times: work ahead is for all that follow."""
    return max(statistics.mean(times_ns[-count:]) for count in range(1, len(times_ns) + 1))
