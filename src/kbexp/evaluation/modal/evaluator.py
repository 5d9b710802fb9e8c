"""An `Evaluator` over containers on Modal.

One thread for each container hands evaluations over and waits for what comes back; other threads
have extensions compiled ahead. An evaluation has one future, which is set once: what a lost
container had is tried again under the same id, and an answer that comes twice is the same answer.
"""

from __future__ import annotations

import contextlib
import logging
import queue
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future, InvalidStateError
from dataclasses import asdict, dataclass, field, replace
from types import TracebackType
from typing import Self
from uuid import uuid4

from kbexp.config import EvaluatorConfig, GpuConfig
from kbexp.errors import EvaluatorUnavailable, KbexpError
from kbexp.evaluation.evaluator import Evaluator
from kbexp.evaluation.modal import arguments
from kbexp.evaluation.modal.app import Handles
from kbexp.evaluation.modal.calls import Caller, Closed
from kbexp.evaluation.modal.faults import Fault
from kbexp.evaluation.modal.ledger import GRACE_S, SILENCE_S, Ledger
from kbexp.evaluation.modal.messages import Report
from kbexp.evaluation.modal.session import Session, check_token
from kbexp.evaluation.process import named_error
from kbexp.kernel import Kernel
from kbexp.task import Task
from kbexp.verdict import Phase, Record, Status, Verdict
from kbexp.worker.build import wants_build

log = logging.getLogger(__name__)

WAITING_S = 60.0
"""Nothing is said of a container that is there sooner."""

LOOK_S = 1.0
"""Between two looks at whether the first container is there."""

BETWEEN_BILLS_S = 10.0
"""Whoever keeps the bill does so at least this often."""


@dataclass(slots=True, eq=False)
class Job:
    """One evaluation, the name of what was built for it, and the future that waits for it."""

    task: Task
    kernel: Kernel
    settings: EvaluatorConfig
    future: Future[Verdict] = field(default_factory=Future)
    id: str = field(default_factory=lambda: uuid4().hex)
    build: str | None = None

    def take(self) -> bool:
        """Begin with it; false where nobody waits for it any more."""
        return self.future.running() or self.future.set_running_or_notify_cancel()

    def settle(self, outcome: Verdict | KbexpError) -> None:
        """Give whoever waits what it came to; a second time changes nothing."""
        with contextlib.suppress(InvalidStateError):
            if isinstance(outcome, Verdict):
                self.future.set_result(outcome)
            else:
                self.future.set_exception(outcome)

    def lost(self, reason: str, device: str) -> Verdict:
        """Return the verdict of an evaluation that no container finished."""
        return Verdict(
            kernel_id=self.kernel.id,
            task_id=self.task.id,
            status=Status.INFRASTRUCTURE_ERROR,
            phase=Phase.QUEUE,
            device=device,
            isolation="",
            reasons=(reason,),
        )


Jobs = queue.Queue[Job | None]


