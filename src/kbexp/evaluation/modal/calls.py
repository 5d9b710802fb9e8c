"""One evaluation on its way to a container and back, as often as it takes."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from typing import Any

from kbexp.config import GpuConfig
from kbexp.errors import EvaluatorUnavailable
from kbexp.evaluation.modal import arguments, messages
from kbexp.evaluation.modal.connection import Connection
from kbexp.evaluation.modal.faults import GO_ON, Fault, fault_of
from kbexp.evaluation.modal.ledger import Ledger
from kbexp.evaluation.modal.messages import BadAnswer, Report
from kbexp.evaluation.modal.session import Session
from kbexp.kernel import Kernel
from kbexp.task import Task
from kbexp.verdict import Record, Status, Verdict
from kbexp.worker.report import clean

POLL_S = 5.0
"""How long one question for a result waits at Modal; an answer comes at once all the same."""

MOST_LOSSES = 4
"""So often one evaluation may lose its container before it ends in an infrastructure error."""

PAUSE_S = 0.5
"""Before the second try of what was lost; doubled for each further one."""

CANCEL_S = 3.0
"""What a run that ends waits for its calls to be cancelled; without a connection it takes long."""


class Closed(Exception):
    """The evaluator is being closed, and nothing is waited for any more."""


class Caller:
    """Calls containers from several threads; `closing` ends all that wait."""

    def __init__(
        self,
        gpu: GpuConfig,
        session: Session,
        closing: threading.Event,
        say: Callable[[str], None],
    ) -> None:
        self._gpu = gpu
        self._session = session
        self._closing = closing
        self._say = say
        self._connection = Connection(say, closing)
        self._sources = arguments.sources_fingerprint()
        self._lock = threading.Lock()
        self._waiting: set[Any] = set()
        self._reports: dict[str, Report] = {}

    @property
    def reports(self) -> list[Report]:
        """What the containers that answered said of themselves last."""
        return list(self._reports.values())

    def ask(self, method: Any, request: Record, ledger: Ledger) -> Record | Fault:
        """Make a call until it is answered, or has lost too many containers.

        Raises EvaluatorUnavailable where no call can succeed any more, and Closed.
        """
        fault = Fault("It was not tried.", final=False)
        for losses in range(1, MOST_LOSSES + 1):
            try:
                answer = self._once(method, request)
                self._heard(answer, ledger)
                unfit = _unfit(answer, last=losses == MOST_LOSSES)
                if unfit is None:
                    return answer
                fault = unfit
            except (Closed, EvaluatorUnavailable):
                raise
            except Exception as error:
                if self._closing.is_set():
                    raise Closed from error
                fault = fault_of(error, self._gpu)
                if self._session.stopped_from_outside():
                    raise EvaluatorUnavailable(
                        f"The app on Modal was stopped from outside while gpu={self._gpu.name} "
                        f"was used: {GO_ON}."
                    ) from error
                if fault.final:
                    raise EvaluatorUnavailable(fault.text) from error
            if losses < MOST_LOSSES:
                self._say(f"{fault.text} It is tried again ({losses + 1} of {MOST_LOSSES}).")
                if self._closing.wait(PAUSE_S * 2 ** (losses - 1)):
                    raise Closed
        return fault

    def cancel(self) -> None:
        """Have a deployed app drop what nobody waits for; its containers stay warm.

        Returns after `CANCEL_S` at the latest, whether Modal was reached or not.
        """
        with self._lock:
            calls = list(self._waiting)
        threads = [threading.Thread(target=_cancel, args=(call,), daemon=True) for call in calls]
        for thread in threads:
            thread.start()
        deadline = time.monotonic() + CANCEL_S
        for thread in threads:
            thread.join(max(0.0, deadline - time.monotonic()))

    def verdict(self, answer: Record, task: Task, kernel: Kernel) -> Verdict | Fault:
        """Return the verdict in an answer, with the container that it comes from."""
        try:
            verdict = messages.verdict_of(answer.get("verdict"), task, kernel)
        except BadAnswer as error:
            return fault_of(error, self._gpu)
        report = Report.of(answer["container"])
        said = {"container": report.container}
        if report.judged == 1:
            said["container_start_s"] = f"{report.cold_s:.3f}"
        return replace(verdict, environment={**verdict.environment, **said})

    def _once(self, method: Any, request: Record) -> Record:
        """Call a container and wait; raises what Modal's client raises, BadAnswer or Closed."""
        packed = messages.pack(request)
        call = self._connection.reach(lambda: method.spawn(packed))
        with self._lock:
            self._waiting.add(call)
        try:
            while True:
                if self._closing.is_set():
                    raise Closed
                try:
                    said = self._connection.reach(lambda: call.get(timeout=POLL_S))
                except TimeoutError:
                    continue
                answer = messages.unpack(said)
                if answer.get("id", "") != request.get("id", ""):
                    raise BadAnswer("it answers another question")
                return answer
        finally:
            with self._lock:
                self._waiting.discard(call)

    def _heard(self, answer: Record, ledger: Ledger) -> None:
        """Take in what a container says of itself."""
        report = Report.of(answer.get("container"))
        for gone in ledger.saw(report.container, report.age_s, last=report.retiring):
            self._say(f"Container {gone} is gone; {report.container} has taken its place.")
        if report.sources != self._sources:
            raise EvaluatorUnavailable(
                f"The containers of gpu={self._gpu.name} run another version of kbexp: bring the "
                f"deployed app up to date with `python scripts/deploy.py gpu={self._gpu.name}`."
            )
        self._reports[report.container] = report


def _cancel(call: Any) -> None:
    with contextlib.suppress(Exception):
        call.cancel()


def _unfit(answer: Record, *, last: bool) -> Fault | None:
    """Return why an answer says nothing of the kernel, None where it does.

    An infrastructure error on one container is tried on the next; the last one stands.
    """
    if "lost" in answer:
        why = clean(str(answer["lost"]), 500)
        return Fault(f"The container could not judge: {why}.", final=False)
    verdict = answer.get("verdict")
    failed = isinstance(verdict, dict) and verdict.get("status") == Status.INFRASTRUCTURE_ERROR
    if failed and not last:
        return Fault("The container's own processes failed.", final=False)
    return None
