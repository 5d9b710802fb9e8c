"""What follows a search, with a real evaluator: kernels judged again, other sizes, baselines."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from kernels import COMPILES_SOON, KERNEL, TASK, kernel, quick

from kbexp.app import baselines
from kbexp.app.after import After, affordable
from kbexp.app.baseline_cache import BaselineCache
from kbexp.app.baselines import (
    Comparing,
    baseline_settings,
    check_baselines,
    chosen_baselines,
    compiled_reference,
)
from kbexp.app.confirm import Confirming, Interrupted, Sized, check_confirm, confirm_settings
from kbexp.app.confirm import other_sizes as load_sizes
from kbexp.app.result import over_baseline
from kbexp.budget import Spending
from kbexp.config import (
    Baseline,
    BaselinesConfig,
    BudgetConfig,
    ConfirmConfig,
    ConfirmEvaluatorConfig,
    EvaluatorConfig,
    GpuConfig,
    Policy,
    Provider,
    RunConfig,
    TaskConfig,
)
from kbexp.errors import KbexpError
from kbexp.evaluation import open_evaluator
from kbexp.evaluation.local import LocalEvaluator
from kbexp.events import Confirmed, EvaluationBegun, Event, VerdictReached
from kbexp.kernel import Kernel
from kbexp.summary import RunSummary
from kbexp.task import Task
from kbexp.verdict import Interval, Phase, Phases, Status, Verdict

SMALL = Task("small", TASK)
COMPILED = Task("small", f"import os\nos.environ |= {COMPILES_SOON}\n{TASK}")
OTHER = Task("small", TASK.replace("rows = 64", "rows = 48"))
SETTINGS = quick(correctness_trials=1)
SLOW = kernel("time.sleep(30)\nreturn x")
RIGHT = Kernel(KERNEL)
ALSO_RIGHT = kernel("return torch.softmax(x * self.weight, -1)")
WRONG = kernel("return torch.softmax(x, -1)")
ONE_SIZE = kernel("assert x.shape[0] == 64\nreturn torch.softmax(x * self.weight, -1)")


@pytest.fixture(scope="module")
def evaluator(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalEvaluator]:
    settings = replace(SETTINGS, cache_dir=str(tmp_path_factory.mktemp("builds")))
    with open_evaluator(GpuConfig(name="cpu"), settings) as opened:
        assert isinstance(opened, LocalEvaluator)
        yield opened


class Fold:
    """A run's summary and the events that made it, after a search that found these kernels."""

    def __init__(self, *found: Kernel) -> None:
        self.events: list[Event] = []
        self.summary = RunSummary()
        for place, each in enumerate(found):
            self.record(EvaluationBegun(kernel_id=each.id, number=place, source=each.source))
            self.record(VerdictReached(verdict=said(each.id, 10.0 - place)))

    def record(self, event: Event) -> None:
        self.events.append(event)
        self.summary.apply(event)

    def again(self) -> list[tuple[str, str, Status]]:
        return [
            (event.verdict.kernel_id, event.verdict.task_id, event.verdict.status)
            for event in self.events
            if isinstance(event, Confirmed)
        ]


def said(kernel_id: str, speedup: float | None, status: Status = Status.CORRECT) -> Verdict:
    figure = Interval(speedup, speedup, speedup) if speedup else None
    return Verdict(
        kernel_id=kernel_id,
        task_id=SMALL.id,
        status=status,
        phase=Phase.TIMING,
        device="cpu",
        isolation="process",
        speedup=figure,
        time_ms=figure,
        reference_ms=figure,
        phases=Phases(timing_s=1.0),
        environment={"torch": "2", "load": "high"},
    )


def confirming(fold: Fold, evaluator: Any, **more: Any) -> Confirming:
    values: dict[str, Any] = {
        "evaluator": evaluator,
        "settings": SETTINGS,
        "summary": fold.summary,
        "record": fold.record,
        "stop": threading.Event(),
        "affordable": lambda: 99,
    }
    return Confirming(**(values | more))


def test_the_best_are_judged_again_and_one_that_fails_gives_its_place_to_the_next(
    evaluator: LocalEvaluator,
) -> None:
    fold = Fold(WRONG, RIGHT, ALSO_RIGHT, ONE_SIZE)
    confirming(fold, evaluator).best(SMALL, 2)
    assert {kernel_id: status for kernel_id, _, status in fold.again()} == {
        WRONG.id: Status.INCORRECT, RIGHT.id: Status.CORRECT, ALSO_RIGHT.id: Status.CORRECT,
    }  # fmt: skip
    winner = fold.summary.winner
    assert winner is not None
    assert winner.searched.source in (RIGHT.source, ALSO_RIGHT.source)
    assert winner.confirmed is not None
    assert winner.score == winner.confirmed.speedup.value  # type: ignore[union-attr]
    # A run that goes on judges nothing twice.
    before = len(fold.events)
    confirming(fold, evaluator).best(SMALL, 2)
    assert len(fold.events) == before


