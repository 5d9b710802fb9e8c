"""What a run says at its end of how much was possible, and of doubtful conditions."""

from __future__ import annotations

from pathlib import Path

from kbexp.app.result import Result
from kbexp.app.summary_text import summary_text
from kbexp.config import GpuConfig, RunConfig
from kbexp.events import EvaluationBegun, VerdictReached
from kbexp.summary import RunSummary
from kbexp.verdict import Interval, Phase, Status, Verdict


def said(
    metrics: dict[str, float],
    environment: dict[str, str],
    metric: str = "speedup",
    number: int | None = 0,
) -> str:
    verdict = Verdict(
        kernel_id="k",
        task_id="t",
        status=Status.CORRECT,
        phase=Phase.TIMING,
        device="d",
        isolation="namespaces",
        time_ms=Interval(1.0, 1.0, 1.0),
        reference_ms=Interval(2.0, 2.0, 2.0),
        speedup=Interval(2.0, 1.9, 2.1),
        metrics=metrics,
        environment=environment,
    )
    begun = EvaluationBegun(kernel_id="k", source="", number=number)
    result = Result(
        state="complete",
        reason="Done.",
        task="softmax",
        device="d",
        config=RunConfig(gpu=GpuConfig(name="h100")),
        summary=RunSummary.of([begun, VerdictReached(verdict=verdict)], metric=metric),
        wall_s=1.0,
    )
    return summary_text(result, Path("outputs"))


def test_the_share_of_the_bound() -> None:
    metrics = {"share_of_bound": 0.87}
    vendor = said(metrics, {"bound_by": "memory", "peaks": "vendor"})
    assert "87% of what the device's memory allows, by its vendor's figures" in vendor
    measured = said(metrics, {"bound_by": "arithmetic", "peaks": "measured"})
    assert "device's arithmetic allows, measured here" in measured
    assert "bound:" not in said({}, {})
    assert "bound:" not in said({"share_of_bound": 1.3}, {"bound_by": "memory"})


def test_notes_of_what_was_odd() -> None:
    text = said({}, {"warning": "the SM clock moved", "beyond_bound": "look at\nthe kernel"})
    assert "note:   look at the kernel" in text.splitlines()
    assert "note:   the SM clock moved" in text.splitlines()


def test_what_was_maximised_is_named_with_its_unit() -> None:
    first = said({"peak_host_bytes": 2.0**29}, {}, "peak_memory").splitlines()[0]
    assert "peak_memory 2/GiB (512 MiB) is the best; 2x the reference's speed" in first
    assert "speedup 2" not in said({}, {})


def test_the_reference_is_never_called_faster_than_itself() -> None:
    first = said({}, {}, number=None).splitlines()[0]
    assert "no kernel came out faster than the reference" in first
    assert "x the reference's speed" not in first
