"""What a run has come to so far: a fold over its events, the same live and from the file."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field

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
    """A correct kernel with its latest verdict and score; `evaluation` counts verdicts from 1.

    `number` is that of the proposal, None for the first kernel of a run.
    """

    verdict: Verdict
    score: float
    evaluation: int
    number: int | None
    source: str


@dataclass(slots=True, kw_only=True)
class RunSummary:
    """Counts, costs and the best kernel of a run; `apply` takes its events in their order.

    A kernel that is judged again stands with its latest verdict. The evaluator's wall time is
    that during which at least one evaluation was under way, and `gpu_usd_per_s` is its price.
    The time between a run's end and its being taken up again is nobody's. `unpriced` counts
    answers whose price is not known: where it is not 0, `llm_usd` is a lower bound.
    """

    gpu_usd_per_s: float = 0.0
    metric: Metric = Metric.speedup
    state: str = "running"
    reason: str = ""
    step: int = 0
    proposals: int = 0
    failed_proposals: int = 0
    evaluations: int = 0
    duplicates: int = 0
    statuses: Counter[Status] = field(default_factory=Counter)
    input_tokens: int = 0
    output_tokens: int = 0
    llm_usd: float = 0.0
    unpriced: int = 0
    wall_s: float = 0.0
    evaluator_s: float = 0.0
    last_time: float | None = None
    best: Judged | None = None
    _correct: dict[str, Judged] = field(default_factory=dict)
    _begun: dict[str, tuple[int | None, str]] = field(default_factory=dict)

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
    def correct(self) -> int:
        """Evaluations that ended in a correct kernel."""
        return self.statuses[Status.CORRECT]

    @property
    def gpu_usd(self) -> float:
        """Dollars for the evaluator's wall time."""
        return self.evaluator_s * self.gpu_usd_per_s

    def apply(self, event: Event) -> None:
        """Take in the next event."""
        self._clock(event)
        match event:
            case RunStarted():
                self.state, self.reason = "running", ""
                self._begun.clear()
            case ProposalReceived():
                self._proposal(event)
            case EvaluationBegun():
                self._begun[event.kernel_id] = (event.number, event.source)
            case VerdictReached():
                self._verdict(event.verdict)
            case DuplicateFound():
                self.duplicates += 1
            case StepDone():
                self.step = event.step
            case RunEnded():
                self.state, self.reason = event.state, event.reason
                self._begun.clear()
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
                "failed_proposals": self.failed_proposals,
                "steps": self.step,
            },
            "statuses": {str(status): n for status, n in sorted(self.statuses.items())},
            "best": _best_record(self.best),
            "cost": {
                "llm_usd": self.llm_usd,
                "gpu_usd": self.gpu_usd,
                "input_tokens": self.input_tokens,
                "output_tokens": self.output_tokens,
                "unpriced_proposals": self.unpriced,
            },
            "wall_s": self.wall_s,
            "evaluator_s": self.evaluator_s,
        }

    def _clock(self, event: Event) -> None:
        """Add the time since the last event, but for the time in which the run did not run."""
        resumed = isinstance(event, RunStarted) or self.state != "running"
        if self.last_time is not None and not resumed:
            elapsed_s = max(0.0, event.time - self.last_time)
            self.wall_s += elapsed_s
            self.evaluator_s += elapsed_s if self._begun else 0.0
        if self.state != "running" and not isinstance(event, RunEnded):
            self.state, self.reason = "running", ""
        self.last_time = event.time

    def _proposal(self, event: ProposalReceived) -> None:
        usage = event.proposal.usage
        self.proposals += 1
        self.failed_proposals += event.proposal.kernel is None
        self.input_tokens += usage.input_tokens
        self.output_tokens += usage.output_tokens
        self.llm_usd += usage.cost_usd or 0.0
        self.unpriced += usage.cost_usd is None

    def _verdict(self, verdict: Verdict) -> None:
        self.evaluations += 1
        self.statuses[verdict.status] += 1
        number, source = self._begun.pop(verdict.kernel_id, (None, ""))
        value = score(verdict, self.metric)
        before = self._correct.pop(verdict.kernel_id, None)
        if before is not None and not source:
            number, source = before.number, before.source
        if value is not None:
            judged = Judged(verdict, value, self.evaluations, number, source)
            self._correct[verdict.kernel_id] = judged
            if self.best is None or value > self.best.score:
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
        "speedup_low": speedup and speedup.low,
        "speedup_high": speedup and speedup.high,
        "time_ms": time_ms and time_ms.value,
    }
