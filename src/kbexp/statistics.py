"""Medians, ratios and their confidence intervals."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from kbexp.verdict import Interval

RESAMPLES = 2000

APART = 1.1
"""Two figures in the middle whose quotient is larger are of two kinds, their mean of neither."""


def median_interval(
    values: Sequence[float], generator: np.random.Generator, confidence: float = 0.95
) -> Interval:
    """Return the median of `values` and its percentile bootstrap interval.

    Efron and Tibshirani, An Introduction to the Bootstrap (1993), chapter 13. One value gives an
    interval of no width: it says nothing about spread. Of two values in the middle that are far
    apart the larger is the median (see `middle`). Raises ValueError for no values.
    """
    sample = np.asarray(values, dtype=np.float64)
    if sample.size == 0:
        raise ValueError("no values")
    medians = np.median(_resample(sample, generator), axis=1)
    return _interval(middle(sample, larger=True), medians, confidence)


def ratio_interval(
    numerators: Sequence[float],
    denominators: Sequence[float],
    generator: np.random.Generator,
    confidence: float = 0.95,
) -> Interval:
    """Return the ratio of paired measurements and its bootstrap interval.

    The figure is the median over the pairs of numerator/denominator, and of two in the middle that
    are far apart the smaller (see `middle`). Pairs are resampled whole:
    what moved both members of a pair alike (a clock that changed, a neighbour on the machine)
    cancels. With few pairs the percentile interval of a median is too narrow, so it is widened to
    the distribution-free interval between order statistics, which holds its level for any
    distribution (David and Nagaraja, Order Statistics, 2003, section 7.1).
    """
    if len(numerators) != len(denominators) or not numerators:
        raise ValueError("pairs are needed")
    ratios = np.asarray(numerators, dtype=np.float64) / np.asarray(denominators, dtype=np.float64)
    medians = np.median(_resample(ratios, generator), axis=1)
    interval = _interval(middle(ratios), medians, confidence)
    low, high = order_interval(ratios, confidence)
    return Interval(interval.value, min(interval.low, low), max(interval.high, high))


def middle(values: NDArray[np.float64], larger: bool = False) -> float:
    """Return the median of positive values, which is one of them where that matters.

    Of an even number, two lie in the middle. Where these are far apart, half of the values are of
    one kind and half of another, and their mean is a figure that nothing had: a program that
    reports next to nothing in every other measurement would look as if it took half the time, or
    had a hundred times the speed. Then the smaller counts, or the `larger`.
    """
    ordered = np.sort(values)
    below, above = float(ordered[(ordered.size - 1) // 2]), float(ordered[ordered.size // 2])
    if above > APART * below:
        return above if larger else below
    return (below + above) / 2


def quotient(numerator: Interval, denominator: Interval) -> Interval:
    """Return the quotient of two positive figures that were measured independently.

    On a logarithmic scale a quotient is a difference, and the ends of its interval lie as far away
    as the root of both distances' squares (the usual propagation of independent errors).
    """
    value = numerator.value / denominator.value

    def distance(figure: float, end: float) -> float:
        return abs(math.log(end / figure)) if 0 < end < math.inf else math.inf

    below = math.hypot(
        distance(numerator.value, numerator.low), distance(denominator.value, denominator.high)
    )
    above = math.hypot(
        distance(numerator.value, numerator.high), distance(denominator.value, denominator.low)
    )
    high = value * math.exp(above) if above < 700 else math.inf
    return Interval(value, value * math.exp(-below), max(value, high))


def order_interval(values: NDArray[np.float64], confidence: float = 0.95) -> tuple[float, float]:
    """Return the narrowest symmetric pair of order statistics that covers the median.

    The coverage of (x_(k), x_(n+1-k)) is 1 - 2 P(Binomial(n, 1/2) < k), whatever the
    distribution. With five values or fewer the whole range is returned; it covers less than 95 %.
    """
    ordered = np.sort(values)
    count = ordered.size
    below, term, rank = 0.0, 0.5**count, 0
    while rank < count // 2 and below + term <= (1 - confidence) / 2:
        below += term
        term *= (count - rank) / (rank + 1)
        rank += 1
    first = max(rank - 1, 0)
    return float(ordered[first]), float(ordered[count - 1 - first])


def _resample(sample: NDArray[np.float64], generator: np.random.Generator) -> NDArray[np.float64]:
    picks = generator.integers(0, sample.size, size=(RESAMPLES, sample.size))
    return np.asarray(sample[picks], dtype=np.float64)


def _interval(value: float, means: NDArray[np.float64], confidence: float) -> Interval:
    tail = (1 - confidence) / 2
    low, high = np.quantile(means, [tail, 1 - tail])
    return Interval(value, float(min(low, value)), float(max(high, value)))
