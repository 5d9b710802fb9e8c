"""What a run has come to so far: a fold over its events, the same live and from the file."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field

from kbexp.budget import Spending
from kbexp.config import Metric
from kbexp.errors import KbexpError
from kbexp.events import (
    BaselineJudged,
    Confirmed,
    DuplicateFound,
    EvaluationBegun,
    Event,
    ProposalReceived,
    RunEnded,
    RunStarted,
    StepDone,
    VerdictReached,
)
from kbexp.score import score_for
from kbexp.verdict import Interval, Record, Status, Verdict
from kbexp.winner import Confirmation, Judged, Winner, winner


def score(verdict: Verdict, metric: object = "speedup") -> float | None:
    """Return what a search maximises, or None where the kernel is not correct or has no figure.

    `metric` is what `kbexp.score.score_for` takes.
    """
    return score_for(metric)(verdict) or None


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

    `best` is the best kernel as the search saw it, `winner` the one that stands when the best were
    judged again; `confirmations` and `baselines` hold the verdicts that came after the search.

    `statuses` counts kernels, each with its latest verdict, `verdicts` all verdicts, `evaluations`
    those that the budget counts. An infrastructure error says nothing of a kernel that was judged
    before. What was spent is counted as the budget counts it; the device costs `gpu_usd_per_s`.
    `unjudged` counts kernels that came and have no verdict: they are being judged, or wait, or the
    search ended before their turn. `unpriced` counts answers of unknown price: where it is not 0,
    `llm_usd` is a lower bound. A metric that raises raises out of `apply`, but where the summary is
    `forgiving`: the verdict then has no score.
    """

    gpu_usd_per_s: float = 0.0
    metric: object = "speedup"
    forgiving: bool = False
    state: str = "running"
    reason: str = ""
    step: int = 0
    verdicts: int = 0
    duplicates: int = 0
    failed_proposals: int = 0
    statuses: Counter[Status] = field(default_factory=Counter)
    last_time: float | None = None
    best: Judged | None = None
    baselines: dict[str, BaselineJudged] = field(default_factory=dict)
    spending: Spending = field(default_factory=Spending)
    _kernels: dict[str, _Kernel] = field(default_factory=dict)
    _waiting: dict[str, None] = field(default_factory=dict)
    _brought: dict[int, str] = field(default_factory=dict)
    _correct: dict[str, Judged] = field(default_factory=dict)
    _confirmations: dict[tuple[str, str], Confirmation] = field(default_factory=dict)

    @classmethod
    def of(
        cls,
        events: Iterable[Event],
        *,
        gpu_usd_per_s: float = 0.0,
        metric: object = "speedup",
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
        """Evaluations that the budget counts: not second tries."""
        return self.spending.evaluations

    @property
    def correct(self) -> int:
        """Kernels that are correct."""
        return self.statuses[Status.CORRECT]

    @property
    def unjudged(self) -> int:
        """Kernels that came, are no duplicates and have no verdict."""
        return len(self._waiting)

    @property
    def input_tokens(self) -> int:
        """Tokens that the model read."""
        return self.spending.input_tokens

    @property
    def cached_tokens(self) -> int:
        """Tokens among those that the model read which came from the provider's cache."""
        return self.spending.cached_tokens

    @property
    def cached_usd(self) -> float:
        """Dollars for these tokens, a part of `llm_usd`."""
        return self.spending.cached_usd

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
        return self.spending.gpu_usd(self.gpu_usd_per_s)

    @property
    def unpriced(self) -> int:
        """Answers whose price is not known."""
        return self.spending.unpriced_calls

    @property
    def wall_s(self) -> float:
        """Seconds that the run ran, up to the last event."""
        return self.spending.wall_s

    def score(self, verdict: Verdict) -> float | None:
        """Return a verdict's worth by the run's metric, None where it has none."""
        try:
            return score(verdict, self.metric)
        except KbexpError:
            if self.forgiving:
                return None
            raise

    @property
    def by_speedup(self) -> bool:
        """True where the score is the speedup, which is shown in any case."""
        return self.metric == Metric.speedup

    @property
    def ranked(self) -> list[Judged]:
        """The kernels that are correct, by the search's scores, the best first."""
        return sorted(self._correct.values(), key=lambda judged: -judged.score)

    def speedup_of(self, kernel_id: str) -> float | None:
        """Return a correct kernel's speedup as the search saw it last."""
        judged = self._correct.get(kernel_id)
        return judged.verdict.speedup.value if judged and judged.verdict.speedup else None

    def number_of(self, kernel_id: str) -> int | None:
        """Return the number of the proposal that a kernel came with; None is the first kernel's."""
        kernel = self._kernels.get(kernel_id)
        return kernel.number if kernel else None

    @property
    def confirmations(self) -> list[Confirmation]:
        """What came of judging kernels again, the latest verdict of each on each task."""
        return list(self._confirmations.values())

    @property
    def confirmed(self) -> dict[str, Verdict]:
        """The verdicts of kernels that were judged again on the run's own task, by kernel id."""
        return {
            again.verdict.kernel_id: again.verdict
            for again in self._confirmations.values()
            if not again.sizes
        }

    @property
    def winner(self) -> Winner | None:
        """The kernel that the run has come to, or None where none is correct."""
        if not self._confirmations:
            return Winner(self.best, None, self.best.score) if self.best else None
        return winner(self.ranked, self.confirmed, self.score)

    def apply(self, event: Event) -> None:
        """Take in the next event."""
        self.spending.apply(event)
        self.last_time = event.time
        match event:
            case RunStarted():
                self.state, self.reason = "running", ""
            case ProposalReceived():
                self.failed_proposals += event.proposal.kernel is None
                if event.proposal.kernel is not None:
                    self._brought[event.proposal.number] = event.proposal.kernel.id
                    self._wait(event.proposal.kernel.id)
            case EvaluationBegun():
                kernel = self._kernels.setdefault(event.kernel_id, _Kernel(event.number, ""))
                kernel.source = event.source
                self._wait(event.kernel_id)
            case VerdictReached():
                self._verdict(event.verdict)
            case DuplicateFound():
                self.duplicates += 1
                brought = self._brought.pop(event.number, event.kernel_id)
                if brought != event.kernel_id:  # near a kernel that is held, and never to be judged
                    self._waiting.pop(brought, None)
            case StepDone():
                self.step = event.step
            case Confirmed():
                key = event.verdict.kernel_id, event.verdict.task_id
                self._confirmations[key] = Confirmation(event.verdict, event.sizes)
            case BaselineJudged():
                self.baselines[event.name] = event
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
                "failed_proposals": self.failed_proposals,
                "duplicates": self.duplicates,
                "steps": self.step,
                "unjudged": self.unjudged,
            },
            "statuses": {str(status): n for status, n in sorted(self.statuses.items()) if n},
            "best": best_record(self.winner),
            "confirmations": [confirmation_record(again) for again in self.confirmations],
            "cost": {
                "llm_usd": self.llm_usd,
                "gpu_usd": self.gpu_usd,
                "input_tokens": self.input_tokens,
                "cached_tokens": self.cached_tokens,
                "cached_usd": self.cached_usd,
                "output_tokens": self.output_tokens,
            },
            "wall_s": self.wall_s,
        }

    def _wait(self, kernel_id: str) -> None:
        kernel = self._kernels.get(kernel_id)
        if kernel is None or kernel.status is None:
            self._waiting[kernel_id] = None

    def _verdict(self, verdict: Verdict) -> None:
        self.verdicts += 1
        self._waiting.pop(verdict.kernel_id, None)
        kernel = self._kernels.setdefault(verdict.kernel_id, _Kernel(None, ""))
        if verdict.status is Status.INFRASTRUCTURE_ERROR and kernel.status is not None:
            return
        if kernel.status is not None:
            self.statuses[kernel.status] -= 1
        kernel.status = verdict.status
        self.statuses[verdict.status] += 1
        if verdict.status is Status.INFRASTRUCTURE_ERROR:
            return
        value = self.score(verdict)
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


