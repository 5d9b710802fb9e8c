"""The state behind the live view: a fold over a run's events."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field

from kbexp.events import (
    BaselineBegun,
    BaselineJudged,
    ConfirmationBegun,
    Confirmed,
    DuplicateFound,
    EvaluationBegun,
    Event,
    Noted,
    ProposalAsked,
    ProposalReceived,
    RunEnded,
    RunStarted,
    VerdictReached,
)
from kbexp.summary import RunSummary
from kbexp.tracking.figures import ratio
from kbexp.tracking.plain import outcome, sizes_words
from kbexp.tracking.run_info import RunInfo
from kbexp.tracking.text import one_line
from kbexp.verdict import Status, Verdict

MAX_ROWS = 12


@dataclass(frozen=True, slots=True)
class Row:
    """One of the last things that happened; `kind` is a status, or what became of a proposal.

    `mark` stands in the place of the number where a verdict is none of the search's.
    """

    kind: Status | str
    evaluation: int | None = None
    verdict: Verdict | None = None
    detail: str = ""
    best: bool = False
    mark: str = ""


@dataclass(slots=True)
class Board:
    """What the live view shows. `climb` holds (evaluation, best score) where the best changed."""

    run: RunInfo
    summary: RunSummary = field(init=False)
    rows: deque[Row] = field(default_factory=lambda: deque(maxlen=MAX_ROWS))
    climb: list[tuple[int, float]] = field(default_factory=list)
    asked: set[int] = field(default_factory=set)
    judging: set[str] = field(default_factory=set)
    confirming: set[str] = field(default_factory=set)
    device: str = ""

    def __post_init__(self) -> None:
        self.summary = self.run.summary()

    def apply(self, event: Event) -> None:
        """Take in the next event."""
        before = self.summary.best
        self.summary.apply(event)
        match event:
            case RunStarted() | RunEnded():
                self.asked.clear()
                self.judging.clear()
                self.confirming.clear()
            case ProposalAsked():
                self.asked.add(event.number)
            case ProposalReceived():
                self.asked.discard(event.proposal.number)
                if event.proposal.kernel is None:
                    self.rows.append(Row("no kernel", detail=one_line(event.proposal.error)))
            case EvaluationBegun():
                self.judging.add(event.kernel_id)
            case Noted():
                self.rows.append(Row("note", detail=one_line(event.text, 300)))
            case DuplicateFound():
                near = f"lies {event.distance:.2g} from" if event.distance else "is"
                detail = f"proposal {event.number} {near} a kernel held already"
                self.rows.append(Row("duplicate", detail=detail))
            case VerdictReached():
                self.judging.discard(event.verdict.kernel_id)
                self._verdict(event.verdict, self.summary.best is not before)
            case ConfirmationBegun():
                self.confirming.add(event.kernel_id)
            case Confirmed():
                self.confirming.discard(event.verdict.kernel_id)
                self.rows.append(self._again(event))
            case BaselineBegun():
                self.confirming.add(event.name)
            case BaselineJudged():
                self.confirming.discard(event.name)
                name = one_line(event.name.replace("_", "."), 40)
                words = "" if event.verdict.correct else f"  {outcome(event.verdict)}"
                row = Row(event.verdict.status, None, event.verdict, f"{name}{words}", mark="base")
                self.rows.append(row)
            case _:
                pass

    def _again(self, event: Confirmed) -> Row:
        verdict = event.verdict
        if not verdict.correct:
            detail = outcome(verdict)
        elif event.sizes:
            detail = f"with {sizes_words(event.sizes)}"
        else:
            searched = self.summary.speedup_of(verdict.kernel_id)
            detail = f"{ratio(searched)} when searched" if searched else ""
        return Row(verdict.status, None, verdict, detail, mark="again")

    def _verdict(self, verdict: Verdict, changed: bool) -> None:
        best = self.summary.best
        new_best = changed and best is not None and best.verdict is verdict
        if changed and best is not None:
            self.climb.append((self.summary.verdicts, best.score))
        self.device = one_line(verdict.device, 60)
        detail = "" if verdict.correct else outcome(verdict)
        self.rows.append(Row(verdict.status, self.summary.verdicts, verdict, detail, best=new_best))
