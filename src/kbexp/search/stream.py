"""A search in a stream: whatever comes is used at once, and nothing waits for anything.

As many calls to the model are in flight as are allowed, each from what the archive held when it was
sent. A slow call holds up nothing but the bound on staleness: while it runs, only so many other
kernels are judged. Where the evaluator is the slower one, calls are sent at its pace.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field

from kbexp.kernel import Kernel
from kbexp.search.algorithm import request_of
from kbexp.search.choice import Choice
from kbexp.search.engine import Engine
from kbexp.search.inflight import Answered, Done, Judged
from kbexp.search.pace import Pace

WITH_EVALUATOR = 4
"""Kernels with the evaluator at once where nothing else is said: one is judged, some are built."""


@dataclass(slots=True, kw_only=True)
class Stream(Engine):
    """The live state of a search in a stream."""

    lost: deque[int] = field(default_factory=deque)
    """Requests of an earlier session that were never answered."""
    sent: dict[int, int] = field(default_factory=dict)
    """By the number of a call in flight: how many kernels had been judged when it was sent."""
    halt: str | None = None
    """Why nothing more is asked."""
    pace: Pace = field(init=False)

    def __post_init__(self) -> None:
        super(Stream, self).__post_init__()
        archive = self.archive
        self.lost.extend(sorted(n for n in archive.asked if n not in archive.proposals))
        self.pace = Pace(self.at_once)

    @property
    def at_once(self) -> int:
        """How many kernels the evaluator is to have at once."""
        return self.how.num_evaluations or WITH_EVALUATOR

    @property
    def total(self) -> int:
        """How many proposals the search asks for in all."""
        return self.config.num_steps * self.step_width

    def advance(self) -> None:
        """Begin everything that can begin now."""
        self.hand_over_unjudged()
        self._hand_over_waiting()
        if self.seed_kernel.id in self.archive.unjudged and not self.archive.judged:
            return
        self.board.refresh()
        self._judge_again()
        self._end_steps()
        self.halt = self.halt or self.plateau.reached(self.archive)
        if self.halt is None and len(self.archive.asked) < self.total:
            self.ask_summary(self.step_width)
        while self.room_to_ask() and self._fresh_enough() and self._ask():
            self.board.refresh()

    def finished(self) -> str | None:
        """Return why the search is complete; None while there is something to do or wait for."""
        archive = self.archive
        if self.flying.calls or self.flying.evaluations:
            return self.budget.out_of_time()
        if archive.held and (reason := self.all_done()) is not None:
            return reason
        if self.halt and not archive.undecided and not archive.unjudged:
            return self.halt
        return self.budget.exhausted(archive.spending)

    def _hand_over_waiting(self) -> None:
        """Give the evaluator what waits, as much as it is to have at once.

        What lies within ε of a held kernel is dropped first, and the farthest goes first; without
        a net the lowest number does.
        """
        archive = self.archive
        self.name_duplicates()
        while archive.undecided:
            number = min(archive.undecided) if self.net is None else self.sift()
            if number is None or self.flying.evaluations >= self.at_once:
                return
            kernel = archive.undecided[number].kernel
            assert kernel is not None
            self.hand_over(kernel, number)
            self.name_duplicates()

    def _judge_again(self) -> None:
        """Have what could be the best judged again, while nothing new waits for the evaluator."""
        samples = self.config.num_eval_samples
        if samples < 2 or self.archive.undecided or self.archive.retests:
            return
        for order in self.board.promising(samples, 1):
            self.judge_again(order)

    def _end_steps(self) -> None:
        """Count a step each time as many proposals are through as a step asks for."""
        archive = self.archive
        while archive.steps_done < self.config.num_steps:
            through = archive.settled - (len(archive.unjudged) - len(archive.retests))
            if through < (archive.steps_done + 1) * self.step_width:
                return
            best = self.board.best()
            if best is not None and self.test_due() and not archive.retests:
                self.judge_again(best[0].order)
            self.end_step()

    def _fresh_enough(self) -> bool:
        """True where one more call can make none in flight too stale.

        Its own kernel, and all that wait, may be judged before the oldest call is answered.
        """
        archive, calls = self.archive, self.flying.calls
        limit = self.how.max_staleness
        if limit is None:
            limit = 4 * self.config.num_threads
        if not self.pace.allows(archive.pending, calls):
            return False
        self.sent = {n: at for n, at in self.sent.items() if n not in archive.proposals}
        since = max((len(archive.judged) - at for at in self.sent.values()), default=0)
        return since + archive.pending + calls <= limit

    def _ask(self) -> bool:
        """Send the next request; false where all were sent or the algorithm has to wait."""
        archive = self.archive
        if self.lost:
            number = self.lost[0]
            asked = archive.asked[number]
            choice: Choice | None = Choice(
                tuple(archive.candidates[parent] for parent in asked.parents), asked.chain
            )
            self.lost.popleft()
        else:
            number = len(archive.asked)
            if self.halt or number >= self.total:
                return False
            assert self.algorithm is not None
            choice = self.algorithm.next(self.board)
        if choice is None:
            return False
        self.sent[number] = len(archive.judged)
        self.ask(request_of(archive, choice, number, self.seed), choice.chain)
        self.pace.sent(number)
        return True

    def hand_over(self, kernel: Kernel, number: int | None) -> None:
        """Give a kernel to the evaluator."""
        super(Stream, self).hand_over(kernel, number)
        self.pace.begun()

    def take(self, done: Done) -> None:
        """Record what came in, and how long it took."""
        if isinstance(done, Answered):
            self.pace.answered(done.request.number)
        elif isinstance(done, Judged):
            self.pace.judged(idle=not self.flying.evaluations)
        super(Stream, self).take(done)
