"""How algorithms stand: figures of many searches with intervals, and a paired test of two.

A search is one algorithm on one task with one seed; its figure is the confirmed speedup of what it
had found by then. Speedups multiply, so everything goes by their logarithms.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from kbexp.verdict import Interval

RESAMPLES = 10_000
FLIPS = 99_999
"""Random sign flips of a permutation test; the least p that they can show is 1e-5."""

Logs = NDArray[np.float64]
"""Logarithms of speedups, (tasks, seeds)."""


@dataclass(frozen=True, slots=True)
class Paired:
    """One algorithm against another: the ratio of their figures, p, tasks won and lost."""

    ratio: Interval
    p: float
    won: int
    lost: int


def middle(logs: Logs, seed: int = 0) -> Interval:
    """Return the geometric mean over tasks and seeds with its 95 % bootstrap interval.

    Seeds are drawn again within each task: the tasks are those that were chosen, so the interval
    speaks of other seeds on these tasks, not of other tasks.
    """
    rng = np.random.default_rng(seed)
    tasks, seeds = logs.shape
    picks = rng.integers(0, seeds, size=(RESAMPLES, tasks, seeds))
    means = np.take_along_axis(logs[None], picks, axis=2).mean(axis=(1, 2))
    low, high = np.quantile(means, [0.025, 0.975])
    value = float(logs.mean())
    return Interval(math.exp(value), math.exp(min(low, value)), math.exp(max(high, value)))


def paired(ours: Logs, theirs: Logs) -> Paired:
    """Compare two algorithms search by search, each with the other's search of its task and seed.

    p is that of a two-sided permutation test which flips the signs of the differences (Fisher):
    how often chance alone, were the two exchangeable, brings a mean as far from 0.
    """
    from scipy.stats import permutation_test

    difference = ours - theirs
    by_task = difference.mean(axis=1)
    test = permutation_test(
        (difference.ravel(),),
        np.mean,
        permutation_type="samples",
        vectorized=True,
        n_resamples=FLIPS,
        rng=np.random.default_rng(0),
    )
    return Paired(
        middle(difference), float(test.pvalue), int((by_task > 0).sum()), int((by_task < 0).sum())
    )


def holm(p_values: Sequence[float]) -> list[float]:
    """Return p values adjusted for their number (Holm, Scand. J. Stat. 6, 1979), in their order."""
    order = sorted(range(len(p_values)), key=lambda i: p_values[i])
    adjusted, highest = [0.0] * len(p_values), 0.0
    for rank, index in enumerate(order):
        highest = max(highest, min(1.0, (len(p_values) - rank) * p_values[index]))
        adjusted[index] = highest
    return adjusted


def text(figure: Interval) -> str:
    """Return a figure with its interval."""
    return f"{figure.value:.3f} [{figure.low:.3f}, {figure.high:.3f}]"


def draw(path: Path, curves: Mapping[str, Sequence[tuple[int, Interval]]]) -> None:
    """Draw the figure of each algorithm against evaluations, with its interval, as an SVG."""
    import matplotlib

    matplotlib.use("svg")
    matplotlib.rcParams["svg.hashsalt"] = "kbexp"
    from matplotlib import pyplot

    columns = 2
    rows = -(-len(curves) // columns)
    figure, axes = pyplot.subplots(
        rows, columns, sharex=True, sharey=True, figsize=(8, 1.7 * rows), layout="constrained"
    )
    for panel, (name, points) in zip(axes.flat, curves.items(), strict=False):
        for other in curves.values():
            panel.plot([n for n, _ in other], [f.value for _, f in other], color="0.85", lw=1)
        numbers = [n for n, _ in points]
        low, high = [f.low for _, f in points], [f.high for _, f in points]
        panel.fill_between(numbers, low, high, alpha=0.25, color="tab:blue", lw=0)
        panel.plot(numbers, [f.value for _, f in points], color="tab:blue")
        panel.set_title(name, fontsize=9, loc="left")
    for panel in axes.flat[len(curves) :]:
        panel.axis("off")
    figure.supxlabel("evaluations after the reference", fontsize=9)
    figure.supylabel("speedup, judged again (geometric mean)", fontsize=9)
    figure.savefig(path, metadata={"Date": None})
