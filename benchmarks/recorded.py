"""An evaluator that remembers: every kernel is really judged once, however many searches ask.

Searches over the same tasks with a proposer of few words come to the same texts again and again.
Judged once and told to all, a comparison of algorithms takes minutes in place of hours, and two
searches that found the same kernel found the same figure. The price: a lucky figure is lucky for
all of them, which is why what is reported is judged once more (`Purpose.CONFIRM`).
"""

from __future__ import annotations

import json
import threading
from concurrent.futures import Future
from enum import StrEnum
from pathlib import Path

from kbexp.config import EvaluatorConfig
from kbexp.evaluation import Evaluator
from kbexp.kernel import Kernel
from kbexp.task import Task
from kbexp.verdict import Status, Verdict


class Purpose(StrEnum):
    """What a verdict is for; figures for one have no part in the other."""

    SEARCH = "search"
    CONFIRM = "confirm"


class Recorded:
    """Verdicts by task, kernel and purpose, kept in `path`, a line of JSON each.

    `quiet` is held while a kernel is judged: whoever computes on the same processor takes it too.
    """

    def __init__(self, evaluator: Evaluator, path: Path) -> None:
        self.quiet = threading.RLock()
        self.judged = 0
        self._evaluator = evaluator
        self._path = path
        self._known: dict[tuple[str, str, Purpose], Verdict] = {}
        self._sources: dict[str, str] = {}
        if path.exists():
            for line in path.read_text(encoding="utf-8").splitlines():
                record = json.loads(line)
                verdict = Verdict.from_record(record["verdict"])
                key = (verdict.task_id, verdict.kernel_id, Purpose(record["purpose"]))
                self._known[key] = verdict
                self._sources[verdict.kernel_id] = record["source"]

    def kernel(self, kernel_id: str) -> Kernel:
        """Return a kernel that was judged."""
        return Kernel(self._sources[kernel_id])

    def verdict(
        self, task: Task, kernel: Kernel, purpose: Purpose, settings: EvaluatorConfig
    ) -> Verdict:
        """Return the verdict on a kernel, judging it where that has not been done."""
        key = (task.id, kernel.id, purpose)
        with self.quiet:
            if key not in self._known:
                verdict = self._evaluator.evaluate(task, kernel, settings)
                if verdict.status is Status.INFRASTRUCTURE_ERROR:
                    return verdict
                record = {
                    "purpose": purpose,
                    "source": kernel.source,
                    "verdict": verdict.to_record(),
                }
                with self._path.open("a", encoding="utf-8") as file:
                    file.write(json.dumps(record) + "\n")
                self._known[key] = verdict
                self._sources[kernel.id] = kernel.source
                self.judged += 1
            return self._known[key]

    def submit(
        self, task: Task, kernel: Kernel, purpose: Purpose, settings: EvaluatorConfig
    ) -> Future[Verdict]:
        """Return the verdict as a future that is done."""
        future: Future[Verdict] = Future()
        future.set_running_or_notify_cancel()
        try:
            future.set_result(self.verdict(task, kernel, purpose, settings))
        except Exception as error:
            future.set_exception(error)
        return future
