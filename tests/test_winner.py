"""The winner of a run: chosen by figures that had no part in finding it."""

from __future__ import annotations

import pytest

from kbexp.budget import Spending
from kbexp.event_records import from_record, to_record
from kbexp.events import (
    BaselineBegun,
    BaselineJudged,
    ConfirmationBegun,
    Confirmed,
    EvaluationBegun,
    Event,
    RunStarted,
    VerdictReached,
)
from kbexp.kernel import Kernel
from kbexp.summary import RunSummary
from kbexp.verdict import Interval, Phase, Phases, Status, Verdict


def verdict(
    source: str, speedup: float | None, status: Status = Status.CORRECT, task: str = "task"
) -> Verdict:
    return Verdict(
        kernel_id=Kernel(source).id,
        task_id=task,
        status=status,
        phase=Phase.TIMING,
        device="cpu",
        isolation="full",
        speedup=Interval(speedup, speedup - 0.1, speedup + 0.1) if speedup else None,
        time_ms=Interval(1 / speedup, 1 / speedup, 1 / speedup) if speedup else None,
        reference_ms=Interval(1.0, 1.0, 1.0) if speedup else None,
        phases=Phases(queue_s=100.0, build_s=1.0, correctness_s=2.0, timing_s=3.0),
    )


def searched(**speedups: float) -> RunSummary:
    summary = RunSummary()
    for source, speedup in speedups.items():
        summary.apply(EvaluationBegun(kernel_id=Kernel(source).id, number=0, source=source))
        summary.apply(VerdictReached(verdict=verdict(source, speedup)))
    return summary


def again(summary: RunSummary, source: str, speedup: float | None, **more: object) -> None:
    status = Status.CORRECT if speedup else more.pop("status", Status.INCORRECT)
    sizes = more.pop("sizes", {})
    judged = verdict(source, speedup, status, **more)  # type: ignore[arg-type]
    summary.apply(Confirmed(verdict=judged, sizes=sizes))  # type: ignore[arg-type]


def won(summary: RunSummary) -> tuple[str, float, bool] | None:
    best = summary.winner
    return best and (best.searched.source, best.score, best.confirmed is not None)


def test_without_confirmation_the_searchs_best_wins() -> None:
    assert won(RunSummary()) is None
    assert won(searched(a=1.0, b=3.0, c=2.0)) == ("b", 3.0, False)
    assert [judged.source for judged in searched(a=1.0, b=3.0, c=2.0).ranked] == ["b", "c", "a"]


def test_the_lucky_one_loses_to_the_steady_one() -> None:
    summary = searched(lucky=3.0, steady=2.9, slow=1.0)
    again(summary, "lucky", 2.5)
    again(summary, "steady", 2.8)
    assert won(summary) == ("steady", 2.8, True)
    best = summary.to_record()["best"]
    assert (best["speedup"], best["confirmed"]["speedup"]) == (2.9, 2.8)
    assert best["confirmed"]["status"] == "correct"
    assert best["shrunk"] == pytest.approx(1 - 2.8 / 2.9)
    # A kernel that was not judged again does not win by the figure that it was not chosen for.
    again(summary, "steady", 0.5)
    again(summary, "lucky", 0.4)
    assert won(summary) == ("steady", 0.5, True)


def test_a_kernel_that_is_wrong_when_judged_again_loses() -> None:
    summary = searched(flaky=3.0, right=2.0, other=1.0)
    again(summary, "flaky", None)
    assert won(summary) == ("right", 2.0, False)
    again(summary, "right", None, status=Status.TIMEOUT)
    assert won(summary) == ("other", 1.0, False)
    again(summary, "other", None, status=Status.RUNTIME_ERROR)
    assert won(summary) is None
    assert summary.to_record()["best"] is None
    assert [one["status"] for one in summary.to_record()["confirmations"]] == [
        "incorrect", "timeout", "runtime_error",
    ]  # fmt: skip


def test_one_whose_turn_is_still_to_come_ranks_by_the_search() -> None:
    summary = searched(a=1.0)
    again(summary, "a", 1.1)
    for event in (
        EvaluationBegun(kernel_id=Kernel("new").id, number=9, source="new"),
        VerdictReached(verdict=verdict("new", 5.0)),
        EvaluationBegun(kernel_id=Kernel("newer").id, number=10, source="newer"),
        VerdictReached(verdict=verdict("newer", 0.9)),
    ):
        summary.apply(event)
    assert won(summary) == ("new", 5.0, False)
    again(summary, "new", None)
    assert won(summary) == ("a", 1.1, True)


def test_an_infrastructure_error_says_nothing_but_wins_nothing_either() -> None:
    summary = searched(a=3.0, b=2.0, c=1.0)
    again(summary, "a", None, status=Status.INFRASTRUCTURE_ERROR)
    assert won(summary) == ("a", 3.0, False)
    again(summary, "b", 1.9)
    assert won(summary) == ("b", 1.9, True)


def test_one_that_lacks_the_figure_is_not_confirmed_but_has_not_failed() -> None:
    summary = searched(a=3.0, b=2.0)
    again(summary, "a", None, status=Status.CORRECT)
    assert won(summary) == ("a", 3.0, False)
    again(summary, "b", 1.9)
    assert won(summary) == ("b", 1.9, True)


def test_other_sizes_choose_no_winner() -> None:
    summary = searched(a=3.0, b=2.0)
    again(summary, "a", 2.9)
    again(summary, "a", None, task="other", sizes={"rows": 7})
    again(summary, "b", 9.0, task="other", sizes={"rows": 7})
    assert won(summary) == ("a", 2.9, True)
    assert [(one.verdict.task_id, dict(one.sizes)) for one in summary.confirmations] == [
        ("task", {}), ("other", {"rows": 7}), ("other", {"rows": 7}),
    ]  # fmt: skip


def test_what_follows_the_search_costs_money_and_counts_as_no_evaluation() -> None:
    spending = Spending()
    events: list[Event] = [
        RunStarted(about={}),
        VerdictReached(verdict=verdict("a", 1.0)),
        Confirmed(verdict=verdict("a", 1.0)),
        BaselineJudged(name="torch_compile", verdict=verdict("c", 1.0)),
        BaselineJudged(name="torch_compile", verdict=verdict("c", 1.0), cached=True),
    ]
    for event in events:
        spending.apply(event)
    assert spending.evaluations == 1
    assert spending.device_s == 3 * 6.0
    assert spending.largest_evaluation_s == 6.0


def test_the_events_of_it_are_what_they_were_when_read_back() -> None:
    events: list[Event] = [
        ConfirmationBegun(kernel_id="k", sizes={"rows": 7, "shape": [1, 2]}),
        Confirmed(verdict=verdict("a", 2.0), sizes={"rows": 7}),
        BaselineBegun(name="torch_compile"),
        BaselineJudged(name="torch_compile", verdict=verdict("a", 2.0), cached=True),
    ]
    assert [from_record(to_record(event)) for event in events] == events
    broken = to_record(events[1]) | {"sizes": 7}
    with pytest.raises(TypeError):
        from_record(broken)
