"""What is in flight: model calls on threads of their own, evaluations as futures.

Everything that finishes wakes the one thread that runs the search, through a queue. Threads are
daemons: a call that hangs holds up neither the end of a run nor the end of the program.
"""

from __future__ import annotations

import queue
import threading
import traceback
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass, replace
from pathlib import Path

from kbexp.candidate import Proposal, ProposalRequest, Proposer
from kbexp.errors import EvaluatorUnavailable, ModelUnavailable, TaskError
from kbexp.kernel import Kernel
from kbexp.verdict import Phase, Status, Verdict

Submit = Callable[[Kernel], "Future[Verdict]"]
"""Hands a kernel to the evaluator and returns at once."""


@dataclass(frozen=True, slots=True)
class Answered:
    """A model call that has ended."""

    request: ProposalRequest
    future: Future[Proposal]

    def proposal(self) -> Proposal:
        """Return the answer, or a proposal that says why there is none; ModelUnavailable raises."""
        parents = tuple(parent.kernel.id for parent in self.request.parents)
        try:
            return replace(self.future.result(), number=self.request.number, parents=parents)
        except ModelUnavailable:
            raise
        except Exception as error:
            why = f"The model call ended in {_fault(error)}."
            return Proposal(self.request.number, parents, None, error=why)


@dataclass(frozen=True, slots=True)
class Judged:
    """An evaluation that has ended."""

    kernel_id: str
    future: Future[Verdict]

    def verdict(self) -> Verdict:
        """Return the verdict, or an infrastructure error where the evaluator itself failed.

        EvaluatorUnavailable and TaskError raise: no other kernel would fare better.
        """
        try:
            verdict = self.future.result()
            if verdict.kernel_id != self.kernel_id:
                raise ValueError(f"kernel {self.kernel_id} has the verdict of another one")
            return verdict
        except (EvaluatorUnavailable, TaskError):
            raise
        except Exception as error:
            return Verdict(
                kernel_id=self.kernel_id,
                task_id="",
                status=Status.INFRASTRUCTURE_ERROR,
                phase=Phase.QUEUE,
                device="",
                isolation="",
                reasons=(f"The evaluator ended in {_fault(error)}.",),
            )


def _fault(error: BaseException) -> str:
    """Name an error's type and place; never its text, in which an address or a key may stand."""
    frames = traceback.extract_tb(error.__traceback__)
    place = f" ({Path(frames[-1].filename).name}:{frames[-1].lineno})" if frames else ""
    return f"{type(error).__name__}{place}"


class InFlight:
    """The calls and evaluations under way; used from one thread only."""

    def __init__(self, proposer: Proposer) -> None:
        self._proposer = proposer
        self._done: queue.SimpleQueue[Answered | Judged] = queue.SimpleQueue()
        self._calls: set[int] = set()
        self._evaluations: dict[str, Future[Verdict]] = {}

    @property
    def calls(self) -> int:
        """How many model calls are under way."""
        return len(self._calls)

    @property
    def evaluations(self) -> int:
        """How many evaluations are under way."""
        return len(self._evaluations)

    def judging(self, kernel_id: str) -> bool:
        """True while a kernel is with the evaluator."""
        return kernel_id in self._evaluations

    def call(self, request: ProposalRequest) -> None:
        """Ask the model on a new thread."""
        future: Future[Proposal] = Future()
        future.add_done_callback(lambda done: self._done.put(Answered(request, done)))

        def ask() -> None:
            try:
                future.set_result(self._proposer.propose(request))
            except Exception as error:
                future.set_exception(error)
            except BaseException as error:  # such as SystemExit: it must not end the search
                future.set_exception(RuntimeError(type(error).__name__))

        self._calls.add(request.number)
        threading.Thread(target=ask, name=f"proposal-{request.number}", daemon=True).start()

    def evaluate(self, submit: Submit, kernel: Kernel) -> None:
        """Hand a kernel to the evaluator; what `submit` raises comes back as what it ended in."""
        try:
            future = submit(kernel)
        except Exception as error:
            future = Future()
            future.set_exception(error)
        self._evaluations[kernel.id] = future
        future.add_done_callback(lambda done: self._done.put(Judged(kernel.id, done)))

    def next(self, timeout_s: float) -> Answered | Judged | None:
        """Return the next thing that ended, or None where nothing did within the time."""
        try:
            done = self._done.get(timeout=max(0.0, timeout_s))
        except queue.Empty:
            return None
        match done:
            case Answered():
                self._calls.discard(done.request.number)
            case Judged():
                del self._evaluations[done.kernel_id]
        return done

    def cancel_evaluations(self) -> None:
        """Ask for every evaluation to be given up; one that is already running may go on."""
        for future in list(self._evaluations.values()):
            future.cancel()