class ModalEvaluator(Evaluator):
    """Judges kernels in up to `gpu.count` containers, each with a device of its own.

    `complete` is applied to every verdict. `say` is told in sentences what a person should know,
    from several threads. Raises KbexpError for settings with which no container can be asked for,
    and where there is no token.
    """

    def __init__(
        self,
        gpu: GpuConfig,
        settings: EvaluatorConfig,
        complete: Callable[[Verdict], Verdict] = lambda verdict: verdict,
        say: Callable[[str], None] = log.warning,
    ) -> None:
        arguments.check(gpu)
        check_token(gpu)
        self._gpu = gpu
        self._settings = settings
        self._complete = complete
        self._closing = threading.Event()
        self._say = say
        self._session = Session(gpu, settings, say)
        self._caller = Caller(gpu, self._session, self._closing, say)
        self._jobs: Jobs = queue.Queue()
        self._to_build: Jobs = queue.Queue()
        self._threads: list[threading.Thread] = []
        self._refused: KbexpError | None = None
        self._ready = threading.Event()
        self._name = ""
        self._judging = Ledger(
            gpu.usd_per_s,
            idle_s=float(gpu.idle_timeout_s),
            most=gpu.count,
            kept=0 if gpu.deployed else 1,
        )
        self._building = Ledger(
            gpu.container_usd_per_s, idle_s=arguments.BUILDER_IDLE_S, most=max(gpu.builders, 1)
        )

    @property
    def device(self) -> str:
        """The device's own name, from the first verdict on."""
        return self._name or self._gpu.device_name or self._gpu.name

    @property
    def parallel(self) -> int:
        """One kernel a container."""
        return self._gpu.count

    @property
    def billed_usd(self) -> float:
        """Dollars for containers so far, from their start to their end."""
        return self._judging.usd + self._building.usd

    @property
    def left_usd(self) -> float:
        """Dollars that the containers would cost after this moment, if this process ended now."""
        alive_s = BETWEEN_BILLS_S + (0.0 if self._gpu.deployed else SILENCE_S + GRACE_S)
        return (self._judging.usd_per_s + self._building.usd_per_s) * alive_s

    @property
    def reports(self) -> list[Report]:
        """What the containers said of themselves last."""
        return self._caller.reports

    def __enter__(self) -> Self:
        """Begin to start the app; it comes up while the caller goes on."""
        self._session.open()
        for number in range(self._gpu.count):
            self._start(self._serve, self._jobs, self._judging, self._judge, number == 0)
        for _ in range(self._gpu.builders):
            self._start(self._serve, self._to_build, self._building, self._build, False)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Cancel what waits, drop what is being judged, end the app that is this run's own."""
        self._closing.set()
        for jobs in (self._to_build, self._jobs):
            for job in _drained(jobs):
                job.future.cancel()
            for _ in self._threads:
                jobs.put(None)
        if self._gpu.deployed:
            self._caller.cancel()
        later_s = self._end()
        self._judging.close(later_s)
        self._building.close(later_s)

    def wait_ready(self, timeout_s: float) -> bool:
        """Wait until a container is warm, or it is clear that none ever will be."""
        ready = self._ready.wait(timeout_s)
        if self._refused is not None:
            raise self._refused
        return ready

    def submit(
        self, task: Task, kernel: Kernel, settings: EvaluatorConfig | None = None
    ) -> Future[Verdict]:
        """Queue one kernel."""
        job = Job(task, kernel, settings or self._settings)
        ahead = self._gpu.builders and job.settings.cache and builds_ahead(kernel)
        (self._to_build if ahead else self._jobs).put(job)
        if self._refused is not None:
            self._answer_all(self._refused)
        return job.future

    def _end(self) -> float:
        """End the session; return how many seconds longer its containers may live than that."""
        ended = self._session.close()
        if not self._judging.usd_per_s:
            return 0.0
        if self._gpu.deployed:
            self._tell_staying()
            return 0.0
        if not ended:
            self._say(
                "Modal has not confirmed the end of the app; it ends by itself when it has not "
                f"heard of this machine for {SILENCE_S:.0f} s, and is counted until then."
            )
            return SILENCE_S + GRACE_S
        return 0.0 if self._session.gone else GRACE_S

    def _tell_staying(self) -> None:
        """Say what a deployed app's containers do when this run is over."""
        idle_s = self._session.idle_timeout_s
        self._say(
            f"Containers of the deployed app stay warm for {idle_s} s after they were used last, "
            f"at most ${idle_s * self._gpu.usd_per_s:.2g} each that is not counted here; "
            f"`python scripts/deploy.py gpu={self._gpu.name} action=stop` ends them at once."
        )

    def _start(self, serve: Callable[..., None], *arguments: object) -> None:
        thread = threading.Thread(target=serve, args=arguments, daemon=True)
        self._threads.append(thread)
        thread.start()

    def _serve(
        self, jobs: Jobs, ledger: Ledger, work: Callable[[Handles, Job], None], first: bool
    ) -> None:
        """Feed one container until the evaluator closes; runs in a thread of its own."""
        try:
            handles = self._session.handles()
            ledger.open()
            if first:
                self._greet(handles)
            while (job := jobs.get()) is not None:
                if job.take():
                    self._finish(work, handles, job)
        except Closed:
            return
        except KbexpError as error:
            self._refuse(error)

    def _finish(self, work: Callable[[Handles, Job], None], handles: Handles, job: Job) -> None:
        """Work on one job; whoever waits for it hears of what ends the evaluator too."""
        try:
            work(handles, job)
        except Closed:
            job.settle(EvaluatorUnavailable("The evaluator was closed."))
            raise
        except KbexpError as error:
            job.settle(error)
            raise

    def _greet(self, handles: Handles) -> None:
        """Have the first container started, and see that it can judge."""
        answered = threading.Event()
        watching = threading.Thread(target=self._watch, args=(handles, answered), daemon=True)
        watching.start()
        try:
            answer = self._caller.ask(handles.judge.report, {}, self._judging)
        finally:
            answered.set()
        if isinstance(answer, Fault):
            raise EvaluatorUnavailable(f"No container starts on Modal: {answer.text}")
        self._ready.set()

    def _watch(self, handles: Handles, answered: threading.Event) -> None:
        """See when the first container begins to cost, and say so where there is none for long."""
        began = time.monotonic()
        told = False
        while not answered.wait(LOOK_S) and not self._closing.is_set():
            there = 0
            with contextlib.suppress(Exception):  # It is looked again, and its age will tell too.
                there = handles.judge.report.get_current_stats().num_total_runners
            if there:
                self._judging.starting()
                return
            if not told and time.monotonic() - began > WAITING_S:
                told = True
                self._say(
                    f"Modal has not yet had a container for gpu={self._gpu.name}; it is waited for."
                )

    def _judge(self, handles: Handles, job: Job) -> None:
        """Get one job its verdict."""
        request = {**self._request(job), "build": job.build}
        answer = self._caller.ask(handles.judge.judge, request, self._judging)
        if isinstance(answer, dict) and "error" in answer:
            job.settle(named_error(answer["error"]))
            return
        found: Verdict | Fault = (
            answer
            if isinstance(answer, Fault)
            else self._caller.verdict(answer, job.task, job.kernel)
        )
        if isinstance(found, Fault):
            job.settle(job.lost(found.text, self.device))
            return
        self._name = found.device
        job.settle(self._complete(found))

    def _build(self, handles: Handles, job: Job) -> None:
        """Have one job compiled, and then judged, unless it ends here with its verdict."""
        device = "cuda:0" if self._gpu.device_name else "cpu"
        ahead = {"device": device, "capability": self._gpu.compute_capability or ""}
        request = {**self._request(job), "ahead": ahead}
        assert handles.builder is not None
        answer = self._caller.ask(handles.builder.build, request, self._building)
        if isinstance(answer, dict) and "verdict" in answer:
            verdict = self._caller.verdict(answer, job.task, job.kernel)
            if isinstance(verdict, Verdict) and verdict.status is not Status.INFRASTRUCTURE_ERROR:
                job.settle(self._complete(replace(verdict, device=self.device)))
                return
        if isinstance(answer, dict) and isinstance(answer.get("build"), str):
            job.build = answer["build"]
        self._jobs.put(job)  # Without a build it is compiled beside the device.

    def _request(self, job: Job) -> Record:
        return {
            "id": job.id,
            "task": {"name": job.task.name, "source": job.task.source},
            "kernel": job.kernel.source,
            "kernel_id": job.kernel.id,
            "settings": asdict(job.settings),
            "volume": arguments.volume_name(self._gpu),
        }

    def _refuse(self, error: KbexpError) -> None:
        """Answer everything from now on with this error."""
        self._refused = error
        self._ready.set()
        self._answer_all(error)

    def _answer_all(self, error: KbexpError) -> None:
        """Answer whatever waits; called after a job is queued too, as it may come too late."""
        for jobs in (self._to_build, self._jobs):
            for job in _drained(jobs):
                if job.take():
                    job.settle(error)


def builds_ahead(kernel: Kernel) -> bool:
    """Whether a kernel is worth compiling elsewhere.

    What is made for the very processor that compiles it would not run on another.
    """
    return wants_build(kernel.source) and "native" not in kernel.source


def _drained(jobs: Jobs) -> list[Job]:
    """Take every job off a queue."""
    found: list[Job] = []
    with contextlib.suppress(queue.Empty):
        while True:
            job = jobs.get_nowait()
            if job is not None:
                found.append(job)
    return found
