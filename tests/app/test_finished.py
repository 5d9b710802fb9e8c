"""Whether a folder's run is complete, or something of it is left to do."""

from __future__ import annotations

import json
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pytest

from kbexp.app.finished import finished
from kbexp.config import (
    Baseline,
    BaselinesConfig,
    BudgetConfig,
    GpuConfig,
    LoggerConfig,
    Policy,
    RunConfig,
    TaskConfig,
)
from kbexp.events import Confirmed, EvaluationBegun, Event, RunEnded, RunStarted, VerdictReached
from kbexp.tracking import Journal, RunInfo
from kbexp.verdict import Interval, Phase, Status, Verdict

CONFIG = RunConfig(task=TaskConfig(name="t"), gpu=GpuConfig(name="cpu"))


def verdict(status: Status = Status.CORRECT) -> Verdict:
    figure = Interval(2.0, 1.9, 2.1) if status is Status.CORRECT else None
    return Verdict(
        kernel_id="k", task_id="t", status=status, phase=Phase.TIMING, device="d",
        isolation="process", speedup=figure, time_ms=figure, reference_ms=figure,
    )  # fmt: skip


def about_of(config: RunConfig, seed: int = 0) -> dict[str, Any]:
    return {"task": {"name": "t"}, "search": {"seed": seed}, "config": asdict(config)}


def events() -> list[Event]:
    return [
        RunStarted(about=json.loads(json.dumps(about_of(CONFIG)))),
        EvaluationBegun(kernel_id="k", number=None, source="s"),
        VerdictReached(verdict=verdict()),
        Confirmed(verdict=verdict()),
        RunEnded(state="complete", reason="All steps are done."),
    ]


def left(folder: Path, told: list[Event]) -> RunInfo:
    """Write a run as it would have left its folder."""
    info = RunInfo(folder=folder, name="n", project="p", config=asdict(CONFIG), launch_dir=folder)
    with Journal(info.journal) as journal:
        for event in told:
            journal.append(event)
    (folder / "best_kernel.py").write_text("s")
    record = {"wall_s": 12.5, "notes": ["odd\x1b[31m"], "device": "d"}
    (folder / "result.json").write_text(json.dumps(record))
    return info


def test_a_complete_run_is_given_back(tmp_path: Path) -> None:
    info = left(tmp_path, events())
    result = finished(info, about_of(CONFIG), CONFIG, info.summary())
    assert result is not None
    assert (result.state, result.reason) == ("complete", "All steps are done.")
    assert (result.wall_s, result.notes) == (12.5, ("odd\x1b[31m",))
    quieter = replace(CONFIG, logger=LoggerConfig(name="none"), verbose=True, run_name="other")
    assert finished(info, about_of(quieter), quieter, info.summary()) is not None


@pytest.mark.parametrize(
    "config",
    [
        replace(CONFIG, budget=BudgetConfig(name="b", evaluations=99)),
        replace(CONFIG, evaluator=replace(CONFIG.evaluator, policy=Policy.strict)),
        replace(CONFIG, baselines=BaselinesConfig(names=[Baseline.torch_compile])),
    ],
)
def test_with_other_settings_it_goes_on(tmp_path: Path, config: RunConfig) -> None:
    info = left(tmp_path, events())
    assert finished(info, about_of(config), config, info.summary()) is None


def test_another_run_is_not_this_one(tmp_path: Path) -> None:
    info = left(tmp_path, events())
    assert finished(info, about_of(CONFIG, seed=1), CONFIG, info.summary()) is None


@pytest.mark.parametrize("name", ["result.json", "best_kernel.py"])
def test_a_file_that_is_gone_is_made_again(tmp_path: Path, name: str) -> None:
    info = left(tmp_path, events())
    (tmp_path / name).unlink()
    assert finished(info, about_of(CONFIG), CONFIG, info.summary()) is None


def test_what_did_not_end_or_was_not_judged_is_left_to_do(tmp_path: Path) -> None:
    whole = events()
    undecided = Confirmed(verdict=verdict(Status.INFRASTRUCTURE_ERROR))
    stopped = RunEnded(state="stopped", reason="")
    for number, told in enumerate(
        [
            whole[:-1],
            [*whole[:-1], stopped],
            [*whole, whole[0]],
            [*whole[:3], whole[-1]],
            [*whole[:3], undecided, whole[-1]],
        ]
    ):
        folder = tmp_path / str(number)
        folder.mkdir()
        info = left(folder, told)
        assert finished(info, about_of(CONFIG), CONFIG, info.summary()) is None


@pytest.mark.parametrize("text", ["", "[]", '{"wall_s": "long"', "[" * 100_000])
def test_a_result_that_is_none_is_written_again(tmp_path: Path, text: str) -> None:
    info = left(tmp_path, events())
    (tmp_path / "result.json").write_text(text)
    assert finished(info, about_of(CONFIG), CONFIG, info.summary()) is None
