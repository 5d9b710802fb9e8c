"""Two clocks that must agree: the runner's, which is precise, and the judge's, which is honest.

The runner times every call and may lie; the judge's own clock sees a whole block of calls and
what lies around them. What lies around them (messages, the flush, copies of outputs) is measured
on the reference, whose runner runs nothing that was not trusted. What is left over on the side of
the kernel is time that its process did not report: work done before the clock was started or
after it was stopped, in the first calls of a block, which do not count, or only when an output
was asked for.

What an honest kernel's host code can explain is added to its time; what is more is a rejection,
unless this process itself had to wait for a processor: then the delay may be the machine's, and
all of it is added. Nothing is gained by unreported time in either case.
"""

from __future__ import annotations

import statistics
import time
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from kbexp.statistics import order_interval

CHARGED_SHARE = 0.1
"""Unreported time above this share of the reported is added to it."""

REJECTED_SHARE = 0.5
REJECTED_MS = 0.2
"""Unreported time above this share of the reported, and so much more, is a rejection. Half: a
kernel whose first calls of a block are slow, or that keeps the host waiting, stays below it."""

TOO_EARLY_SHARE = 0.5
"""A block that left out half of its flushes cannot have flushed at all."""

CONTENDED_SHARE = 0.02
"""The machine is busy with other things where the judge waited for a processor for this share of
the time."""

FEWEST = 6
"""Blocks below which no 95 % interval of a median exists."""


@dataclass(slots=True)
class Clock:
    """One side's blocks: reported and judged time of one call, and the wait for outputs, in ms."""

    reported_ms: list[float] = field(default_factory=list)
    judged_ms: list[float] = field(default_factory=list)
    given_ms: list[float] = field(default_factory=list)

    def add(self, reported_ms: float, judged_ms: float) -> None:
        """Take in one block: the runner's figure for a call, and the judge's."""
        self.reported_ms.append(reported_ms)
        self.judged_ms.append(judged_ms)

    def around_ms(self) -> list[float]:
        """Return what the judge saw beyond the report, by block."""
        return [
            judged - reported
            for judged, reported in zip(self.judged_ms, self.reported_ms, strict=True)
        ]


@dataclass(frozen=True, slots=True)
class Agreement:
    """What the clocks say of a call: `reported_ms`, and what was not reported.

    `rejected` says that it cannot be explained; `early` that a block ended before it could.
    """

    reported_ms: float
    unreported_ms: float = 0.0
    rejected: bool = False
    early: bool = False

    @property
    def charged_ms(self) -> float:
        """What is to be added to every figure of the kernel."""
        return self.unreported_ms if self.unreported_ms > CHARGED_SHARE * self.reported_ms else 0.0

    def __str__(self) -> str:
        judged_ms = self.reported_ms + self.unreported_ms
        if self.early:
            return (
                f"the kernel's process reported {self.reported_ms:.3g} ms a call and was done "
                "before its calls and the flushes between them could have been"
            )
        return (
            f"the two clocks disagree: the kernel's process reports {self.reported_ms:.3g} ms a "
            f"call, the judge's clock says {judged_ms:.3g} ms"
        )


class Waiting:
    """How long this thread has waited for a processor, as Linux counts it (sched-stats.rst)."""

    def __init__(self) -> None:
        self._begun_ns = time.monotonic_ns()
        self._waited_ns = _waited_ns()

    def contended(self) -> bool:
        """Return whether it was long since this object was made; False where nobody counts."""
        passed_ns = time.monotonic_ns() - self._begun_ns
        return _waited_ns() - self._waited_ns > CONTENDED_SHARE * passed_ns


def _waited_ns() -> int:
    try:
        return int(Path("/proc/thread-self/schedstat").read_text().split()[1])
    except (OSError, ValueError, IndexError):
        return 0


def compare_clocks(
    kernel: Clock, reference: Clock, flush_ms: float = 0.0, contended: bool = False
) -> Agreement:
    """Return whether the kernel's clocks agree, as far as the reference's do.

    Only what is certain at 95 % counts: the lower end of the kernel's interval against the upper
    end of the reference's. `flush_ms` is the least that a flush before a call takes.
    """
    reported_ms = statistics.median(kernel.reported_ms)
    unreported_ms = _more(kernel.around_ms(), reference.around_ms())
    unreported_ms += _more(kernel.given_ms, reference.given_ms)
    limit_ms = REJECTED_SHARE * reported_ms + REJECTED_MS
    early = max(kernel.around_ms()) < TOO_EARLY_SHARE * flush_ms
    beyond = unreported_ms > limit_ms and not contended
    return Agreement(reported_ms, unreported_ms, early or beyond, early)


def _more(kernel_ms: list[float], reference_ms: list[float]) -> float:
    """Return by how much the kernel's figures are larger for certain; 0 where that is unknown."""
    if min(len(kernel_ms), len(reference_ms)) < FEWEST:
        return 0.0
    return max(
        0.0, order_interval(np.array(kernel_ms))[0] - order_interval(np.array(reference_ms))[1]
    )
