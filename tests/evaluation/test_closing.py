"""An evaluator comes to its end whatever state its workers are in."""

from __future__ import annotations

import os
import signal
import threading
from pathlib import Path
from typing import Any

import psutil
import pytest
from kernels import KERNEL, quick
from waiting import wait_for

from kbexp.config import GpuConfig
from kbexp.evaluation import local, open_evaluator, process
from kbexp.evaluation.local import LocalEvaluator
from kbexp.kernel import Kernel
from kbexp.task import Task


def opened(tmp_path: Path) -> LocalEvaluator:
    evaluator = open_evaluator(GpuConfig(name="cpu"), quick(cache_dir=str(tmp_path)))
    assert isinstance(evaluator, LocalEvaluator)
    return evaluator


@pytest.fixture
def hasty(monkeypatch: pytest.MonkeyPatch) -> None:
    """Workers are given no time to end by themselves."""
    for module in (local, process):
        monkeypatch.setattr(module, "CLOSE_TIMEOUT_S", 0.2)


def halt(evaluator: LocalEvaluator) -> int:
    """Halt the worker, as somebody might who looks for a fault."""
    (worker,) = evaluator.workers
    os.kill(worker, signal.SIGSTOP)
    wait_for(lambda: psutil.Process(worker).status() == psutil.STATUS_STOPPED)
    return worker


@pytest.mark.usefixtures("hasty")
def test_a_worker_that_is_halted_is_killed(tmp_path: Path) -> None:
    with opened(tmp_path) as evaluator:
        wait_for(lambda: evaluator.workers)
        worker = halt(evaluator)
    wait_for(lambda: not psutil.pid_exists(worker))


@pytest.mark.usefixtures("hasty")
def test_a_request_that_is_not_read_holds_nothing_up(tmp_path: Path, task: Task) -> None:
    rescued = threading.Event()
    with opened(tmp_path) as evaluator:
        assert evaluator.wait_ready(60)
        worker = halt(evaluator)

        def rescue() -> None:
            rescued.set()
            os.kill(worker, signal.SIGCONT)

        timer = threading.Timer(20, rescue)
        timer.start()
        future = evaluator.submit(task, Kernel(KERNEL + "# a long text\n" * 100_000))
        wait_for(future.running)
    timer.cancel()
    assert not rescued.is_set()
    wait_for(lambda: not psutil.pid_exists(worker))
    assert future.exception(60) is not None


def test_a_worker_that_starts_as_all_ends_is_not_waited_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    late: list[process.WorkerProcess] = []
    killed: list[int] = []

    class Late(process.WorkerProcess):
        def __init__(self, *arguments: Any) -> None:
            wait_for(lambda: evaluator._closing)
            super().__init__(*arguments)
            late.append(self)

        def kill(self) -> None:
            killed.append(self.pid)
            super().kill()

    monkeypatch.setattr(local, "WorkerProcess", Late)
    monkeypatch.setattr(local, "CLOSE_TIMEOUT_S", 20.0)
    evaluator = opened(tmp_path)
    with evaluator:
        pass
    assert killed == []
    assert [worker.isolation for worker in late] == [""]  # It never was ready.
    assert not psutil.pid_exists(late[0].pid)
