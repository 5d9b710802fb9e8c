"""The archive: everything that a search knows, as a fold over the events of its run.

`Archive.apply` is the only way in. The loop records an event, then applies it; reading a journal
back applies the same events and ends in the same state.

Answers arrive in any order. An ordered archive, that of a search in steps, puts them in order: a
proposal becomes a candidate, or a duplicate of one, only when all proposals with a lower number
have been dealt with, so that which of two equal proposals is the candidate, and how candidates are
numbered, do not depend on which thread was faster. Any other takes them in the journal's order.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace

from kbexp.budget import Spending
from kbexp.candidate import Candidate, Proposal
from kbexp.events import (
    DuplicateFound,
    EvaluationBegun,
    Event,
    ProposalAsked,
    ProposalReceived,
    StepDone,
    SummaryWritten,
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


def scored(verdicts: Iterable[Verdict]) -> list[Verdict]:
    """Return the verdicts that say something of the kernel: all but infrastructure errors."""
    return [v for v in verdicts if v.status is not Status.INFRASTRUCTURE_ERROR]


class Archive:
    """The state of a search. Read its attributes freely; change them through `apply` alone.

    `candidates` by kernel id, in order, and `in_order` the same as a list; `held` every kernel
    that has gone to the evaluator, a candidate yet or not; `asked`, `proposals` (without the
    model's reply) and `duplicates` by proposal number; `verdicts` by kernel id; `undecided` the
    answers whose kernel is neither held nor found a duplicate; `unjudged` the ids of held kernels
    that still want a verdict; `judged` the ids of all that have had it, in the order in which it
    came; `settled` how many proposals are dealt with (in an ordered archive: the number below
    which every one is); `retests` the kernels that are being judged once more on purpose, with
    how many verdicts they had before, and `retested` all of those since the step began;
    `summary` the latest one that was written, `summaries` how many were asked for,
    `summarized_at` how many kernels had been judged by the last one, and `unseen` the ids of judged
    kernels that no summary covers; `steps_done`, `step_start` and `spending`.
    """

    def __init__(self, events: Iterable[Event] = (), *, ordered: bool = True) -> None:
        self.ordered = ordered
        self.candidates: dict[str, Candidate] = {}
        self.in_order: list[Candidate] = []
        self.held: dict[str, Kernel] = {}
        self.asked: dict[int, ProposalAsked] = {}
        self.proposals: dict[int, Proposal] = {}
        self.duplicates: dict[int, DuplicateFound] = {}
        self.verdicts: dict[str, list[Verdict]] = {}
        self.undecided: dict[int, Proposal] = {}
        self.unjudged: dict[str, None] = {}
        self.judged: list[str] = []
        self.settled = 0
        self.steps_done = 0
        self.step_start = StepStart()
        self.retests: dict[str, int] = {}
        self.retested: set[str] = set()
        self.summary: SummaryWritten | None = None
        self.summaries = 0
        self.summarized_at = 0
        self.unseen: dict[str, None] = {}
        self.spending = Spending()
        self._due: dict[int, None] = {}
        self._brought_by: dict[str, int] = {}
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
                self._duplicate(event)
            case EvaluationBegun():
                self._begin(event)
            case VerdictReached():
                self._judge(event.verdict)
            case SummaryWritten():
                self._summarize(event)
            case StepDone():
                self.steps_done = event.step
                self.step_start = StepStart(self.settled, len(self.candidates))
                self.retested.clear()
            case _:
                pass
        self.spending.apply(event)
        if self.ordered:
            self._settle()

    def duplicate_due(self) -> Proposal | None:
        """Return the next proposal whose kernel is a candidate's already, if not yet recorded."""
        if not self.ordered:
            return next((self.proposals[number] for number in self._due), None)
        proposal = self.proposals.get(self.settled)
        if proposal is None or proposal.kernel is None:
            return None
        return proposal if proposal.kernel.id in self.candidates else None

    def number_of(self, kernel_id: str) -> int | None:
        """Return the number of the proposal that brought a kernel; None for the first kernel."""
        candidate = self.candidates.get(kernel_id)
        if candidate is not None:
            return candidate.proposal.number if candidate.proposal else None
        return self._brought_by[kernel_id]

    @property
    def pending(self) -> int:
        """How many kernels that never had a verdict that counts are held or wait to be."""
        return len(self.unjudged) - len(self.retests) + len(self.undecided)

    def _proposal(self, number: int) -> Proposal:
        if number not in self.proposals:
            raise ValueError(f"proposal {number} is used before it was received")
        return self.proposals[number]

    def _receive(self, proposal: Proposal) -> None:
        number, kernel = proposal.number, proposal.kernel
        if number not in self.asked:
            raise ValueError(f"proposal {number} was received but never asked")
        if number in self.proposals:
            raise ValueError(f"proposal {number} was received twice")
        # The reply is in the journal; a search has no use for it, and it fills the memory.
        parents = self.asked[number].parents
        self.proposals[number] = proposal = Proposal(
            number=number,
            parents=parents if parents == proposal.parents else proposal.parents,
            kernel=kernel,
            error=proposal.error,
            model=proposal.model,
            usage=proposal.usage,
        )
        if kernel is None:
            self.settled += not self.ordered
            return
        before = self._brought_by.setdefault(kernel.id, number)
        self._brought_by[kernel.id] = min(before, number)
        if kernel.id not in self.held:
            self.undecided[number] = proposal
        elif not self.ordered:
            self._due[number] = None

    def _duplicate(self, event: DuplicateFound) -> None:
        self._proposal(event.number)
        self.settled += not self.ordered and event.number not in self.duplicates
        self.duplicates[event.number] = event
        self.undecided.pop(event.number, None)
        self._due.pop(event.number, None)

    def _begin(self, event: EvaluationBegun) -> None:
        kernel = self._kernel(event)
        if kernel.id not in self.held:
            self.held[kernel.id] = kernel
            self.verdicts[kernel.id] = []
            self.unjudged[kernel.id] = None
            for number in [n for n, p in self.undecided.items() if p.kernel == kernel]:
                del self.undecided[number]
                if not self.ordered and number != event.number:
                    self._due[number] = None
            if event.number is None:
                self._add_candidate(kernel, None)
            elif not self.ordered:
                self.settled += 1
                self._add_candidate(kernel, self.proposals[event.number])
        elif kernel.id not in self.unjudged:  # it has its verdict: this is one more, on purpose
            self.retests[kernel.id] = len(self.verdicts[kernel.id])
            self.retested.add(kernel.id)
            self.unjudged[kernel.id] = None

    def _kernel(self, event: EvaluationBegun) -> Kernel:
        """Return the kernel that an evaluation is of: the one that is held or was proposed."""
        known = self.held.get(event.kernel_id)
        if event.number is not None:
            proposed = self._proposal(event.number).kernel
            known = known or proposed
        if known is not None and known.source == event.source and known.id == event.kernel_id:
            return known
        kernel = Kernel(event.source)
        if kernel.id != event.kernel_id:
            raise ValueError(f"the source of kernel {event.kernel_id} hashes to {kernel.id}")
        return kernel

    def _judge(self, verdict: Verdict) -> None:
        kernel_id = verdict.kernel_id
        if kernel_id not in self.held:
            raise ValueError(f"kernel {kernel_id} has a verdict but was never begun")
        verdicts = self.verdicts[kernel_id]
        verdicts.append(verdict)
        since = verdicts[self.retests.get(kernel_id, 0) :]
        if not scored(since) and len(since) < MAX_ATTEMPTS:
            return
        if kernel_id in self.unjudged:
            del self.unjudged[kernel_id]
            if self.retests.pop(kernel_id, None) is None:
                self.judged.append(verdict.kernel_id)
                self.unseen[verdict.kernel_id] = None

    def _summarize(self, event: SummaryWritten) -> None:
        self.summaries = event.number + 1
        self.summarized_at = len(self.judged)
        if event.summary.text and not event.summary.error:
            self.summary = event
            for kernel_id in event.covers:
                self.unseen.pop(kernel_id, None)

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
        if proposal is not None and proposal.kernel is not kernel:
            proposal = replace(proposal, kernel=kernel)  # one text is enough
            self.proposals[proposal.number] = proposal
        candidate = Candidate(kernel, order, proposal, self.verdicts[kernel.id])
        self.candidates[kernel.id] = candidate
        self.in_order.append(candidate)
