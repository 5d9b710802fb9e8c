"""Figures as people read them: short, with their units."""

from __future__ import annotations

import math

from kbexp.config import Metric
from kbexp.score import metric_name
from kbexp.tracking.text import one_line
from kbexp.verdict import Interval

TIMES = "\N{MULTIPLICATION SIGN}"


def ratio(value: float) -> str:
    """Return a speedup with the sign of multiplication behind it."""
    return f"{_ratio(value)}{TIMES}"


def interval(speedup: Interval) -> str:
    """Return a speedup with the ends of its interval in brackets."""
    return f"{ratio(speedup.value)} [{_ratio(speedup.low)}, {_ratio(speedup.high)}]"


def _ratio(value: float) -> str:
    if not math.isfinite(value):
        return "\N{INFINITY}" if value > 0 else "?"
    if abs(value) < 0.0995:
        return f"{value:.2g}"
    return f"{value:.0f}" if value >= 99.95 else f"{value:.{1 if value >= 9.995 else 2}f}"


def worth(metric: object, value: float) -> str:
    """Return a score with the name of what it measures, and with its unit.

    `value` is as `kbexp.score` has it. What is small when it is good is shown both ways: the
    score, which is maximised, and the figure itself.
    """
    name = metric_name(metric)
    match name:
        case Metric.speedup | Metric.speedup_low:
            words = ratio(value)
        case Metric.inverse_runtime:
            words = f"{value:,.4g} calls/s"
        case Metric.bandwidth:
            words = f"{value:.4g} GB/s"
        case Metric.share_of_bound:
            words = f"{value:.1%}"
        case Metric.energy:
            words = f"{value:.4g} calls/J ({1 / value:.3g} J a call)" if value else "0 calls/J"
        case Metric.peak_memory:
            words = f"{value:.4g}/GiB"
            words += f" ({1024 / value:,.4g} MiB)" if value else ""
        case _:
            words = f"{value:.4g}"
    return f"{one_line(name, 60)} {words}"


def milliseconds(value: float) -> str:
    """Return a time given in milliseconds, in the unit that suits its size."""
    if value >= 1e3:
        return f"{value / 1e3:#.4g} s"
    return f"{value:#.4g} ms" if value >= 0.1 else f"{value * 1e3:#.4g} µs"


def dollars(value: float) -> str:
    """Return an amount, with cents' fractions where it is small."""
    return f"${value:,.2f}" if value >= 0.995 or value == 0 else f"${value:.4f}"


def duration(seconds: float) -> str:
    """Return h:mm:ss."""
    minutes, second = divmod(int(max(0.0, seconds)), 60)
    return f"{minutes // 60}:{minutes % 60:02d}:{second:02d}"


def count(value: float) -> str:
    """Return a large count in three digits or so, such as 1.2M."""
    for unit, size in (("G", 1e9), ("M", 1e6), ("k", 1e3)):
        if value >= 0.9995 * size:
            scaled = value / size
            return f"{scaled:.{1 if scaled < 99.95 else 0}f}{unit}"
    return f"{value:.0f}"
