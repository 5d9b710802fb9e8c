"""What a run has come to so far: a fold over its events, the same live and from the file."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field

from kbexp.budget import Spending
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
from kbexp.verdict import Record, Status, Verdict


def score(verdict: Verdict, metric: Metric = Metric.speedup) -> float | None:
    """Return what a search maximises, or None where the kernel is not correct or was not timed.

    `inverse_runtime` is calls of `forward` a second.
    """
    if not verdict.correct:
        return None
    if metric is Metric.inverse_runtime:
        time_ms = verdict.time_ms
        return 1e3 / time_ms.value if time_ms is not None and time_ms.value > 0 else None
    if verdict.speedup is None:
        return None
    return verdict.speedup.low if metric is Metric.speedup_low else verdict.speedup.value


@dataclass(frozen=True, slots=True)
class Judged:
    """A correct kernel with its latest verdict; `score` is the mean over all that say something.

    `evaluation` counts verdicts from 1. `number` is that of the proposal, None for the first
    kernel of a run.
    """

    verdict: Verdict
    score: float
    evaluation: int
    number: int | None
    source: str


@dataclass(slots=True)
class _Kernel:
    """What is known of a kernel that went to the evaluator."""

    number: int | None
    source: str
    status: Status | None = None
    scores: list[float] = field(default_factory=list)


@dataclass(slots=True, kw_only=True)
class RunSummary:
    """Counts, costs and the best kernel of a run; `apply` takes its events in their order.

    `evaluations` and `statuses` count kernels, each with its latest verdict, `verdicts` all
    verdicts. An infrastructure error says nothing of a kernel that was judged before. What was
    spent is counted as the budget counts it; the device costs `gpu_usd_per_s`. `unpriced` counts
    answers of unknown price: where it is not 0, `llm_usd` is a lower bound.
    """

    gpu_usd_per_s: float = 0.0
    metric: Metric = Metric.speedup
    state: str = "running"
    reason: str = ""
    step: int = 0
    verdicts: int = 0
    duplicates: int = 0
    failed_proposals: int = 0
    statuses: Counter[Status] = field(default_factory=Counter)
    last_time: float | None = None
    best: Judged | None = None
    spending: Spending = field(default_factory=Spending)
    _kernels: dict[str, _Kernel] = field(default_factory=dict)
    _correct: dict[str, Judged] = field(default_factory=dict)

    @classmethod
    def of(
        cls,
        events: Iterable[Event],
        *,
        gpu_usd_per_s: float = 0.0,
        metric: Metric = Metric.speedup,
    ) -> RunSummary:
        """Fold a whole journal."""
        summary = cls(gpu_usd_per_s=gpu_usd_per_s, metric=metric)
        for event in events:
            summary.apply(event)
        return summary

    @property
    def proposals(self) -> int:
        """Answers of the model, failed ones too."""
        return self.spending.proposals

    @property
    def evaluations(self) -> int:
        """Kernels that have a verdict."""
        return self.spending.evaluations

    @property
    def correct(self) -> int:
        """Kernels that are correct."""
        return self.statuses[Status.CORRECT]

    @property
    def input_tokens(self) -> int:
        """Tokens that the model read."""
        return self.spending.input_tokens

    @property
    def output_tokens(self) -> int:
        """Tokens that the model wrote."""
        return self.spending.output_tokens

    @property
    def llm_usd(self) -> float:
        """Dollars for the model."""
        return self.spending.llm_usd

    @property
    def gpu_usd(self) -> float:
        """Dollars for the device's time."""
        return self.spending.device_s * self.gpu_usd_per_s

    @property
    def unpriced(self) -> int:
        """Answers whose price is not known."""
        return self.spending.unpriced_calls

    @property
    def wall_s(self) -> float:
        """Seconds that the run ran, up to the last event."""
        return self.spending.wall_s

    def apply(self, event: Event) -> None:
        """Take in the next event."""
        self.spending.apply(event)
        self.last_time = event.time
        match event:
            case RunStarted():
                self.state, self.reason = "running", ""
            case ProposalReceived():
                self.failed_proposals += event.proposal.kernel is None
            case EvaluationBegun():
                kernel = self._kernels.setdefault(event.kernel_id, _Kernel(event.number, ""))
                kernel.source = event.source
            case VerdictReached():
                self._verdict(event.verdict)
            case DuplicateFound():
                self.duplicates += 1
            case StepDone():
                self.step = event.step
            case RunEnded():
                self.state, self.reason = event.state, event.reason
            case _:
                pass

    def to_record(self) -> Record:
        """Return counts, best, costs and time as a JSON object."""
        return {
            "state": self.state,
            "reason": self.reason,
            "counts": {
                "proposals": self.proposals,
                "evaluations": self.evaluations,
                "correct": self.correct,
                "duplicates": self.duplicates,
            },
            "statuses": {str(status): n for status, n in sorted(self.statuses.items()) if n},
            "best": _best_record(self.best),
            "cost": {
                "llm_usd": self.llm_usd,
                "gpu_usd": self.gpu_usd,
                "input_tokens": self.input_tokens,
                "output_tokens": self.output_tokens,
            },
            "wall_s": self.wall_s,
        }

    def _verdict(self, verdict: Verdict) -> None:
        self.verdicts += 1
        kernel = self._kernels.setdefault(verdict.kernel_id, _Kernel(None, ""))
        if verdict.status is Status.INFRASTRUCTURE_ERROR and kernel.status is not None:
            return
        if kernel.status is not None:
            self.statuses[kernel.status] -= 1
        kernel.status = verdict.status
        self.statuses[verdict.status] += 1
        if verdict.status is Status.INFRASTRUCTURE_ERROR:
            return
        value = score(verdict, self.metric)
        kernel.scores.append(value or 0.0)
        before = self._correct.pop(verdict.kernel_id, None)
        if value is None:
            kernel.source = ""  # Most kernels fail, and their texts would fill the memory.
        else:
            mean = math.fsum(kernel.scores) / len(kernel.scores)
            judged = Judged(verdict, mean, self.verdicts, kernel.number, kernel.source)
            self._correct[verdict.kernel_id] = judged
            if self.best is None or mean > self.best.score:
                self.best = judged
        if before is not None and before is self.best:
            self.best = max(self._correct.values(), key=lambda j: j.score, default=None)


def _best_record(best: Judged | None) -> Record | None:
    if best is None:
        return None
    speedup, time_ms = best.verdict.speedup, best.verdict.time_ms
    return {
        "kernel_id": best.verdict.kernel_id,
        "number": best.number,
        "evaluation": best.evaluation,
        "score": best.score,
        "speedup": speedup and speedup.value,
        "speedup_low": speedup and _finite(speedup.low),
        "speedup_high": speedup and _finite(speedup.high),
        "time_ms": time_ms and time_ms.value,
    }


def _finite(value: float) -> float | None:
    """Return None for an open end of an interval, which JSON has no number for."""
    return value if math.isfinite(value) else None
