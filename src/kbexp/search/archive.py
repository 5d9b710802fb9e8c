"""The archive: everything that a search knows, as a fold over the events of its run.

`Archive.apply` is the only way in. The loop records an event, then applies it; reading a journal
back applies the same events and ends in the same state. Answers arrive in any order, so the
archive puts them in order itself: a proposal becomes a candidate, or a duplicate of one, only
when all proposals with a lower number have been dealt with. Which of two equal proposals is the
candidate, and how candidates are numbered, therefore do not depend on which thread was faster.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from kbexp.budget import Spending
from kbexp.candidate import Candidate, Proposal
from kbexp.events import (
    DuplicateFound,
    EvaluationBegun,
    Event,
    ProposalAsked,
    ProposalReceived,
    StepDone,
    VerdictReached,
)
from kbexp.kernel import Kernel
from kbexp.verdict import Status, Verdict

MAX_ATTEMPTS = 2
"""How often a kernel goes to the evaluator before an infrastructure error is taken as final."""


@dataclass(frozen=True, slots=True)
class StepStart:
    """Where the current step began: its first proposal's number, and the candidates before it."""

    number: int = 0
    candidates: int = 1


@dataclass(frozen=True, slots=True)
class Retest:
    """A kernel that is judged once more on purpose; its verdicts from `first` on count for it."""

    kernel_id: str
    first: int


def scored(verdicts: Iterable[Verdict]) -> list[Verdict]:
    """Return the verdicts that say something of the kernel: all but infrastructure errors."""
    return [v for v in verdicts if v.status is not Status.INFRASTRUCTURE_ERROR]


class Archive:
    """The state of a search. Read its attributes freely; change them through `apply` alone.

    `candidates` by kernel id, in order; `held` every kernel that has gone to the evaluator, a
    candidate yet or not; `asked`, `proposals` and `duplicates` by proposal number; `verdicts` by
    kernel id; `undecided` the answers whose kernel is neither held nor found a duplicate;
    `unjudged` the ids of held kernels that still want a verdict; `settled` the number below which
    every proposal is dealt with; `steps_done`, `step_start`, `retest` and `spending`.
    """

    def __init__(self, events: Iterable[Event] = ()) -> None:
        self.candidates: dict[str, Candidate] = {}
        self.held: dict[str, Kernel] = {}
        self.asked: dict[int, ProposalAsked] = {}
        self.proposals: dict[int, Proposal] = {}
        self.duplicates: dict[int, DuplicateFound] = {}
        self.verdicts: dict[str, list[Verdict]] = {}
        self.undecided: dict[int, Proposal] = {}
        self.unjudged: dict[str, None] = {}
        self.settled = 0
        self.steps_done = 0
        self.step_start = StepStart()
        self.retest: Retest | None = None
        self.spending = Spending()
        for event in events:
            self.apply(event)

    def apply(self, event: Event) -> None:
        """Take one event in; raises ValueError where it cannot follow those before it."""
        match event:
            case ProposalAsked():
                self.asked[event.number] = event
            case ProposalReceived():
                self._receive(event.proposal)
            case DuplicateFound():
                self._proposal(event.number)
                self.duplicates[event.number] = event
                self.undecided.pop(event.number, None)
            case EvaluationBegun():
                self._begin(event)
            case VerdictReached():
                self._judge(event.verdict)
            case StepDone():
                self.steps_done = event.step
                self.step_start = StepStart(self.settled, len(self.candidates))
                self.retest = None
            case _:
                pass
        self.spending.apply(event)
        self._settle()

    def duplicate_due(self) -> Proposal | None:
        """Return the next proposal whose kernel is a candidate's already, if not yet recorded."""
        proposal = self.proposals.get(self.settled)
        if proposal is None or proposal.kernel is None:
            return None
        return proposal if proposal.kernel.id in self.candidates else None

    def number_of(self, kernel_id: str) -> int | None:
        """Return the number of the proposal that brought a candidate; None for the first kernel."""
        candidate = self.candidates.get(kernel_id)
        if candidate is not None:
            return candidate.proposal.number if candidate.proposal else None
        return min(n for n, p in self.proposals.items() if p.kernel and p.kernel.id == kernel_id)

    def _proposal(self, number: int) -> Proposal:
        if number not in self.proposals:
            raise ValueError(f"proposal {number} is used before it was received")
        return self.proposals[number]

    def _receive(self, proposal: Proposal) -> None:
        if proposal.number not in self.asked:
            raise ValueError(f"proposal {proposal.number} was received but never asked")
        if proposal.number in self.proposals:
            raise ValueError(f"proposal {proposal.number} was received twice")
        self.proposals[proposal.number] = proposal
        if proposal.kernel is not None and proposal.kernel.id not in self.held:
            self.undecided[proposal.number] = proposal

    def _begin(self, event: EvaluationBegun) -> None:
        kernel = Kernel(event.source)
        if kernel.id != event.kernel_id:
            raise ValueError(f"the source of kernel {event.kernel_id} hashes to {kernel.id}")
        if event.number is not None:
            self._proposal(event.number)
        if kernel.id not in self.held:
            self.held[kernel.id] = kernel
            self.verdicts[kernel.id] = []
            self.unjudged[kernel.id] = None
            same = [n for n, p in self.undecided.items() if p.kernel == kernel]
            for number in same:
                del self.undecided[number]
            if event.number is None:
                self._add_candidate(kernel, None)
        elif kernel.id not in self.unjudged:  # it has its verdict: this is one more, on purpose
            self.retest = Retest(kernel.id, len(self.verdicts[kernel.id]))
            self.unjudged[kernel.id] = None

    def _judge(self, verdict: Verdict) -> None:
        if verdict.kernel_id not in self.held:
            raise ValueError(f"kernel {verdict.kernel_id} has a verdict but was never begun")
        verdicts = self.verdicts[verdict.kernel_id]
        verdicts.append(verdict)
        retested = self.retest is not None and self.retest.kernel_id == verdict.kernel_id
        since = verdicts[self.retest.first :] if retested and self.retest else verdicts
        if scored(since) or len(since) >= MAX_ATTEMPTS:
            self.unjudged.pop(verdict.kernel_id, None)

    def _settle(self) -> None:
        """Deal with received proposals in the order of their numbers, as far as is known."""
        while (proposal := self.proposals.get(self.settled)) is not None:
            kernel = proposal.kernel
            if kernel is not None and proposal.number not in self.duplicates:
                if kernel.id in self.candidates or kernel.id not in self.held:
                    return
                self._add_candidate(kernel, proposal)
            self.settled += 1

    def _add_candidate(self, kernel: Kernel, proposal: Proposal | None) -> None:
        order = len(self.candidates)
        self.candidates[kernel.id] = Candidate(kernel, order, proposal, self.verdicts[kernel.id])
