"""A search in steps: rounds with a barrier after each, as published.

A step is planned from what the archive held when it began, and ends when all its proposals are
dealt with and judged. Given the same answers and verdicts it finds the same, whichever thread was
faster.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field

from kbexp.candidate import ProposalRequest
from kbexp.search.algorithm import request_of
from kbexp.search.engine import Engine


@dataclass(slots=True, kw_only=True)
class Steps(Engine):
    """The live state of a search in steps."""

    to_ask: deque[tuple[ProposalRequest, int | None]] = field(default_factory=deque)
    step_end: int | None = None
    """The number after the last proposal of the step; None between steps."""
    halt: str | None = None
    """Why no further step begins."""

    def advance(self) -> None:
        """Begin everything that can begin now."""
        progress = True
        while progress:
            self.hand_over_unjudged()
            progress = self._begin() or self._ask() or self._decide() or self._end_of_step()

    def finished(self) -> str | None:
        """Return why the search is complete; None while there is something to do or wait for."""
        if self.flying.calls or self.flying.evaluations:
            return self.budget.out_of_time()
        if self.archive.held and (reason := self.halt or self.all_done()) is not None:
            return reason
        if self.flying.summaries:
            return self.budget.out_of_time()
        return self.budget.exhausted(self.archive.spending)

    def _begin(self) -> bool:
        """Plan the step, once the first kernel has been judged and while steps are left."""
        archive = self.archive
        if self.step_end is not None or archive.steps_done >= self.config.num_steps:
            return False
        if archive.steps_done == 0 and self.seed_kernel.id in archive.unjudged:
            return False
        if self.halt or (self._between() and (halt := self.plateau.reached(archive))):
            self.halt = self.halt or halt
            return False
        start = archive.step_start
        self.board.refresh(start.candidates, start.number)
        assert self.algorithm is not None
        choices = self.algorithm.step(self.board)
        self.to_ask = deque(
            (request_of(archive, choice, number, self.seed), choice.chain)
            for number, choice in enumerate(choices, start.number)
            if number not in archive.proposals
        )
        self.step_end = start.number + len(choices)
        return True

    def _between(self) -> bool:
        """True where nothing of the next step has begun."""
        return self.archive.step_start.number not in self.archive.asked

    def _ask(self) -> bool:
        """Send the next request, where a thread is free and the budget has room."""
        if not self.to_ask or not self.room_to_ask():
            return False
        self.ask(*self.to_ask.popleft())
        return True

    def _decide(self) -> bool:
        """Hand over the kernels that came, or drop them; true where anything was decided."""
        archive = self.archive
        duplicates = self.name_duplicates()
        if not archive.undecided:
            return duplicates
        if self.net is None:
            for number, proposal in sorted(archive.undecided.items()):
                if number in archive.undecided and proposal.kernel is not None:
                    self.hand_over(proposal.kernel, number)
            return True
        if self.flying.calls:  # the net chooses among all answers of the step
            return duplicates
        while (admitted := self.sift()) is not None:
            kernel = archive.undecided[admitted].kernel
            assert kernel is not None
            self.hand_over(kernel, admitted)
        return True

    def _end_of_step(self) -> bool:
        """Close the step once all its proposals are dealt with and judged."""
        archive = self.archive
        if self.step_end is None or archive.settled < self.step_end or archive.unjudged:
            return False
        self.board.refresh()
        # One at a time: whom to judge next follows from all verdicts before, wherever a run is cut.
        for order in self.board.promising(self.config.num_eval_samples, 1):
            self.judge_again(order)
        best = self.board.best()
        if not archive.unjudged and best is not None and self.test_due():
            self.judge_again(best[0].order)
        if archive.unjudged:
            return True
        last = archive.steps_done + 1 >= self.config.num_steps
        if self.flying.summaries or (not last and self.ask_summary(1)):
            return False  # in the requests of the next step, or in those of none
        self.end_step()
        self.step_end = None
        return True
