"""Whatever a kernel's process reports of its blocks, it earns what its work does."""

from __future__ import annotations

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from kernels import quick

from kbexp.worker.bare import BLOCK_MS, Bare, Look, Seen, compare_bare
from kbexp.worker.clocks import CHARGED_MS, CHARGED_SHARE, Clock, compare_clocks
from kbexp.worker.timing import Stopwatch

WORK_MS = 1.0
"""What a call really takes, of the kernel and of the reference."""

CALLS = 25
"""In a block."""

REPORTS = st.lists(st.floats(0.001, 200.0), min_size=6, max_size=31)
TWO_KINDS = st.tuples(
    st.floats(0.001, 1.0), st.floats(0.001, 200.0), st.integers(3, 15), st.integers(3, 15)
).map(lambda kinds: [kinds[0]] * kinds[2] + [kinds[1]] * kinds[3])


def side(reports_ms: list[float], judged_ms: float) -> Clock:
    """The clock of a side that reports so, and whose calls take so long by the judge's clock."""
    clock = Clock()
    for reported_ms in reports_ms:
        clock.add(reported_ms, judged_ms)
    return clock


def stopwatch(reports_ms: list[float]) -> Stopwatch:
    """What those blocks look like beside the reference's."""
    watch = Stopwatch(quick(), seed=0)
    for reported_ms in reports_ms:
        watch.add([int(reported_ms * 1e6)] * 3, [int(WORK_MS * 1e6)] * 3)
    return watch


def least_ms(watch: Stopwatch) -> float:
    """What a call takes by the figure of its time, or by that of its speedup if that is less."""
    figures = watch.figures()
    return min(figures.time_ms.value, figures.reference_ms.value / figures.speedup.value)


@given(REPORTS | TWO_KINDS)
@example([0.00137, 0.727] * 15)
@example([0.001, 100.0] * 3)
def test_reports_that_the_judge_sees_through(reports_ms: list[float]) -> None:
    clocks = side(reports_ms, 1.1), side([WORK_MS] * len(reports_ms), 1.1)
    watch = stopwatch(reports_ms)
    agreement = compare_clocks(*clocks)
    assert not agreement.early
    if not agreement.rejected:
        watch.charge(agreement.charged)
        assert least_ms(watch) >= WORK_MS * (1 - CHARGED_SHARE) - CHARGED_MS["cpu"]


@pytest.mark.parametrize("later", ["", "kept_ms", "replayed_ms"])
@given(REPORTS | TWO_KINDS)
@example([0.00137, 0.727] * 15)
@example([0.001, 100.0] * 3)
def test_reports_of_work_that_flushes_hide(later: str, reports_ms: list[float]) -> None:
    # The judge sees each report confirmed: a flush of 0.5 ms before a call is left out where the
    # work needs its time. Without flushes, a call takes what it takes.
    kernel = Clock()
    for reported_ms in reports_ms:
        kernel.add(reported_ms, max(reported_ms + 0.6, WORK_MS + 0.1))
    reference = side([WORK_MS] * len(reports_ms), 1.6)
    watch = stopwatch(reports_ms)
    agreement = compare_clocks(kernel, reference, flush_ms=0.5)
    around_ms = {"": 0.1, "kept_ms": 0.2, "replayed_ms": 0.1}[later]
    seen = Seen(WORK_MS + 0.1, **({later: WORK_MS + around_ms} if later else {}))
    bare = Bare(Look(CALLS, CALLS, seen, seen), Look(1, 1, seen, seen), WORK_MS)
    agreement = compare_bare(agreement, bare)
    if not agreement.rejected:
        watch.charge(agreement.charged)
        assert least_ms(watch) >= WORK_MS * (1 - CHARGED_SHARE) - BLOCK_MS / CALLS - 1e-6


def test_work_as_reported_is_charged_nothing() -> None:
    for count in (6, 7, 12):
        clocks = side([WORK_MS] * count, 1.1), side([WORK_MS] * count, 1.1)
        watch = stopwatch([WORK_MS] * count)
        watch.charge(compare_clocks(*clocks).charged)
        assert watch.figures().speedup.value == pytest.approx(1.0)
