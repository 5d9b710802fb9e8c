"""What a search maximises: functions from a verdict to a number, 0 for anything not correct."""

from __future__ import annotations

from collections.abc import Callable

from kbexp.errors import KbexpError
from kbexp.verdict import Verdict

Score = Callable[[Verdict], float]
"""A verdict's worth, from 0 up; higher is better."""


def speedup(verdict: Verdict) -> float:
    """Return the reference's time over the kernel's; 0 where the kernel is not correct."""
    return verdict.speedup.value if verdict.correct and verdict.speedup else 0.0


def speedup_low(verdict: Verdict) -> float:
    """Return the low end of the speedup's 95 % interval; 0 where the kernel is not correct."""
    return max(0.0, verdict.speedup.low) if verdict.correct and verdict.speedup else 0.0


def inverse_runtime(verdict: Verdict) -> float:
    """Return one over the kernel's time in seconds; 0 where the kernel is not correct."""
    if not verdict.correct or verdict.time_ms is None or verdict.time_ms.value <= 0:
        return 0.0
    return 1000.0 / verdict.time_ms.value


SCORES: dict[str, Score] = {
    "speedup": speedup,
    "speedup_low": speedup_low,
    "inverse_runtime": inverse_runtime,
}
"""Every score by the name of its metric; add to it to offer another one."""


def score_named(metric: str) -> Score:
    """Return the score of that name; raises KbexpError with the names there are."""
    try:
        return SCORES[str(metric)]
    except KeyError:
        known = ", ".join(sorted(SCORES))
        raise KbexpError(f"There is no metric {metric!r}: choose one of {known}.") from None