def best_record(best: Winner | None) -> Record | None:
    """Return the winner as a JSON object: the search's figures, and beside them the confirmed."""
    if best is None:
        return None
    judged, again = best.searched, best.confirmed
    return {
        "kernel_id": judged.verdict.kernel_id,
        "number": judged.number,
        "score": best.score,
        **figures_record(judged.verdict),
        "confirmed": again and {**figures_record(again), "status": str(again.status)},
        "shrunk": best.shrunk,
    }


def confirmation_record(again: Confirmation) -> Record:
    """Return what judging a kernel again came to as a JSON object."""
    verdict = again.verdict
    return {
        "kernel_id": verdict.kernel_id,
        "sizes": dict(again.sizes),
        "status": str(verdict.status),
        **figures_record(verdict),
        "reasons": list(verdict.reasons),
    }


def figures_record(verdict: Verdict) -> Record:
    """Return a verdict's speedup and times as a JSON object; null stands for what there is not."""
    return {
        **interval_record("speedup", verdict.speedup),
        "time_ms": verdict.time_ms and finite(verdict.time_ms.value),
        "reference_ms": verdict.reference_ms and finite(verdict.reference_ms.value),
    }


def interval_record(name: str, interval: Interval | None) -> Record:
    """Return a figure and the ends of its interval under three keys."""
    return {
        name: interval and interval.value,
        f"{name}_low": interval and finite(interval.low),
        f"{name}_high": interval and finite(interval.high),
    }


def finite(value: float) -> float | None:
    """Return None for an infinity or NaN, which JSON has no number for."""
    return value if math.isfinite(value) else None
