"""When to stop measuring, and what the measurements say."""

from __future__ import annotations

import statistics
import time
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from kbexp.config import EvaluatorConfig
from kbexp.statistics import median_interval, middle, order_interval, ratio_interval
from kbexp.verdict import Interval

DROPPED_SHARE = 0.2
"""The share of a block's calls that is not counted: its first, and at least one of them.

They find threads asleep and caches full of the other side's data, and have a longer tail.
"""

SMALLEST_MS = 1e-6
"""The resolution of a runner's clock: no call takes less."""

FEWEST_CALLS = 3
"""One that is dropped and two that count."""

LONG_CALL_NS = 300_000_000
"""Calls that are longer make a block each: what the first one finds cold does not matter then."""

FASTER_SHARE = 0.05
"""A speedup that is no larger is not worth a second look."""

SLOWER_SHARE = 0.1
"""A speedup that is smaller by this share on other inputs is another speedup."""

PLAINLY_SLOWER = 0.5
"""A speedup whose whole interval lies below this is not worth more calls."""

FAR_SLOWER = 1 / 3
"""A kernel is given up after three pairs where its speedup was below this in each of them."""

FEWEST_PAIRS = 6
"""With fewer pairs no distribution-free 95 % interval of a median exists."""


RESOLUTION = {"cpu": 0.1, "cuda": 0.003}
"""The share by which an interval of a speedup is widened at both ends.

Two processes of one kernel lie differently in memory and caches, so that their speeds differ by
more than the blocks of one pair of processes show. Measured by benchmarks/self_ratio.py.
"""


@dataclass(frozen=True, slots=True)
class Figures:
    """What timing came to: medians of blocks, in ms, and the ratio of reference to kernel."""

    time_ms: Interval
    reference_ms: Interval
    speedup: Interval
    pairs: int
    calls: int


@dataclass(slots=True)
class Stopwatch:
    """The pairs of blocks measured so far; decides whether more are needed.

    `resolution` is what differs between processes, as a share; by `less_ms` and `more_ms` the
    kernel's time may be shorter and longer than its blocks say.
    """

    settings: EvaluatorConfig
    seed: int
    resolution: float = 0.0
    less_ms: float = 0.0
    more_ms: float = 0.0
    kernel_ms: list[float] = field(default_factory=list)
    reference_ms: list[float] = field(default_factory=list)
    calls: int = 0
    _started: float = field(default_factory=time.monotonic)

    def add(self, kernel_ns: Sequence[int], reference_ns: Sequence[int]) -> None:
        """Take in one pair of blocks: the times of every call, in ns."""
        self.kernel_ms.append(block_ms(kernel_ns))
        self.reference_ms.append(block_ms(reference_ns))
        self.calls += len(kernel_ns) + len(reference_ns)

    def enough(self) -> bool:
        """True where another pair would not be worth its time."""
        pairs = len(self.kernel_ms)
        if pairs >= self.settings.max_pairs:
            return True
        if pairs < 3:
            return False
        # The figures' interval is the wider of this one and a bootstrap that takes milliseconds.
        ratios = self._ratios()
        low, high = order_interval(ratios)
        if pairs < FEWEST_PAIRS:
            return high < FAR_SLOWER
        if self.late() or high < PLAINLY_SLOWER:
            return True
        narrow = high - low <= self.settings.target_width * float(np.median(ratios))
        return pairs >= self.settings.min_pairs and narrow

    def last_ms(self, kernel: bool) -> float:
        """Return the figure of the last block of kernel or reference."""
        return (self.kernel_ms if kernel else self.reference_ms)[-1]

    def may_be_faster(self) -> bool:
        """True where the kernel's speed may be above the reference's, as far as is known."""
        return order_interval(self._ratios())[1] > 1

    def seems_faster(self) -> bool:
        """True where the kernel's speed counts as more than the reference's, certain or not.

        Whoever slows some of its blocks down is not certain to be faster, and scores by the median.
        """
        return float(np.median(self._ratios())) > 1 + FASTER_SHARE

    def seems_slower(self, other: Stopwatch) -> bool:
        """Return whether the other one's measurements say that it is slower, certain or not.

        By a tenth at least, which caches and threads can explain.
        """
        return middle(other._ratios()) < (1 - SLOWER_SHARE) * middle(self._ratios())

    def widen(self, share: float) -> None:
        """Move the ends of the speedup's interval out by so much more."""
        self.resolution += share

    def charge(self, charged: Interval) -> None:
        """Add time, in ms, to every one of the kernel's figures, and its doubt to their ends."""
        self.kernel_ms = [figure + charged.value for figure in self.kernel_ms]
        self.less_ms += charged.value - charged.low
        self.more_ms += charged.high - charged.value

    def raise_to(self, least_ms: float) -> bool:
        """Have no figure of the kernel be less than that; return whether its middle was."""
        was_less = middle(np.array(self.kernel_ms), larger=True) < least_ms
        self.kernel_ms = [max(figure, least_ms) for figure in self.kernel_ms]
        return was_less

    def late(self, share: float = 1.0) -> bool:
        """True once measuring has taken this share of the time that the settings give it."""
        return time.monotonic() - self._started > share * self.settings.timing_s

    def _time(self, generator: np.random.Generator) -> Interval:
        measured = median_interval(self.kernel_ms, generator)
        low = max(measured.low - self.less_ms, 0.0)
        return Interval(measured.value, low, measured.high + self.more_ms)

    def _speedup(self, generator: np.random.Generator) -> Interval:
        measured = ratio_interval(self.reference_ms, self.kernel_ms, generator)
        kernel_ms = middle(np.array(self.kernel_ms), larger=True)
        # A charge moves all blocks alike: by it the ratio's ends move as its middle does.
        low = measured.low * kernel_ms / (kernel_ms + self.more_ms)
        high = measured.high * kernel_ms / max(kernel_ms - self.less_ms, SMALLEST_MS)
        return Interval(measured.value, low / (1 + self.resolution), high * (1 + self.resolution))

    def _ratios(self) -> NDArray[np.float64]:
        return np.array(self.reference_ms, np.float64) / np.array(self.kernel_ms, np.float64)

    def figures(self) -> Figures:
        """Return the figures; raises ValueError before the first pair."""
        generator = np.random.default_rng(self.seed)
        return Figures(
            time_ms=self._time(generator),
            reference_ms=median_interval(self.reference_ms, generator),
            speedup=self._speedup(generator),
            pairs=len(self.kernel_ms),
            calls=self.calls,
        )


def block_ms(times_ns: Sequence[int]) -> float:
    """Return the median of a block's calls in ms, its first calls dropped."""
    dropped = min(max(1, int(len(times_ns) * DROPPED_SHARE)), len(times_ns) - 1)
    return max(statistics.median(times_ns[dropped:]) / 1e6, SMALLEST_MS)


def calls_per_block(call_ns: int, settings: EvaluatorConfig) -> int:
    """Return how many calls of this length make a block of about `settings.block_ms`."""
    if call_ns > LONG_CALL_NS:
        return 1
    wanted = int(settings.block_ms * 1e6 / max(call_ns, 1))
    return max(FEWEST_CALLS, min(wanted, settings.max_calls))
