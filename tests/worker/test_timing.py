"""When measuring ends, and what a block's figure is."""

from __future__ import annotations

import random

import pytest
from kernels import quick

from kbexp.verdict import Interval
from kbexp.worker.timing import FEWEST_PAIRS, Stopwatch, block_ms, calls_per_block

MS = 1_000_000


def pairs_taken(kernel_ms: float, reference_ms: float, spread: float, **settings: object) -> int:
    """Return after how many pairs of blocks a stopwatch has enough."""
    chance = random.Random(0)
    values = {"min_pairs": 8, "max_pairs": 40, "target_width": 0.03, "timing_s": 1000.0}
    watch = Stopwatch(quick(**{**values, **settings}), seed=1)
    while not watch.enough():
        block = [
            [int(ms * MS * (1 + chance.uniform(-spread, spread))) for _ in range(5)]
            for ms in (kernel_ms, reference_ms)
        ]
        watch.add(*block)
    return len(watch.kernel_ms)


def test_quiet_figures_need_few_pairs_and_noisy_ones_many() -> None:
    assert pairs_taken(1.0, 1.0, 0.001) == 8
    assert pairs_taken(1.0, 1.0, 0.5) == 40


def test_a_slow_kernel_is_given_up() -> None:
    assert pairs_taken(10.0, 1.0, 0.1) == 3
    assert pairs_taken(2.5, 1.0, 0.01) == FEWEST_PAIRS
    assert pairs_taken(0.1, 1.0, 0.001) == 8


def test_time_ends_it_but_not_before_there_is_an_interval() -> None:
    assert pairs_taken(1.0, 1.0, 0.5, timing_s=0.0) == FEWEST_PAIRS


def test_figures_are_of_the_pairs() -> None:
    watch = Stopwatch(quick(), seed=0)
    for _ in range(6):
        watch.add([9 * MS, 2 * MS, 2 * MS], [9 * MS, 4 * MS, 4 * MS])
    figures = watch.figures()
    assert figures.time_ms.value == 2.0
    assert figures.reference_ms.value == 4.0
    assert (figures.speedup.low, figures.speedup.high) == (2.0, 2.0)
    assert (figures.pairs, figures.calls) == (6, 36)


@pytest.mark.parametrize(
    ("times", "figure"),
    [([5], 5.0), ([9, 5], 5.0), ([9, 5, 7], 6.0), ([9] * 2 + [1] * 8, 1.0), ([0, 0], 1e-6)],
)
def test_the_first_calls_of_a_block_do_not_count(times: list[int], figure: float) -> None:
    assert block_ms([time * MS for time in times]) == figure


@pytest.mark.parametrize(
    ("call_ms", "calls"),
    [(0.0, 5), (0.2, 5), (0.3, 3), (99, 3), (400, 1)],
)
def test_a_block_is_as_long_as_asked_within_bounds(call_ms: float, calls: int) -> None:
    assert calls_per_block(int(call_ms * MS), quick(block_ms=1.0, max_calls=5)) == calls


def test_an_interval_is_never_narrower_than_processes_differ() -> None:
    watch = Stopwatch(quick(), seed=1, resolution=0.01)
    for _ in range(6):
        watch.add([2 * MS] * 3, [4 * MS] * 3)
    speedup = watch.figures().speedup
    assert (speedup.low, speedup.value, speedup.high) == (2 / 1.01, 2.0, 2.02)
    watch.widen(0.99)
    assert (watch.figures().speedup.low, watch.figures().speedup.high) == (1.0, 4.0)


def test_a_charge_is_added_to_the_kernel_alone() -> None:
    watch = Stopwatch(quick(), seed=1)
    for _ in range(6):
        watch.add([2 * MS] * 3, [4 * MS] * 3)
    watch.charge(Interval(6.0, 4.0, 8.0))
    figures = watch.figures()
    assert (figures.time_ms.value, figures.reference_ms.value) == (8.0, 4.0)
    assert figures.speedup.value == 0.5
    assert (figures.time_ms.low, figures.time_ms.high) == (6.0, 10.0)
    assert (figures.speedup.low, figures.speedup.high) == (pytest.approx(0.4), pytest.approx(2 / 3))
