"""The one interface to judging, whatever the device and wherever it is."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import Future
from types import TracebackType
from typing import Protocol, Self

from kbexp.config import EvaluatorConfig
from kbexp.kernel import Kernel
from kbexp.task import Task
from kbexp.verdict import Verdict


class Evaluator(Protocol):
    """Judges kernels; stays warm between `__enter__` and `__exit__`.

    A future ends in a `Verdict` whatever the kernel does; it raises `TaskError` where the task is
    at fault and `EvaluatorUnavailable` where nothing can be judged any more. A future that is
    cancelled before its turn is not judged. `settings` say how one kernel is judged, where that
    is not as the evaluator was opened; `isolation` and `cache_dir` stay what they were then.
    """

    @property
    def device(self) -> str:
        """The device's own name for itself, or what was asked for until it is known."""
        ...

    @property
    def parallel(self) -> int:
        """How many kernels are judged at the same time."""
        ...

    @property
    def billed_usd(self) -> float | None:
        """What a rented device has cost so far, idle time included; None where none is rented."""
        ...

    @property
    def left_usd(self) -> float:
        """What a rented device would cost after this moment, at most, if this process ended now."""
        ...

    def __enter__(self) -> Self: ...

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None: ...

    def wait_ready(self, timeout_s: float) -> bool:
        """Wait until kernels can be judged; False where that is not so within the time.

        Raises the `KbexpError` that says why none ever will be.
        """
        ...

    def submit(
        self, task: Task, kernel: Kernel, settings: EvaluatorConfig | None = None
    ) -> Future[Verdict]:
        """Queue one kernel."""
        ...

    def evaluate(
        self, task: Task, kernel: Kernel, settings: EvaluatorConfig | None = None
    ) -> Verdict:
        """Judge one kernel and wait for its verdict."""
        return self.submit(task, kernel, settings).result()

    def evaluate_batch(self, task: Task, kernels: Sequence[Kernel]) -> list[Verdict]:
        """Judge several kernels; verdicts come in the order of the kernels.

        The first error of any is raised.
        """
        futures = [self.submit(task, kernel) for kernel in kernels]
        return [future.result() for future in futures]
