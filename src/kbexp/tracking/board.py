"""The state behind the live view: a fold over a run's events."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field

from kbexp.events import (
    BaselineBegun,
    BaselineJudged,
    ConfirmationBegun,
    Confirmed,
    DeviceBilled,
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
from kbexp.tracking.figures import ratio, worth
from kbexp.tracking.plain import FIRST_KERNEL, first_begun, held_words, outcome, sizes_words
from kbexp.tracking.run_info import RunInfo
from kbexp.tracking.text import one_line
from kbexp.verdict import Status, Verdict

MAX_ROWS = 12


@dataclass(frozen=True, slots=True)
class Row:
    """One of the last things that happened; `kind` is a status, or what became of a proposal.

    `label` is the number of the proposal, or what else was judged.
    """

    kind: Status | str
    label: str
    verdict: Verdict | None = None
    detail: str = ""
    best: bool = False


@dataclass(slots=True)
class Board:
    """What the live view shows. `climb` holds (verdicts so far, best score) where the best changed.

    `doing` says what is going on where no event does, while a run starts (at `doing_since`). The
    first event after that takes its place. `searching` ends with the search. `starting` is true
    until the evaluator is ready: the run's clock stands.
    """

    run: RunInfo
    summary: RunSummary = field(init=False)
    rows: deque[Row] = field(default_factory=lambda: deque(maxlen=MAX_ROWS))
    climb: list[tuple[int, float]] = field(default_factory=list)
    asked: set[int] = field(default_factory=set)
    judging: set[str] = field(default_factory=set)
    confirming: set[str] = field(default_factory=set)
    device: str = ""
    doing: str = ""
    doing_since: float = 0.0
    starting: bool = False
    searching: bool = True

    def __post_init__(self) -> None:
        self.summary = self.run.summary()

    def apply(self, event: Event) -> None:
        """Take in the next event."""
        before = self.summary.best
        self.summary.apply(event)
        aside = isinstance(event, DeviceBilled | Noted)
        self.starting = isinstance(event, RunStarted) or (self.starting and aside)
        if not isinstance(event, RunStarted) and not aside and event.time >= self.doing_since:
            waits = isinstance(event, EvaluationBegun) and first_begun(event, self.summary)
            self.doing = FIRST_KERNEL if waits else ""
        match event:
            case RunStarted():
                self.searching = True
                self._clear()
            case RunEnded():
                self._search_over()
                self._clear()
            case ProposalAsked():
                self.asked.add(event.number)
            case ProposalReceived():
                self.asked.discard(event.proposal.number)
                if event.proposal.kernel is None:
                    number, error = event.proposal.number, one_line(event.proposal.error)
                    self.rows.append(Row("no kernel", str(number), detail=error))
            case EvaluationBegun():
                self.judging.add(event.kernel_id)
            case Noted():
                label = "" if event.number is None else str(event.number)
                self.rows.append(Row("note", label, detail=one_line(event.text, 300)))
            case DuplicateFound():
                detail = held_words(event, self.summary)
                self.rows.append(Row("duplicate", str(event.number), detail=detail))
            case VerdictReached():
                self.judging.discard(event.verdict.kernel_id)
                self._verdict(event.verdict, self.summary.best is not before)
            case ConfirmationBegun():
                self._search_over()
                self.confirming.add(event.kernel_id)
            case Confirmed():
                self.confirming.discard(event.verdict.kernel_id)
                self.rows.append(self._again(event))
            case BaselineBegun():
                self._search_over()
                self.confirming.add(event.name)
            case BaselineJudged():
                self.confirming.discard(event.name)
                name = one_line(event.name.replace("_", "."), 40)
                words = "" if event.verdict.correct else f"  {outcome(event.verdict)}"
                row = Row(event.verdict.status, "base", event.verdict, f"{name}{words}")
                self.rows.append(row)
            case _:
                pass

    def _search_over(self) -> None:
        """Forget what the search had under way: its end dropped it."""
        if self.searching:
            self.searching = False
            self._clear()

    def _clear(self) -> None:
        self.asked.clear()
        self.judging.clear()
        self.confirming.clear()

    def _again(self, event: Confirmed) -> Row:
        verdict = event.verdict
        detail = f"again with {sizes_words(event.sizes)}" if event.sizes else "again"
        searched = self.summary.speedup_of(verdict.kernel_id)
        if not verdict.correct:
            detail += f": {outcome(verdict)}"
        elif searched and not event.sizes:
            detail += f", {ratio(searched)} when searched"
        return Row(verdict.status, self._label(verdict.kernel_id), verdict, detail)

    def _label(self, kernel_id: str) -> str:
        number = self.summary.number_of(kernel_id)
        return "first" if number is None else str(number)

    def _verdict(self, verdict: Verdict, changed: bool) -> None:
        best = self.summary.best
        new_best = changed and best is not None and best.verdict is verdict
        if changed and best is not None:
            self.climb.append((self.summary.verdicts, best.score))
        self.device = one_line(verdict.device, 60)
        value = self.summary.score(verdict)
        if not verdict.correct:
            detail = outcome(verdict)
        else:
            shown = value is not None and not self.summary.by_speedup
            detail = worth(self.summary.metric, value) if shown and value else ""
        label = self._label(verdict.kernel_id)
        self.rows.append(Row(verdict.status, label, verdict, detail, best=new_best))
