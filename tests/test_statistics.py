"""Intervals: what they must hold, and how often they cover the truth."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kbexp.statistics import median_interval, middle, order_interval, quotient, ratio_interval
from kbexp.verdict import Interval

POSITIVE = st.floats(1e-6, 1e6)


@given(st.lists(POSITIVE, min_size=1, max_size=60))
def test_the_median_lies_in_its_interval(values: list[float]) -> None:
    interval = median_interval(values, np.random.default_rng(0))
    assert min(values) <= interval.low <= interval.value <= interval.high <= max(values)
    assert interval.value == pytest.approx(middle(np.array(values), larger=True))


@given(st.lists(POSITIVE, min_size=1, max_size=60))
def test_a_middle_is_the_median_or_one_of_the_values(values: list[float]) -> None:
    smaller, larger = middle(np.array(values)), middle(np.array(values), larger=True)
    if smaller == larger:
        assert smaller == pytest.approx(float(np.median(values)))
    else:
        assert {smaller, larger} <= set(values)
        assert smaller < float(np.median(values)) < larger


def test_a_mean_of_two_kinds_is_no_figure() -> None:
    for others, smaller, larger in [(2, 200.0, 200.0), (3, 0.5, 200.0), (4, 0.5, 0.5)]:
        values = np.array([200.0] * 3 + [0.5] * others)
        assert (middle(values), middle(values, larger=True)) == (smaller, larger)
    assert middle(np.array([1.0, 1.02])) == middle(np.array([1.0, 1.02]), larger=True) == 1.01


@given(st.lists(st.tuples(POSITIVE, POSITIVE), min_size=1, max_size=40))
def test_a_ratio_turned_round_has_the_interval_turned_round(
    pairs: list[tuple[float, float]],
) -> None:
    above, below = zip(*pairs, strict=True)
    ratio = ratio_interval(above, below, np.random.default_rng(0))
    low, high = order_interval(np.asarray(above) / np.asarray(below))
    assert ratio.low <= low <= high <= ratio.high
    assert ratio.low <= ratio.value <= ratio.high


def test_what_moves_both_cancels() -> None:
    drift = np.linspace(1, 3, 20)
    ratio = ratio_interval(list(2 * drift), list(drift), np.random.default_rng(0))
    assert (ratio.low, ratio.value, ratio.high) == pytest.approx((2, 2, 2))


@pytest.mark.parametrize(("count", "rank"), [(5, 0), (6, 0), (8, 0), (9, 1), (20, 5), (30, 9)])
def test_order_statistics_are_those_of_the_tables(count: int, rank: int) -> None:
    # Ranks from the binomial distribution with p = 1/2 (David and Nagaraja 2003, table 7.1).
    low, high = order_interval(np.arange(count, dtype=np.float64))
    assert (low, high) == (rank, count - 1 - rank)


def test_the_interval_of_a_median_covers_it_as_often_as_it_says() -> None:
    # 2000 samples of 15 from a skewed distribution. The order interval's true level is 96.5 %, so
    # fewer than 1840 hits (92 %) has a probability below 1e-12.
    generator = np.random.default_rng(7)
    hits = 0
    for _ in range(2000):
        sample = np.exp(generator.normal(size=15))
        low, high = order_interval(sample)
        hits += low <= 1.0 <= high
    assert hits >= 1840


def test_nothing_measured_is_an_error() -> None:
    generator = np.random.default_rng(0)
    with pytest.raises(ValueError, match="no values"):
        median_interval([], generator)
    with pytest.raises(ValueError, match="pairs"):
        ratio_interval([1.0], [1.0, 2.0], generator)


def test_a_quotient_has_the_errors_of_both() -> None:
    exact = Interval(2.0, 2.0, 2.0)
    wide = Interval(4.0, 2.0, 8.0)
    assert quotient(wide, exact) == Interval(2.0, 1.0, 4.0)
    both = quotient(wide, wide)
    assert both.value == 1.0
    assert both.low == pytest.approx(2 ** -(2**0.5))
    assert both.high == pytest.approx(2 ** (2**0.5))
    open_ended = quotient(exact, Interval(1.0, 0.0, float("inf")))
    assert (open_ended.low, open_ended.high) == (0.0, float("inf"))