def test_other_sizes_mark_a_kernel_and_drop_none(evaluator: LocalEvaluator) -> None:
    fold = Fold(ONE_SIZE, RIGHT)
    work = confirming(fold, evaluator)
    work.best(SMALL, 2)
    sizes = [Sized(OTHER, {"rows": 48}), Sized(Task("bad", TASK + "raise ValueError"), {"x": 1})]
    work.elsewhere(sizes, 2)
    assert sorted(fold.again()[2:4]) == sorted(
        [
            (ONE_SIZE.id, OTHER.id, Status.RUNTIME_ERROR),
            (RIGHT.id, OTHER.id, Status.CORRECT),
        ]
    )
    # A task that cannot be judged on is not the kernels' fault.
    assert {status for *_, status in fold.again()[4:]} == {Status.INFRASTRUCTURE_ERROR}
    records = fold.summary.to_record()["confirmations"]
    assert [record["sizes"] for record in records[2:4]] == [{"rows": 48}] * 2
    assert fold.summary.winner is not None
    assert fold.summary.winner.confirmed is not None


def test_the_settings_of_one_kernel_reach_the_judge(evaluator: LocalEvaluator) -> None:
    verdict = evaluator.evaluate(SMALL, SLOW, replace(SETTINGS, run_timeout_s=1.0))
    assert verdict.status is Status.TIMEOUT
    assert "within 1 s" in verdict.reasons[0]
    assert evaluator.evaluate(SMALL, RIGHT).correct


def test_a_stop_ends_it_and_what_came_before_stays(evaluator: LocalEvaluator) -> None:
    fold = Fold(RIGHT, SLOW)
    stop = threading.Event()

    def record(event: Event) -> None:
        fold.record(event)
        if isinstance(event, Confirmed):
            stop.set()

    limited = replace(SETTINGS, run_timeout_s=1.0)
    with pytest.raises(Interrupted):
        confirming(fold, evaluator, stop=stop, record=record, settings=limited).best(SMALL, 2)
    assert fold.again() == [(RIGHT.id, SMALL.id, Status.CORRECT)]
    config = RunConfig(evaluator=SETTINGS, gpu=GpuConfig(name="cpu"))
    after = After(
        config=config, evaluator=evaluator, summary=fold.summary, record=fold.record, stop=stop
    )
    assert not after.run(SMALL, [])
    assert len(fold.again()) == 1


def test_money_that_does_not_last_judges_fewer(evaluator: LocalEvaluator) -> None:
    fold = Fold(RIGHT, ALSO_RIGHT)
    work = confirming(fold, evaluator, affordable=lambda: 1)
    work.best(SMALL, 2)
    assert fold.again() == [(RIGHT.id, SMALL.id, Status.CORRECT)]
    assert "budget.gpu_usd" in work.notes[0]


def test_what_is_affordable() -> None:
    spending = Spending(device_s=10.0, largest_evaluation_s=2.0)
    gpu = GpuConfig(name="g", price_usd_per_s=0.5)
    limited = RunConfig(gpu=gpu, budget=BudgetConfig(name="b", gpu_usd=9.1))
    assert affordable(limited, spending) == 2
    assert affordable(RunConfig(gpu=gpu), spending) > 1000
    limited.gpu.price_usd_per_s = 0.0
    assert affordable(limited, spending) > 1000


def test_no_correct_kernel_and_nothing_asked_for_are_nothing_to_do(
    evaluator: LocalEvaluator,
) -> None:
    config = RunConfig(confirm=ConfirmConfig(kernels=0), evaluator=SETTINGS)
    for fold in (Fold(), Fold(RIGHT)):
        before = len(fold.events)
        stop = threading.Event()
        after = After(
            config=config, evaluator=evaluator, summary=fold.summary, record=fold.record, stop=stop
        )
        assert after.run(SMALL, [])
        assert len(fold.events) == before


def test_settings_are_a_notch_above_the_runs_own_but_for_what_is_given() -> None:
    own = EvaluatorConfig(name="own", min_pairs=6, max_pairs=10, timing_s=2.0, target_width=0.05)
    more = confirm_settings(own, ConfirmEvaluatorConfig())
    assert (more.min_pairs, more.max_pairs, more.timing_s, more.target_width) == (12, 20, 4, 0.025)
    assert more.run_timeout_s == own.run_timeout_s
    given = confirm_settings(own, ConfirmEvaluatorConfig(min_pairs=50, timing_s=1.0))
    assert (given.min_pairs, given.max_pairs, given.timing_s) == (50, 50, 1.0)
    with pytest.raises(KbexpError, match=r"confirm\.kernels"):
        check_confirm(ConfirmConfig(kernels=-1))
    with pytest.raises(KbexpError, match=r"confirm\.evaluator\.min_pairs"):
        check_confirm(ConfirmConfig(evaluator=ConfirmEvaluatorConfig(min_pairs=0)))


