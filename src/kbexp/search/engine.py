"""What a search in steps and one in a stream have in common: acting, taking in, ending.

One thread makes all decisions. It records an event, applies it to the archive, and acts on the
archive alone, so that a run cut anywhere goes on from its journal as if nothing had happened. It
goes in turns: take in all that ended, decide, have what was recorded kept, and only then send off
what was decided on.
"""

from __future__ import annotations

import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from threading import Event as Flag
from typing import TYPE_CHECKING

from kbexp.budget import Budget
from kbexp.candidate import PaidEmbedder, ProposalRequest
from kbexp.errors import EvaluatorUnavailable, KbexpError, ModelUnavailable, TaskError
from kbexp.events import (
    DuplicateFound,
    EmbeddingsMade,
    EvaluationBegun,
    Event,
    Noted,
    ProposalAsked,
    ProposalReceived,
    StepDone,
    SummaryWritten,
    VerdictReached,
)
from kbexp.kernel import Kernel
from kbexp.search.algorithm import request_seed
from kbexp.search.archive import Archive, scored
from kbexp.search.board import Board
from kbexp.search.choice import Algorithm, width
from kbexp.search.health import Health, Paused, Plateau
from kbexp.search.inflight import (
    POLL_S,
    Answered,
    Done,
    InFlight,
    Judged,
    Submit,
    Summarized,
    beside,
)
from kbexp.search.outcome import Outcome, RunState
from kbexp.search.score import Score
from kbexp.search.summaries import fresh
from kbexp.search_config import AlgorithmConfig, SearchConfig

if TYPE_CHECKING:
    from kbexp.search.epsilon_net import EpsilonNet


