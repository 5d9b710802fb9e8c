"""What is in flight: calls to models on threads of their own, evaluations as futures.

Everything that finishes wakes the one thread that runs the search, through a mailbox. Threads are
daemons: a call that hangs holds up neither the end of a run nor the end of the program.
"""

from __future__ import annotations

import threading
import traceback
from collections.abc import Callable, Sequence
from concurrent.futures import Future, wait
from dataclasses import dataclass, replace
from pathlib import Path
from threading import Event as Flag
from typing import TypeVar

from kbexp.candidate import (
    Candidate,
    Embedder,
    Proposal,
    ProposalRequest,
    Proposer,
    Summarizer,
    Summary,
    Vector,
)
from kbexp.errors import EvaluatorUnavailable, ModelUnavailable, TaskError
from kbexp.kernel import Kernel
from kbexp.search.mailbox import Mailbox
from kbexp.verdict import Phase, Status, Verdict

Result = TypeVar("Result")

POLL_S = 0.1
"""How long whoever waits sleeps at most before it looks at the stop flag and the clock again."""

Submit = Callable[[Kernel], "Future[Verdict]"]
"""Hands a kernel to the evaluator and returns at once."""


@dataclass(frozen=True, slots=True)
class Answered:
    """A model call that has ended; `vector` is where its kernel lies, or why that is not known.

    None where nobody asked, or there is no kernel.
    """

    request: ProposalRequest
    future: Future[Proposal]
    vector: Vector | Exception | None = None

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
class Summarized:
    """A call for a summary that has ended; `covers` are the ids of the kernels it was shown."""

    number: int
    covers: tuple[str, ...]
    future: Future[Summary]

    def summary(self) -> Summary:
        """Return what was written, or a summary that says why there is none."""
        try:
            summary = self.future.result()
        except Exception as error:
            return Summary("", f"The call for a summary ended in {_fault(error)}.")
        if not summary.text.strip() and not summary.error:
            return replace(summary, text="", error="The model wrote no summary.")
        return replace(summary, text="") if summary.error else summary


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


Done = Answered | Summarized | Judged


class InFlight:
    """The calls and evaluations under way; used from one thread only, `wake` apart.

    What is asked for counts as under way at once, and leaves this process with the next `launch`:
    what led to it is on the disk by then.
    """

    def __init__(
        self,
        proposer: Proposer,
        summarizer: Summarizer | None = None,
        embedder: Embedder | None = None,
    ) -> None:
        self._proposer = proposer
        self._summarizer = summarizer
        self._embedder = embedder
        self._done: Mailbox[Done | None] = Mailbox()
        self._calls: set[int] = set()
        self._evaluations: dict[str, Future[Verdict] | None] = {}
        self._ready: list[tuple[Callable[[], object], Callable[[], object]]] = []
        """What the next launch sends, each with what to do where it is never sent."""
        self.summaries = 0

    @property
    def calls(self) -> int:
        """How many calls for proposals are under way."""
        return len(self._calls)

    @property
    def evaluations(self) -> int:
        """How many evaluations are under way."""
        return len(self._evaluations)

    @property
    def empty(self) -> bool:
        """True where nothing at all is under way."""
        return not (self._calls or self._evaluations or self.summaries)

    def judging(self, kernel_id: str) -> bool:
        """True while a kernel is with the evaluator."""
        return kernel_id in self._evaluations

    def call(self, request: ProposalRequest) -> None:
        """Have the model asked on a new thread, and there also where its kernel lies."""
        future: Future[Proposal] = Future()

        def ask() -> None:
            _settle(future, lambda: self._proposer.propose(request))
            self._done.put(Answered(request, future, self._vector(future)))

        self._calls.add(request.number)
        thread = threading.Thread(target=ask, name=f"proposal-{request.number}", daemon=True)
        self._ready.append((thread.start, lambda: self._calls.discard(request.number)))

    def summarize(self, number: int, previous: str, fresh: Sequence[Candidate], seed: int) -> None:
        """Have a summary asked for on a new thread."""
        summarizer = self._summarizer
        assert summarizer is not None
        future: Future[Summary] = Future()
        covers = tuple(candidate.kernel.id for candidate in fresh)

        def ask() -> None:
            _settle(future, lambda: summarizer.summarize(previous, fresh, seed))
            self._done.put(Summarized(number, covers, future))

        self.summaries += 1
        thread = threading.Thread(target=ask, name=f"summary-{number}", daemon=True)
        self._ready.append((thread.start, self._end_summary))

    def evaluate(self, submit: Submit, kernel: Kernel) -> None:
        """Have a kernel handed to the evaluator; what `submit` raises is what it ended in."""

        def hand_over() -> None:
            try:
                future = submit(kernel)
            except Exception as error:
                future = Future()
                future.set_exception(error)
            self._evaluations[kernel.id] = future
            future.add_done_callback(lambda done: self._done.put(Judged(kernel.id, done)))

        self._evaluations[kernel.id] = None
        self._ready.append((hand_over, lambda: self._evaluations.pop(kernel.id)))

    def launch(self) -> None:
        """Send off all that was asked for since the last launch, in its order."""
        ready, self._ready = self._ready, []
        for send, _ in ready:
            send()

    def call_off(self) -> None:
        """Forget what was asked for and not sent; have every evaluation given up.

        One that is already running may go on.
        """
        ready, self._ready = self._ready, []
        for _, forget in ready:
            forget()
        for future in list(self._evaluations.values()):
            if future is not None:
                future.cancel()

    def wake(self) -> None:
        """Have `next` return at once, with None if nothing has ended; called from any thread."""
        self._done.put(None)

    def next(self, timeout_s: float) -> Done | None:
        """Return the next thing that ended, or None where nothing did within the time."""
        try:
            done = self._done.take(timeout_s)
        except TimeoutError:
            return None
        match done:
            case Answered():
                self._calls.discard(done.request.number)
            case Summarized():
                self._end_summary()
            case Judged():
                del self._evaluations[done.kernel_id]
            case None:
                pass
        return done

    def _end_summary(self) -> None:
        self.summaries -= 1

    def _vector(self, future: Future[Proposal]) -> Vector | Exception | None:
        """Ask where a proposal's kernel lies; whatever that raises is the answer."""
        if self._embedder is None or future.exception() is not None:
            return None
        kernel = future.result().kernel
        if kernel is None:
            return None
        try:
            return self._embedder.embed([kernel.source])[0]
        except Exception as error:
            return error


def _settle(future: Future[Result], work: Callable[[], Result]) -> None:
    """Run the work; whatever comes of it, SystemExit too, is the future's and ends no search."""
    try:
        future.set_result(work())
    except Exception as error:
        future.set_exception(error)
    except BaseException as error:
        future.set_exception(RuntimeError(type(error).__name__))


def beside(work: Callable[[], Result], stop: Flag) -> Result | None:
    """Return what the work comes to, done on a new thread; None where `stop` is set before that."""
    if stop.is_set():
        return None
    future: Future[Result] = Future()
    threading.Thread(target=_settle, args=(future, work), name="beside", daemon=True).start()
    while not wait([future], POLL_S).done:
        if stop.is_set():
            return None
    return future.result()
