"""The fold of a run's events into counts, costs and its best kernel."""

from __future__ import annotations

import json

import pytest

from kbexp.candidate import Proposal, Usage
from kbexp.config import Metric
from kbexp.events import (
    DuplicateFound,
    EvaluationBegun,
    Event,
    ProposalReceived,
    RunEnded,
    RunStarted,
    StepDone,
    VerdictReached,
)
from kbexp.kernel import Kernel
from kbexp.summary import RunSummary, score
from kbexp.verdict import Interval, Phase, Phases, Status, Verdict


def verdict(source: str, speedup: float | None, status: Status = Status.CORRECT) -> Verdict:
    return Verdict(
        kernel_id=Kernel(source).id,
        task_id="task",
        status=status,
        phase=Phase.TIMING,
        device="cpu",
        isolation="full",
        speedup=Interval(speedup, speedup / 2, speedup * 2) if speedup else None,
        time_ms=Interval(1 / speedup, 0.5 / speedup, 2 / speedup) if speedup else None,
        phases=Phases(queue_s=100.0, build_s=1.0, correctness_s=2.0, timing_s=3.0),
    )


def judged(
    source: str, speedup: float | None, status: Status = Status.CORRECT, number: int | None = 0
) -> list[Event]:
    return [
        EvaluationBegun(kernel_id=Kernel(source).id, number=number, source=source),
        VerdictReached(verdict=verdict(source, speedup, status)),
    ]


def received(number: int, cost_usd: float | None, source: str | None = "k") -> ProposalReceived:
    kernel = None if source is None else Kernel(source)
    usage = Usage(input_tokens=10, output_tokens=5, cached_tokens=3, cost_usd=cost_usd)
    return ProposalReceived(proposal=Proposal(number, (), kernel, usage=usage))


def test_kernels_that_came_and_were_never_judged_are_counted() -> None:
    def drop(source: str, number: int, distance: float = 0.0) -> Event:
        held = Kernel(source).id
        return DuplicateFound(kernel_id=held, number=number, distance=distance)

    begun = EvaluationBegun(kernel_id=Kernel("b").id, number=1, source="b")
    steps: list[tuple[list[Event], int]] = [
        ([RunStarted(about={}), *judged("first", 1.0, number=None)], 0),
        ([received(0, None, "a"), received(1, None, "b"), received(2, None, None)], 2),
        ([received(3, None, "a"), drop("a", 3)], 2),  # the same text waits already
        ([received(4, None, "near"), drop("first", 4, 0.01)], 2),  # and is never judged
        ([received(5, None, "first"), drop("first", 5)], 2),
        ([begun], 2),
        ([VerdictReached(verdict=verdict("b", None, Status.INCORRECT))], 1),
        ([RunEnded(state="complete", reason="Time.")], 1),
        ([RunStarted(about={}), *judged("a", 2.0)], 0),  # a later session
    ]
    summary = RunSummary()
    for events, unjudged in steps:
        for event in events:
            summary.apply(event)
        assert summary.unjudged == unjudged
    assert summary.to_record()["counts"]["unjudged"] == 0


def test_counts_and_costs() -> None:
    events: list[Event] = [
        RunStarted(about={}, time=10.0),
        *judged("first", 1.0, number=None),
        received(0, 0.5),
        received(1, None),
        received(2, 0.25, None),
        *judged("fast", 2.0, number=0),
        *judged("wrong", None, Status.INCORRECT, number=1),
        DuplicateFound(kernel_id="x", number=3),
        StepDone(step=2, best_kernel_id="x", best_score=2.0),
        RunEnded(state="complete", reason="Done."),
    ]
    summary = RunSummary.of(events, gpu_usd_per_s=0.5)
    record = summary.to_record()
    assert record["counts"] == {
        "proposals": 3,
        "evaluations": 3,
        "correct": 2,
        "failed_proposals": 1,
        "duplicates": 1,
        "steps": 2,
        "unjudged": 1,
    }
    assert record["statuses"] == {"correct": 2, "incorrect": 1}
    assert record["cost"] == {
        "llm_usd": 0.75,
        "gpu_usd": pytest.approx(3 * 6 * 0.5),
        "input_tokens": 30,
        "cached_tokens": 9,
        "cached_usd": 0.0,
        "output_tokens": 15,
    }
    assert (record["state"], record["reason"]) == ("complete", "Done.")
    assert (summary.unpriced, summary.failed_proposals, summary.step) == (1, 1, 2)
    assert summary.best is not None
    assert summary.best.source == "fast"
    assert summary.best.number == 0
    assert record["best"]["speedup"] == 2.0
    json.dumps(record, allow_nan=False)


def test_a_pause_between_two_sessions_is_not_the_runs_time() -> None:
    summary = RunSummary.of(
        [
            RunStarted(about={}, time=100.0),
            StepDone(step=1, best_kernel_id=None, best_score=None, time=130.0),
            RunStarted(about={}, time=5000.0),
            RunEnded(state="stopped", reason="", time=5007.0),
        ]
    )
    assert summary.wall_s == 37.0
    assert summary.state == "stopped"


def test_the_best_is_the_mean_over_verdicts_that_say_something() -> None:
    summary = RunSummary.of([*judged("lucky", 3.0), *judged("steady", 2.0)])
    assert summary.best is not None
    assert summary.best.source == "lucky"
    for event in judged("lucky", None, Status.INFRASTRUCTURE_ERROR):
        summary.apply(event)
    assert summary.best.source == "lucky"
    assert summary.best.score == 3.0
    for event in judged("lucky", 0.5):
        summary.apply(event)
    assert summary.best.source == "steady"
    assert summary.best.score == 2.0
    assert (summary.evaluations, summary.verdicts, summary.correct) == (3, 4, 2)


def test_a_kernel_found_wrong_later_is_not_the_best() -> None:
    summary = RunSummary.of([*judged("flaky", 3.0), *judged("flaky", None, Status.INCORRECT)])
    assert summary.best is None
    assert summary.correct == 0
    assert summary.statuses[Status.INCORRECT] == 1
    for event in judged("flaky", 4.0):
        summary.apply(event)
    assert summary.best is not None
    assert summary.best.source == "flaky"
    assert summary.best.score == pytest.approx(7 / 3)


def test_an_infrastructure_error_before_a_verdict_leaves_no_trace_in_the_statuses() -> None:
    summary = RunSummary.of([*judged("k", None, Status.INFRASTRUCTURE_ERROR), *judged("k", 2.0)])
    assert summary.to_record()["statuses"] == {"correct": 1}


@pytest.mark.parametrize(
    ("metric", "expected"),
    [(Metric.speedup, 2.0), (Metric.speedup_low, 1.0), (Metric.inverse_runtime, 2000.0)],
)
def test_scores(metric: Metric, expected: float) -> None:
    assert score(verdict("k", 2.0), metric) == expected
    assert score(verdict("k", 2.0, Status.INCORRECT), metric) is None
    assert RunSummary.of(judged("k", 2.0), metric=metric).best.score == expected  # type: ignore[union-attr]