@dataclass(slots=True, kw_only=True)
class Engine(ABC):
    """The live state of a search: the archive, the board, what is in flight.

    `algorithm` is None where a rival's package chooses.
    """

    config: AlgorithmConfig
    how: SearchConfig
    algorithm: Algorithm | None
    seed_kernel: Kernel
    submit: Submit
    retest: Submit
    record: Callable[[Event], None]
    commit: Callable[[], None]
    budget: Budget
    score: Score
    seed: int
    archive: Archive
    board: Board
    flying: InFlight
    net: EpsilonNet | None
    grace_s: float
    health: Health = field(init=False)
    plateau: Plateau = field(init=False)

    def __post_init__(self) -> None:
        self.health = Health(self.how, self.config.num_threads)
        self.plateau = Plateau(self.how, self.score)

    @abstractmethod
    def advance(self) -> None:
        """Begin everything that can begin now, once the first kernel is held and time is left."""

    @abstractmethod
    def finished(self) -> str | None:
        """Return why the search is complete; None while there is something to do or wait for."""

    def run(self, stop: Flag) -> Outcome:
        """Drive the search to its end."""
        try:
            self.budget.check_prices(self.archive.spending)
            self._recall(self.archive.held.values(), stop)
            while not stop.is_set():
                self._advance(stop)
                self.commit()
                self.flying.launch()
                if (reason := self.finished()) is not None:
                    return self._end(RunState.COMPLETE, reason, stop)
                done = self.flying.next(POLL_S)
                while done is not None:
                    self.take(done)
                    done = self.flying.next(0)
            return self._end(RunState.STOPPED, "The run was asked to stop.", stop)
        except Paused as paused:
            return self._end(RunState.STOPPED, str(paused), stop, paused.error)
        except KbexpError as error:
            return self._end(RunState.FAILED, str(error), stop, error)
        finally:
            self.flying.call_off()

    def _advance(self, stop: Flag) -> None:
        if self.budget.out_of_time() is not None:
            return
        if self.archive.held:
            self.advance()
        elif self.budget.room(self.archive.spending, calls=0, evaluations=0):
            self._recall([self.seed_kernel], stop)
            if not stop.is_set():
                self.hand_over(self.seed_kernel, None)

    def _recall(self, held: Iterable[Kernel], stop: Flag) -> None:
        """Have the net know what is held already, and what an earlier session had waiting.

        A service may be asked for that. It is not waited for once the run is asked to stop; the net
        is then of no more use.
        """
        net = self.net
        if net is None:
            return
        undecided = self.archive.undecided.values()
        waiting = [proposal.kernel for proposal in undecided if proposal.kernel is not None]
        known = list(held)
        if fault := beside(lambda: net.recall(known, waiting), stop):
            self.do(Noted(text=fault))
        self._count_embeddings()
        self.budget.check_prices(self.archive.spending)

    def _count_embeddings(self) -> None:
        """Record what embeddings have cost since the last time."""
        embedder = self.net.embedder if self.net else None
        if not isinstance(embedder, PaidEmbedder):
            return
        texts, usage = embedder.spent()
        if texts:
            self.do(EmbeddingsMade(model=embedder.model, texts=texts, usage=usage))

    # Acting: every event is recorded before it is applied, and applied before it is used.

    def do(self, event: Event) -> None:
        """Record an event and apply it."""
        self.record(event)
        self.archive.apply(event)

    def room_to_ask(self) -> bool:
        """True where one more call may begin: a thread is free and the budget has room."""
        if self.flying.calls >= self.config.num_threads:
            return False
        return self.budget.room(
            self.archive.spending,
            calls=self.flying.calls,
            evaluations=len(self.archive.unjudged) + len(self.archive.undecided),
            summaries=self.flying.summaries,
        )

    def ask(self, request: ProposalRequest, chain: int | None) -> None:
        """Send a request to the model."""
        summary = self.archive.summary
        parents = tuple(parent.kernel.id for parent in request.parents)
        self.do(
            ProposalAsked(
                number=request.number,
                parents=parents,
                seed=request.seed,
                summary=summary.number if summary else None,
                chain=chain,
            )
        )
        self.flying.call(request)

    def hand_over(self, kernel: Kernel, number: int | None) -> None:
        """Give a kernel to the evaluator."""
        if self.net is not None and kernel.id not in self.archive.held:
            self.net.hold(kernel)
        self.do(EvaluationBegun(kernel_id=kernel.id, number=number, source=kernel.source))
        again = kernel.id in self.archive.retests
        self.flying.evaluate(self.retest if again else self.submit, kernel)

    def hand_over_unjudged(self) -> None:
        """Hand over again what has no verdict that counts: after an error, or a cut journal."""
        for kernel_id in list(self.archive.unjudged):
            if not self.flying.judging(kernel_id):
                self.hand_over(self.archive.held[kernel_id], self.archive.number_of(kernel_id))

    def judge_again(self, order: int) -> bool:
        """Have a candidate judged once more on purpose, where the budget has room."""
        archive, kernel = self.archive, self.board.candidate(order).kernel
        pending = self.flying.calls + len(archive.unjudged) + len(archive.undecided)
        if not self.budget.room_to_judge(archive.spending, pending=pending):
            return False
        self.hand_over(kernel, archive.number_of(kernel.id))
        return True

    def name_duplicates(self) -> bool:
        """Record the proposals whose kernel is a candidate already; true where there were any."""
        archive, found = self.archive, False
        while (proposal := archive.duplicate_due()) is not None and proposal.kernel is not None:
            self.do(DuplicateFound(kernel_id=proposal.kernel.id, number=proposal.number))
            found = True
        return found

    def sift(self) -> int | None:
        """Record what the net drops of the kernels that wait; return the number to admit next."""
        archive = self.archive
        assert self.net is not None
        proposed = {n: p.kernel for n, p in archive.undecided.items() if p.kernel is not None}
        admitted, dropped = self.net.sift(proposed)
        for drop in dropped:
            self.do(
                DuplicateFound(
                    kernel_id=drop.nearest_id, number=drop.number, distance=drop.distance
                )
            )
        return admitted

    def ask_summary(self, enough: int) -> bool:
        """Ask for a summary once so many kernels were judged since the last; true where asked."""
        archive = self.archive
        if not self.config.summarizer or self.flying.summaries:
            return False
        if len(archive.judged) - archive.summarized_at < enough:
            return False
        if not self.budget.room_to_summarize(archive.spending, calls=self.flying.calls):
            return False
        shown = fresh(archive, self.score)
        if not shown:
            return False
        number = archive.summaries
        previous = archive.summary.summary.text if archive.summary else ""
        seed = request_seed(self.seed, f"summary {number}")
        self.flying.summarize(number, previous, shown, seed)
        return True

    def end_step(self) -> None:
        """Record the end of a step; the board must be up to date."""
        best = self.board.best()
        self.do(
            StepDone(
                step=self.archive.steps_done + 1,
                best_kernel_id=best[0].kernel.id if best else None,
                best_score=best[1] if best else None,
            )
        )

    def test_due(self) -> bool:
        """True where the best is to be judged once more before the step ends."""
        every = self.config.test_frequency
        return (
            bool(every)
            and (self.archive.steps_done + 1) % every == 0
            and (not self.archive.retested)
        )

    def all_done(self) -> str | None:
        """Return the sentence for a search whose steps are all done, None before."""
        archive, steps = self.archive, self.config.num_steps
        if archive.steps_done < steps or archive.unjudged or archive.undecided:
            return None
        return "The one step is done." if steps == 1 else f"All {steps} steps are done."

    # Taking in what ended.

    def take(self, done: Done) -> None:
        """Record what came in; raises ModelUnavailable or EvaluatorUnavailable if that came."""
        match done:
            case Answered():
                proposal = done.proposal()
                self.do(ProposalReceived(proposal=proposal))
                self._place(done, proposal.kernel)
                self._count_embeddings()
                self.budget.check_prices(self.archive.spending)
                self.health.answered(proposal)
            case Summarized():
                self._keep_summary(done)
                self.budget.check_prices(self.archive.spending)
            case Judged():
                verdict = done.verdict()
                self.do(VerdictReached(verdict=verdict))
                self.board.touch(verdict.kernel_id)
                self.health.judged(verdict)

    def _place(self, done: Answered, kernel: Kernel | None) -> None:
        """Tell the net where a kernel lies; where that is not known, say so and go on."""
        from kbexp.search.epsilon_net import embedding_fault

        if self.net is None or kernel is None or done.vector is None:
            return
        number = done.request.number
        if number not in self.archive.undecided:
            return
        try:
            if isinstance(done.vector, Exception):
                raise done.vector
            self.net.place(kernel, done.vector)
        except Exception as error:
            self.do(Noted(text=embedding_fault(error, f"proposal {number}"), number=number))

    def _keep_summary(self, done: Summarized) -> None:
        self.do(SummaryWritten(number=done.number, summary=done.summary(), covers=done.covers))

    # Ending: nothing new begins, and what was paid for is kept where it comes soon.

    def _end(
        self, state: RunState, reason: str, stop: Flag, error: KbexpError | None = None
    ) -> Outcome:
        """Wind down: wait a little for what is in flight, keep what comes, begin nothing.

        Where the time is up, evaluations that have begun are waited for: they were paid for, and
        the evaluator's own limits end them. An infrastructure error that comes now may be the
        cancelling's own doing; it is left out, so that the kernel is judged when the run goes on.
        """
        self.flying.call_off()
        deadline = time.monotonic() + self.grace_s
        while not self.flying.empty:
            patient = state is RunState.COMPLETE and self.flying.evaluations and not stop.is_set()
            left_s = deadline - time.monotonic()
            if left_s <= 0 and not patient:
                break
            done = self.flying.next(min(POLL_S, left_s) if left_s > 0 else POLL_S)
            try:
                if isinstance(done, Answered):
                    self.do(ProposalReceived(proposal=done.proposal()))
                elif isinstance(done, Summarized):
                    self._keep_summary(done)
                elif isinstance(done, Judged) and scored([done.verdict()]):
                    self.do(VerdictReached(verdict=done.verdict()))
            except (ModelUnavailable, EvaluatorUnavailable, TaskError):
                continue
        self._count_embeddings()
        self.commit()
        return Outcome(state, reason, self.archive, error)

    @property
    def step_width(self) -> int:
        """How many proposals a step asks for."""
        return width(self.config)
