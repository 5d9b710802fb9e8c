"""Judging on this machine: one worker process for each device."""

from __future__ import annotations

import os
import queue
import shutil
import subprocess
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from types import TracebackType
from typing import Self

from kbexp.config import EvaluatorConfig
from kbexp.errors import EvaluatorUnavailable, KbexpError
from kbexp.evaluation.evaluator import Evaluator
from kbexp.evaluation.process import CLOSE_TIMEOUT_S, WorkerLost, WorkerProcess
from kbexp.kernel import Kernel
from kbexp.task import Task
from kbexp.verdict import Verdict

MOST_DEATHS = 3
KILL_TIMEOUT_S = 2.0


@dataclass(slots=True)
class Job:
    """One kernel in the queue and the future that waits for its verdict."""

    task: Task
    kernel: Kernel
    settings: EvaluatorConfig
    future: Future[Verdict] = field(default_factory=Future)
    deaths: int = 0


class LocalEvaluator(Evaluator):
    """An `Evaluator` over the CPU or the CUDA devices of this machine.

    `devices` holds, for each worker, torch's device name and the value of CUDA_VISIBLE_DEVICES
    for it (None: as it is). `complete` is applied to every verdict. A worker that dies is started
    again and its kernel judged again; a kernel that takes `MOST_DEATHS` workers along ends the
    evaluator.
    """

    def __init__(
        self,
        devices: Sequence[tuple[str, str | None]],
        settings: EvaluatorConfig,
        complete: Callable[[Verdict], Verdict] = lambda verdict: verdict,
    ) -> None:
        self._devices = list(devices)
        self._complete = complete
        self._settings = settings
        self._jobs: queue.Queue[Job | None] = queue.Queue()
        self._threads: list[threading.Thread] = []
        self._workers: list[WorkerProcess | None] = [None] * len(self._devices)
        self._closing = False
        self._name = self._devices[0][0]
        self._refused: KbexpError | None = None
        self._ready = threading.Event()

    @property
    def device(self) -> str:
        """The device's own name, from the first verdict on."""
        return self._name

    @property
    def parallel(self) -> int:
        """One kernel a device."""
        return len(self._devices)

    @property
    def billed_usd(self) -> None:
        """Nothing is rented."""
        return

    @property
    def left_usd(self) -> float:
        """Nothing is rented."""
        return 0.0

    @property
    def workers(self) -> list[int]:
        """The process ids of the workers that run."""
        return [worker.pid for worker in self._workers if worker is not None]

    def __enter__(self) -> Self:
        """Start the workers; they become warm while the caller goes on."""
        for index in range(len(self._devices)):
            thread = threading.Thread(target=self._serve, args=(index,), daemon=True)
            thread.start()
            self._threads.append(thread)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Cancel what waits, end the workers; what is being judged is dropped."""
        self._closing = True
        self._drain()
        for _ in self._threads:
            self._jobs.put(None)
        for worker in filter(None, self._workers):
            threading.Thread(target=worker.hang_up, daemon=True).start()
        if not self._ended_within(CLOSE_TIMEOUT_S):
            for worker in filter(None, self._workers):
                worker.kill()
            self._ended_within(KILL_TIMEOUT_S)

    def _ended_within(self, timeout_s: float) -> bool:
        """Wait for the threads that feed the workers, each of which sees its worker out."""
        deadline = time.monotonic() + timeout_s
        for thread in self._threads:
            thread.join(max(0.0, deadline - time.monotonic()))
        return not any(thread.is_alive() for thread in self._threads)

    def wait_ready(self, timeout_s: float) -> bool:
        """Wait until the first worker is warm, or will never be."""
        ready = self._ready.wait(timeout_s)
        if self._refused is not None:
            raise self._refused
        return ready

    def submit(
        self, task: Task, kernel: Kernel, settings: EvaluatorConfig | None = None
    ) -> Future[Verdict]:
        """Queue one kernel."""
        job = Job(task, kernel, settings or self._settings)
        self._jobs.put(job)
        if self._refused is not None:
            self._answer_all(self._refused)
        return job.future

    def _serve(self, index: int) -> None:
        """Feed one worker until the evaluator closes; runs in a thread of its own."""
        try:
            self._start(index)
            self._ready.set()
            while (job := self._jobs.get()) is not None:
                if job.future.set_running_or_notify_cancel():
                    self._judge(index, job)
        except KbexpError as error:
            self._refuse(error)
        except WorkerLost as error:
            self._refuse(EvaluatorUnavailable(f"The evaluator's worker does not start: {error}."))
        worker = self._workers[index]
        if worker is not None:
            worker.close()

    def _start(self, index: int) -> WorkerProcess:
        device, visible = self._devices[index]
        worker = WorkerProcess(device, visible, self._settings)
        self._workers[index] = worker
        if self._closing:
            # Whoever closes the evaluator may have looked before this one was there.
            worker.hang_up()
        worker.wait_ready()
        return worker

    def _judge(self, index: int, job: Job) -> None:
        """Get one job its verdict, starting the worker again where it dies."""
        while True:
            worker = self._workers[index]
            assert worker is not None
            try:
                verdict = worker.judge(job.task, job.kernel, job.settings)
            except KbexpError as error:
                job.future.set_exception(error)
                return
            except WorkerLost as error:
                worker.close()
                job.deaths += 1
                if self._closing or job.deaths >= MOST_DEATHS:
                    gone = EvaluatorUnavailable(
                        "The evaluator was closed."
                        if self._closing
                        else f"The evaluator's worker died {job.deaths} times on kernel "
                        f"{job.kernel.id[:12]} ({error})."
                    )
                    job.future.set_exception(gone)
                    if not self._closing:
                        raise gone from error
                    return
                self._start(index)
                continue
            self._name = verdict.device
            job.future.set_result(self._complete(verdict))
            return

    def _refuse(self, error: KbexpError) -> None:
        """Answer everything from now on with this error."""
        self._refused = error
        self._ready.set()
        self._answer_all(error)

    def _answer_all(self, error: KbexpError) -> None:
        """Answer whatever waits; called after a job is queued too, as it may come too late."""
        for job in self._drain():
            job.future.set_exception(error)

    def _drain(self) -> list[Job]:
        """Take every job off the queue; return those that are not cancelled, now running."""
        jobs: list[Job] = []
        while True:
            try:
                job = self._jobs.get_nowait()
            except queue.Empty:
                return jobs
            if job is None:
                continue
            if self._closing:
                job.future.cancel()
            elif job.future.set_running_or_notify_cancel():
                jobs.append(job)


def cuda_devices() -> list[str]:
    """Return the UUIDs of this machine's CUDA devices, by nvidia-smi; torch would take seconds.

    CUDA_VISIBLE_DEVICES is respected. Raises `EvaluatorUnavailable` where there is none.
    """
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    if visible is not None:
        names = [name.strip() for name in visible.split(",") if name.strip()]
        if names:
            return names
    program = shutil.which("nvidia-smi")
    if program is not None and visible is None:
        answer = subprocess.run(
            [program, "--query-gpu=uuid", "--format=csv,noheader"],
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        names = [line.strip() for line in answer.stdout.splitlines() if line.startswith("GPU-")]
        if names:
            return names
    raise EvaluatorUnavailable(
        "gpu=local finds no CUDA device on this machine (nvidia-smi lists none, or "
        "CUDA_VISIBLE_DEVICES hides them all); use gpu=cpu."
    )
