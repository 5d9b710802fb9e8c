"""Scores: what a verdict is worth."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest

from kbexp.config import EvaluatorConfig, GpuConfig, Metric, Provider
from kbexp.errors import KbexpError
from kbexp.score import check_metric
from kbexp.search import SCORES, score_named
from kbexp.verdict import Interval, Status, Verdict

FIGURES = {
    "bandwidth_bytes_per_s": 5e9,
    "share_of_bound": 0.5,
    "energy_j": 0.25,
    "peak_host_bytes": 2.0**29,
}


def test_every_metric_of_the_configuration_has_a_score() -> None:
    assert {str(metric) for metric in Metric} <= set(SCORES)
    assert score_named(Metric.speedup) is SCORES["speedup"]


@pytest.fixture
def verdict(land: SimpleNamespace) -> Verdict:
    timed = land.verdict_of(
        land.kernel_of(1, 1, 1, 1),
        speedup=Interval(2.0, 1.5, 2.5),
        time_ms=Interval(4.0, 3.9, 4.1),
    )
    return replace(timed, metrics=FIGURES)


def test_values(verdict: Verdict) -> None:
    assert score_named("speedup")(verdict) == 2.0
    assert score_named("speedup_low")(verdict) == 1.5
    assert score_named("inverse_runtime")(verdict) == 250.0
    assert score_named("bandwidth")(verdict) == 5.0
    assert score_named("share_of_bound")(verdict) == 0.5
    assert score_named("energy")(verdict) == 4.0
    assert score_named("peak_memory")(verdict) == 2.0


def test_memory_is_the_devices_where_there_is_one_and_never_divides_by_nothing(
    verdict: Verdict,
) -> None:
    on_gpu = replace(verdict, metrics={**FIGURES, "peak_device_bytes": 2.0**28})
    assert score_named("peak_memory")(on_gpu) == 4.0
    in_place = replace(verdict, metrics={**FIGURES, "peak_device_bytes": 0.0})
    assert score_named("peak_memory")(in_place) == 1024.0


@pytest.mark.parametrize("metric", sorted(SCORES))
@pytest.mark.parametrize("status", [status for status in Status if status is not Status.CORRECT])
def test_what_is_not_correct_is_worth_nothing(
    verdict: Verdict, metric: str, status: Status
) -> None:
    assert score_named(metric)(verdict) > 0
    assert score_named(metric)(replace(verdict, status=status)) == 0.0
    unknown = replace(verdict, speedup=None, time_ms=None, metrics={})
    assert score_named(metric)(unknown) == 0.0


MODULE = """
def calls_a_minute(verdict, minutes=1):
    return 60e3 * minutes / verdict.time_ms.value

def text(verdict):
    return "fast"

def nothing(verdict):
    return None

class Bandwidth:
    @staticmethod
    def squared(verdict):
        return verdict.metrics["bandwidth_bytes_per_s"] ** 2

number = 3
"""


@pytest.fixture
def module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "my_metrics.py").write_text(MODULE)
    (tmp_path / "my_broken_metrics.py").write_text("import nothing_of_that_name\n")
    monkeypatch.syspath_prepend(tmp_path)


@pytest.mark.usefixtures("module")
def test_a_function_by_its_dotted_path(verdict: Verdict) -> None:
    assert score_named("my_metrics.calls_a_minute")(verdict) == 15_000
    assert score_named("my_metrics.Bandwidth.squared")(verdict) == 25e18
    with_arguments = {"_target_": "my_metrics.calls_a_minute", "minutes": 2}
    assert score_named(with_arguments)(verdict) == 30_000
    assert score_named({"_target_": "speedup"})(verdict) == 2.0
    assert score_named("my_metrics.nothing")(verdict) == 0.0
    # Never asked about what is not correct: it has no times.
    failed = replace(verdict, status=Status.INCORRECT, time_ms=None)
    assert score_named("my_metrics.calls_a_minute")(failed) == 0.0


@pytest.mark.usefixtures("module")
@pytest.mark.parametrize(
    ("metric", "words"),
    [
        ("spedup", ["'spedup'", "speedup, speedup_low", "dotted path"]),
        (None, ["'None'", "choose one of"]),
        ("a b.c", ["'a b.c'"]),
        (".speedup", ["'.speedup'"]),
        ("no_such_module.metric", ["no module no_such_module", "PYTHONPATH"]),
        ("my_metrics.missing", ["my_metrics has no function missing"]),
        ("my_metrics.Missing.squared", ["no function Missing.squared"]),
        ("my_metrics.number", ["no function number"]),
        ("my_broken_metrics.metric", ["cannot be imported", "nothing_of_that_name"]),
        ({"minutes": 2}, ["_target_"]),
        ({"_target_": 3}, ["_target_"]),
    ],
)
def test_a_metric_that_cannot_be_had_is_one_sentence(metric: object, words: list[str]) -> None:
    with pytest.raises(KbexpError) as caught:
        score_named(metric)
    text = str(caught.value)
    assert text.endswith(".")
    assert "\n" not in text
    for word in words:
        assert word in text


@pytest.mark.usefixtures("module")
@pytest.mark.parametrize(
    "metric",
    ["my_metrics.text", {"_target_": "my_metrics.calls_a_minute", "hours": 1}],
)
def test_a_metric_that_fails_is_one_sentence(verdict: Verdict, metric: object) -> None:
    with pytest.raises(KbexpError, match="failed on a verdict"):
        score_named(metric)(verdict)


CPU, CUDA = GpuConfig(provider=Provider.cpu), GpuConfig(provider=Provider.local)


def test_energy_that_nothing_measures_is_refused_at_the_start() -> None:
    usual, measured = EvaluatorConfig(), EvaluatorConfig(energy_s=1.0)
    check_metric("energy", CUDA, measured)
    check_metric("peak_memory", CPU, usual)
    with pytest.raises(KbexpError, match="metric=energy needs a device"):
        check_metric("energy", CPU, measured)
    with pytest.raises(KbexpError, match="set evaluator"):
        check_metric("energy", CUDA, usual)
    with pytest.raises(KbexpError, match="There is no metric"):
        check_metric("speed", CPU, usual)
