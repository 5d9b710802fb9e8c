"""The loop: runs an algorithm in steps until it is done, out of budget, stopped or failed.

One thread makes all decisions. It records an event, applies it to the archive, and acts on the
archive alone, so that a run cut anywhere goes on from its journal as if nothing had happened.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from enum import StrEnum
from threading import Event as Flag
from typing import TYPE_CHECKING

from kbexp.budget import Budget
from kbexp.candidate import ProposalRequest, Proposer
from kbexp.config import AlgorithmConfig
from kbexp.errors import EvaluatorUnavailable, KbexpError, ModelUnavailable, TaskError
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
from kbexp.search.algorithm import Algorithm, epsilon_net, requests_of_step, validate
from kbexp.search.archive import Archive, scored
from kbexp.search.inflight import Answered, InFlight, Judged, Submit
from kbexp.search.priority import best_candidate
from kbexp.search.score import Score
from kbexp.verdict import Verdict

if TYPE_CHECKING:
    from kbexp.search.epsilon_net import EpsilonNet

POLL_S = 0.1
"""How long the loop sleeps at most before it looks at the stop flag and the clock again."""

ERROR_LIMIT = 10
"""So many infrastructure errors in a row mean a broken evaluator, not an unlucky kernel."""


class RunState(StrEnum):
    """How a search ended."""

    COMPLETE = "complete"
    STOPPED = "stopped"
    FAILED = "failed"


@dataclass(frozen=True, slots=True)
class Outcome:
    """The end of a search: its state, why in one sentence, and all that it knows.

    `error` is what made it fail, None where it did not.
    """

    state: RunState
    reason: str
    archive: Archive
    error: KbexpError | None = None


def search(
    config: AlgorithmConfig,
    *,
    seed_kernel: Kernel,
    proposer: Proposer,
    submit: Submit,
    record: Callable[[Event], None],
    budget: Budget,
    score: Score,
    seed: int,
    stop: Flag,
    archive: Archive | None = None,
    retest: Submit | None = None,
    grace_s: float = 3.0,
) -> Outcome:
    """Search until the steps are done or the budget is spent, whichever is first.

    - `seed_kernel` is judged first, once; everything descends from it.
    - `proposer.propose` is called from up to `config.num_threads` threads at once.
    - `submit` hands a kernel to the evaluator and returns at once; its future gives the verdict.
      Several kernels are handed over at once. A future that is cancelled before its evaluation
      has begun must not run; one that runs should be marked as running, and may end early.
    - `record` keeps an event durably before it returns; it is called from the caller's thread
      only. It sees everything between `RunStarted` and `RunEnded`, which the caller writes.
    - `score` gives a verdict's worth (`score_named`).
    - `stop`, once set, ends the search: model calls in flight are waited for `grace_s` seconds at
      most, evaluations are cancelled.
    - `archive` continues a run: an `Archive` folded from its journal, cut anywhere. It must be of
      the same `seed_kernel`, `config` and `seed` for the run to go on as it would have.
    - `retest` judges the best kernel afresh every `config.test_frequency` steps: `submit` without
      the cache of verdicts; `submit` itself where None.

    A failing model call, answer or evaluation costs its candidate only. `ModelUnavailable` and
    `EvaluatorUnavailable`, whether raised by the call or through the future, end the search as
    failed, with all that came so far kept. Raises KbexpError where the configuration cannot be
    run, ValueError where the archive is of another first kernel, and whatever `record` raises.
    """
    algorithm = validate(config)
    archive = Archive() if archive is None else archive
    if archive.candidates and next(iter(archive.candidates)) != seed_kernel.id:
        raise ValueError("the archive to continue is of another first kernel")
    budget.resume(archive.spending)
    loop = _Loop(
        config=config,
        algorithm=algorithm,
        seed_kernel=seed_kernel,
        submit=submit,
        retest=retest or submit,
        record=record,
        budget=budget,
        score=score,
        seed=seed,
        archive=archive,
        flying=InFlight(proposer),
        net=epsilon_net(config),
        grace_s=grace_s,
    )
    return loop.run(stop)


@dataclass(slots=True, kw_only=True)
class _Loop:
    """The live state of a search: the archive, what is in flight, what is still to be asked."""

    config: AlgorithmConfig
    algorithm: Algorithm
    seed_kernel: Kernel
    submit: Submit
    retest: Submit
    record: Callable[[Event], None]
    budget: Budget
    score: Score
    seed: int
    archive: Archive
    flying: InFlight
    net: EpsilonNet | None
    grace_s: float
    to_ask: deque[ProposalRequest] = field(default_factory=deque)
    step_end: int | None = None
    """The number after the last proposal of the step; None between steps."""
    errors: int = 0
    """Infrastructure errors since the last verdict that counts."""

    def run(self, stop: Flag) -> Outcome:
        """Drive the search to its end."""
        try:
            self.budget.check_prices(self.archive.spending)
            while not stop.is_set():
                self._advance()
                if (reason := self._finished()) is not None:
                    return self._end(RunState.COMPLETE, reason, stop)
                if (done := self.flying.next(POLL_S)) is not None:
                    self._take(done)
            return self._end(RunState.STOPPED, "The run was asked to stop.", stop)
        except KbexpError as error:
            return self._end(RunState.FAILED, str(error), stop, error)
        finally:
            self.flying.cancel_evaluations()

    # Deciding: from the archive to what begins next.

    def _advance(self) -> None:
        """Begin everything that can begin now."""
        if self.budget.out_of_time() is not None:
            return
        if not self.archive.held:
            if self.budget.room(self.archive.spending, calls=0, evaluations=0):
                self._hand_over(self.seed_kernel, None)
            return
        progress = True
        while progress:
            self._hand_over_unjudged()
            progress = self._begin_step() or self._ask() or self._decide() or self._end_step()

    def _finished(self) -> str | None:
        """Return why the search is complete, None while there is something to do or to wait for."""
        idle = not (self.flying.calls or self.flying.evaluations)
        steps, archive = self.config.num_steps, self.archive
        if idle and archive.held and archive.steps_done >= steps and not archive.unjudged:
            return "The one step is done." if steps == 1 else f"All {steps} steps are done."
        if idle:
            return self.budget.exhausted(archive.spending)
        return self.budget.out_of_time()

    def _begin_step(self) -> bool:
        """Plan the step, once the first kernel has been judged and while steps are left."""
        archive = self.archive
        if self.step_end is not None or archive.steps_done >= self.config.num_steps:
            return False
        if archive.steps_done == 0 and self.seed_kernel.id in archive.unjudged:
            return False
        requests = requests_of_step(self.algorithm, archive, self.config, self.score, self.seed)
        self.to_ask = deque(r for r in requests if r.number not in archive.proposals)
        self.step_end = archive.step_start.number + len(requests)
        return True

    def _ask(self) -> bool:
        """Send the next request, where a thread is free and the budget has room."""
        archive = self.archive
        if not self.to_ask or self.flying.calls >= self.config.num_threads:
            return False
        pending = len(archive.unjudged) + len(archive.undecided)
        if not self.budget.room(archive.spending, calls=self.flying.calls, evaluations=pending):
            return False
        request = self.to_ask.popleft()
        parents = tuple(parent.kernel.id for parent in request.parents)
        self._do(ProposalAsked(number=request.number, parents=parents, seed=request.seed))
        self.flying.call(request)
        return True

    def _decide(self) -> bool:
        """Hand over the kernels that came, or drop them; true where anything was decided."""
        archive = self.archive
        duplicates = False
        while (proposal := archive.duplicate_due()) is not None and proposal.kernel is not None:
            self._do(DuplicateFound(kernel_id=proposal.kernel.id, number=proposal.number))
            duplicates = True
        if not archive.undecided:
            return duplicates
        if self.net is None:
            for number, proposal in sorted(archive.undecided.items()):
                if number in archive.undecided and proposal.kernel is not None:
                    self._hand_over(proposal.kernel, number)
            return True
        if self.flying.calls:  # the net chooses among all answers of the step
            return duplicates
        proposed = {n: p.kernel for n, p in archive.undecided.items() if p.kernel is not None}
        admitted, dropped = self.net.admit(archive.held.values(), proposed)
        for number in admitted:
            if number in archive.undecided:
                self._hand_over(proposed[number], number)
        for drop in dropped:
            if drop.number in archive.undecided:
                self._do(
                    DuplicateFound(
                        kernel_id=drop.nearest_id, number=drop.number, distance=drop.distance
                    )
                )
        return True

    def _end_step(self) -> bool:
        """Close the step once all its proposals are dealt with and judged."""
        archive = self.archive
        if self.step_end is None or archive.settled < self.step_end or archive.unjudged:
            return False
        best = best_candidate(archive, self.score)
        step, frequency = archive.steps_done + 1, self.config.test_frequency
        if best is not None and frequency and step % frequency == 0 and archive.retest is None:
            self._hand_over(best[0].kernel, archive.number_of(best[0].kernel.id))
            return True
        self._do(
            StepDone(
                step=step,
                best_kernel_id=best[0].kernel.id if best else None,
                best_score=best[1] if best else None,
            )
        )
        self.step_end = None
        return True

    # Acting: every event is recorded before it is applied, and applied before it is used.

    def _do(self, event: Event) -> None:
        self.record(event)
        self.archive.apply(event)

    def _hand_over_unjudged(self) -> None:
        """Hand over again what has no verdict that counts: after an error, or a cut journal."""
        for kernel_id in list(self.archive.unjudged):
            if not self.flying.judging(kernel_id):
                self._hand_over(self.archive.held[kernel_id], self.archive.number_of(kernel_id))

    def _hand_over(self, kernel: Kernel, number: int | None) -> None:
        """Give a kernel to the evaluator."""
        self._do(EvaluationBegun(kernel_id=kernel.id, number=number, source=kernel.source))
        retest = self.archive.retest
        again = retest is not None and retest.kernel_id == kernel.id
        self.flying.evaluate(self.retest if again else self.submit, kernel)

    def _take(self, done: Answered | Judged) -> None:
        """Record what came in; raises ModelUnavailable or EvaluatorUnavailable if that came."""
        match done:
            case Answered():
                self._do(ProposalReceived(proposal=done.proposal()))
                self.budget.check_prices(self.archive.spending)
            case Judged():
                verdict = done.verdict()
                self._do(VerdictReached(verdict=verdict))
                self._check_evaluator(verdict)

    def _check_evaluator(self, verdict: Verdict) -> None:
        """Raise EvaluatorUnavailable where one infrastructure error has followed another."""
        self.errors = 0 if scored([verdict]) else self.errors + 1
        if self.errors >= ERROR_LIMIT:
            why = verdict.reasons[0] if verdict.reasons else "no reason was given."
            raise EvaluatorUnavailable(
                f"{ERROR_LIMIT} evaluations in a row ended in infrastructure errors; mend the "
                f"evaluator, then continue the run. The last one said: {why}"
            )

    # Ending: nothing new begins, and what was paid for is kept where it comes soon.

    def _end(
        self, state: RunState, reason: str, stop: Flag, error: KbexpError | None = None
    ) -> Outcome:
        """Wind down: wait a little for what is in flight, keep what comes, begin nothing.

        Where the time is up, evaluations that have begun are waited for: they were paid for, and
        the evaluator's own limits end them. An infrastructure error that comes now may be the
        cancelling's own doing; it is left out, so that the kernel is judged when the run goes on.
        """
        self.flying.cancel_evaluations()
        deadline = time.monotonic() + self.grace_s
        while self.flying.calls or self.flying.evaluations:
            patient = state is RunState.COMPLETE and self.flying.evaluations and not stop.is_set()
            left_s = deadline - time.monotonic()
            if left_s <= 0 and not patient:
                break
            done = self.flying.next(min(POLL_S, left_s) if left_s > 0 else POLL_S)
            try:
                if isinstance(done, Answered):
                    self._do(ProposalReceived(proposal=done.proposal()))
                elif isinstance(done, Judged) and scored([done.verdict()]):
                    self._do(VerdictReached(verdict=done.verdict()))
            except (ModelUnavailable, EvaluatorUnavailable, TaskError):
                continue
        return Outcome(state, reason, self.archive, error)