def test_sizes_are_checked_before_anything_starts() -> None:
    config = RunConfig(task=TaskConfig(name="softmax", sizes={"cols": 64}))
    config.task.confirm_sizes = [{"rows": 7}, {"rows": 7}, {"cols": 64}, {"rows": 7, "cols": 9}]
    from kbexp.tasks.load import load

    task = load(config.task, config.gpu.sizes)
    found = load_sizes(config, task)
    assert [dict(sized.sizes) for sized in found] == [{"rows": 7}, {"rows": 7, "cols": 9}]
    assert "cols = 64" in found[0].task.source
    config.task.confirm_sizes = [{"rwos": 7}]
    with pytest.raises(KbexpError, match="rwos"):
        load_sizes(config, task)


# Baselines


def comparing(fold: Fold, evaluator: Any, cache: BaselineCache | None, **more: Any) -> Comparing:
    values: dict[str, Any] = {
        "evaluator": evaluator,
        "settings": SETTINGS,
        "cache": cache,
        "summary": fold.summary,
        "record": fold.record,
        "stop": threading.Event(),
        "affordable": lambda: 99,
    }
    return Comparing(**(values | more))


def test_a_baseline_has_time_to_compile_and_breaks_no_policy() -> None:
    own = EvaluatorConfig(name="own", run_timeout_s=60.0, policy=Policy.strict)
    changed = baseline_settings(own, BaselinesConfig())
    assert (changed.run_timeout_s, changed.policy) == (300.0, Policy.any)
    assert baseline_settings(own, BaselinesConfig(run_timeout_s=5.0)).run_timeout_s == 60.0
    with pytest.raises(KbexpError, match=r"baselines\.run_timeout_s"):
        check_baselines(BaselinesConfig(run_timeout_s=0.0))


def test_a_processor_is_spared_the_compiling_unless_asked() -> None:
    cpu, cuda = GpuConfig(provider=Provider.cpu), GpuConfig(provider=Provider.local)
    assert chosen_baselines(BaselinesConfig(), cpu) == ["eager"]
    assert chosen_baselines(BaselinesConfig(), cuda) == ["eager", "torch_compile"]
    asked = BaselinesConfig(names=[Baseline.torch_compile, Baseline.torch_compile])
    assert chosen_baselines(asked, cpu) == ["torch_compile"]


@pytest.mark.slow
def test_the_reference_under_torch_compile_is_judged_as_a_kernel(
    evaluator: LocalEvaluator, tmp_path: Path
) -> None:
    like = evaluator.evaluate(COMPILED, RIGHT)
    settings = replace(SETTINGS, run_timeout_s=200.0)
    judged = []
    for _ in range(2):
        fold = Fold(RIGHT)
        work = comparing(fold, evaluator, BaselineCache(tmp_path), settings=settings)
        work.judge(Baseline.torch_compile, COMPILED, like)
        judged.append(fold.summary.baselines["torch_compile"])
        assert judged[-1].verdict.correct, judged[-1].verdict
        assert judged[-1].verdict.kernel_id == compiled_reference(COMPILED).id
    assert [each.cached for each in judged] == [False, True]
    assert judged[0].verdict.speedup == judged[1].verdict.speedup
    assert fold.summary.winner is not None
    over = over_baseline(fold.summary.winner, judged[1].verdict)
    assert over is not None
    assert over.low < over.value < over.high


def test_a_baseline_that_fails_costs_a_note(
    evaluator: LocalEvaluator, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(baselines, "COMPILED", "raise RuntimeError('no ModelNew here')\n")
    fold = Fold(RIGHT)
    like = said(RIGHT.id, 1.0)
    work = comparing(fold, evaluator, BaselineCache(tmp_path))
    work.judge(Baseline.torch_compile, SMALL, like)
    work.judge(Baseline.torch_compile, SMALL, like)
    work.judge(Baseline.eager, SMALL, like)
    assert fold.summary.baselines["torch_compile"].verdict.status is Status.RUNTIME_ERROR
    assert len(work.notes) == 1
    assert "torch_compile" in work.notes[0]
    assert not list(tmp_path.iterdir())
    assert fold.summary.winner is not None
    assert over_baseline(fold.summary.winner, said("", None, Status.TIMEOUT)) is None
