"""Scores: what a verdict is worth."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace

import pytest

from kbexp.config import Metric
from kbexp.errors import KbexpError
from kbexp.search import SCORES, score_named
from kbexp.verdict import Interval, Status


def test_every_metric_of_the_configuration_has_a_score() -> None:
    assert {str(metric) for metric in Metric} <= set(SCORES)
    assert score_named(Metric.speedup) is SCORES["speedup"]


def test_values(land: SimpleNamespace) -> None:
    verdict = land.verdict_of(
        land.kernel_of(1, 1, 1, 1),
        speedup=Interval(2.0, 1.5, 2.5),
        time_ms=Interval(4.0, 3.9, 4.1),
    )
    assert score_named("speedup")(verdict) == 2.0
    assert score_named("speedup_low")(verdict) == 1.5
    assert score_named("inverse_runtime")(verdict) == 250.0


@pytest.mark.parametrize("metric", sorted(SCORES))
@pytest.mark.parametrize("status", [status for status in Status if status is not Status.CORRECT])
def test_what_is_not_correct_is_worth_nothing(
    land: SimpleNamespace, metric: str, status: Status
) -> None:
    verdict = land.verdict_of(land.kernel_of(1), Status.CORRECT, speedup=Interval(2, 1, 3))
    verdict = replace(verdict, time_ms=Interval(4, 3, 5))
    assert score_named(metric)(verdict) > 0
    assert score_named(metric)(replace(verdict, status=status)) == 0.0
    assert score_named(metric)(replace(verdict, speedup=None, time_ms=None)) == 0.0


def test_an_unknown_metric_is_one_sentence() -> None:
    with pytest.raises(KbexpError, match="choose one of inverse_runtime, speedup, speedup_low"):
        score_named("spedup")
