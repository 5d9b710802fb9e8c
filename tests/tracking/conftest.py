"""Events of a made-up run, and what trackers are told of it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from kbexp.candidate import Proposal, Usage
from kbexp.config import BudgetConfig
from kbexp.events import (
    BaselineBegun,
    BaselineJudged,
    ConfirmationBegun,
    Confirmed,
    DuplicateFound,
    EvaluationBegun,
    Event,
    ProposalAsked,
    ProposalReceived,
    RunEnded,
    RunStarted,
    StepDone,
    VerdictReached,
)
from kbexp.kernel import Kernel
from kbexp.tracking import RunInfo
from kbexp.verdict import Interval, Phase, Phases, Status, Verdict

CONFIG: dict[str, Any] = {
    "task": {"name": "softmax"},
    "gpu": {"name": "h100", "price_usd_per_s": 0.001},
    "algorithm": {"name": "ps", "num_steps": 4},
    "llm": {
        "name": "some-model",
        "max_tokens": 8192,
        "api_key_env": "SOME_KEY",
        "api_base": "https://me:hunter2@example.org/v1",
        "extra": {"api_key": "hunter2", "headers": [{"x-api-key": "hunter2"}]},
    },
    "budget": {"name": "small", "evaluations": 10},
    "metric": "speedup",
    "seed": 3,
    "project": "kbexp-tests",
}


def _verdict(
    source: str,
    status: Status = Status.CORRECT,
    *,
    speedup: float = 1.5,
    reasons: tuple[str, ...] = (),
    **more: Any,
) -> Verdict:
    correct = status is Status.CORRECT
    return Verdict(
        kernel_id=Kernel(source).id,
        task_id="t" * 32,
        status=status,
        phase=Phase.TIMING if correct else Phase.CORRECTNESS,
        device="NVIDIA H100",
        isolation="full",
        reasons=reasons,
        speedup=Interval(speedup, speedup - 0.1, speedup + 0.1) if correct else None,
        time_ms=Interval(2 / speedup, 1.9 / speedup, 2.1 / speedup) if correct else None,
        reference_ms=Interval(2.0, 1.9, 2.1) if correct else None,
        phases=Phases(build_s=1.0, correctness_s=0.5, timing_s=0.5),
        metrics={"peak_bytes": 4096.0, "odd": float("nan")} if correct else {},
        **more,
    )


def _events(reason: str = "Output 0 differs.", start: float = 1000.0) -> list[Event]:
    """A first kernel, four proposals (correct, incorrect, no kernel, duplicate), a step, an end."""
    at = iter(range(100))
    usage = Usage(input_tokens=100, output_tokens=20, cost_usd=0.25, latency_s=1.0)

    def proposal(number: int, source: str | None, error: str = "") -> list[Event]:
        kernel = None if source is None else Kernel(source)
        parents = (Kernel("first").id,)
        answer = Proposal(number, parents, kernel, error, "reply", "some-model", usage)
        return [
            ProposalAsked(number=number, parents=parents, seed=number, time=start + next(at)),
            ProposalReceived(proposal=answer, time=start + next(at)),
        ]

    def judged(number: int | None, source: str, verdict: Verdict) -> list[Event]:
        begun = EvaluationBegun(
            kernel_id=Kernel(source).id, number=number, source=source, time=start + next(at)
        )
        return [begun, VerdictReached(verdict=verdict, time=start + next(at))]

    return [
        RunStarted(
            about={
                "name": "softmax-ps-3",
                "project": "kbexp-tests",
                "config": CONFIG,
                "environment": {"git_commit": "c0ffee"},
            },
            time=start + next(at),
        ),
        *judged(None, "first", _verdict("first", speedup=1.0)),
        *proposal(0, "better"),
        *judged(0, "better", _verdict("better", speedup=1.5)),
        *proposal(1, "wrong"),
        *judged(1, "wrong", _verdict("wrong", Status.INCORRECT, reasons=(reason,))),
        *proposal(2, None, f"No code: {reason}"),
        *proposal(3, "better"),
        DuplicateFound(kernel_id=Kernel("better").id, number=3, time=start + next(at)),
        StepDone(step=1, best_kernel_id=Kernel("better").id, best_score=1.5, time=start + next(at)),
        RunEnded(state="complete", reason="All steps are done.", time=start + next(at)),
    ]


@pytest.fixture
def make_events() -> Callable[..., list[Event]]:
    return _events


@pytest.fixture
def make_verdict() -> Callable[..., Verdict]:
    return _verdict


@pytest.fixture
def run_info(tmp_path: Path) -> RunInfo:
    folder = tmp_path / "outputs" / "a run with bl\u00e4nks"
    folder.mkdir(parents=True)
    return RunInfo(
        folder=folder,
        name="softmax-ps-3",
        project="kbexp-tests",
        config=CONFIG,
        launch_dir=tmp_path,
        budget=BudgetConfig(name="small", evaluations=10),
    )


@pytest.fixture
def ended() -> list[Event]:
    """The made-up run, in which a lucky kernel loses to a steady one after the search."""
    *events, end = _events()
    assert isinstance(end, RunEnded)
    hostile = "\x1b[31m[bold]\r\u202e" + "x" * 5000
    at = iter(range(100))

    def later() -> float:
        return end.time + 0.01 * next(at)

    lucky, first = Kernel("lucky").id, Kernel("better").id
    other = {"rows": 7, hostile: hostile}
    return [
        *events,
        EvaluationBegun(kernel_id=lucky, number=4, source="lucky", time=later()),
        VerdictReached(verdict=_verdict("lucky", speedup=3.0), time=later()),
        ConfirmationBegun(kernel_id=lucky, time=later()),
        ConfirmationBegun(kernel_id=first, time=later()),
        Confirmed(verdict=_verdict("lucky", Status.INCORRECT, reasons=(hostile,)), time=later()),
        Confirmed(verdict=_verdict("better", speedup=1.25), time=later()),
        Confirmed(
            verdict=replace(_verdict("better", speedup=1.1), task_id="other"),
            sizes=other,
            time=later(),
        ),
        BaselineBegun(name="torch_compile", time=later()),
        BaselineJudged(
            name="torch_compile", verdict=_verdict("compiled", speedup=2.25), time=later()
        ),
        replace(end, time=later()),
    ]
