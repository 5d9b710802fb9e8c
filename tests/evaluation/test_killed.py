"""Every process of the evaluator is killed in turn: a verdict comes all the same."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import Future
from pathlib import Path

import psutil
import pytest
from kernels import KERNEL, kernel, quick

from kbexp.config import GpuConfig
from kbexp.errors import EvaluatorUnavailable
from kbexp.evaluation import open_evaluator
from kbexp.evaluation.local import LocalEvaluator
from kbexp.kernel import Kernel
from kbexp.task import Task
from kbexp.verdict import Status, Verdict

SLOW = (
    "if not hasattr(self, 'n'): self.n = time.sleep(3)\n"
    "return torch.softmax(x * self.weight, dim=-1)"
)


def processes(evaluator: LocalEvaluator, name: str) -> list[psutil.Process]:
    """Return the evaluator's processes with this name."""
    found = []
    for pid in evaluator.workers:
        for process in psutil.Process(pid).children(recursive=True):
            try:
                if name in (process.name(), *process.cmdline()):
                    found.append(process)
            except psutil.NoSuchProcess:
                continue
    return found


def wait_for(evaluator: LocalEvaluator, name: str) -> psutil.Process:
    """Wait until such a process runs."""
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        found = processes(evaluator, name)
        if found:
            return found[0]
        time.sleep(0.02)
    raise AssertionError(f"no {name} in 60 s")


def wait_until_slow(evaluator: LocalEvaluator) -> None:
    """Wait until a kernel that was just submitted sleeps; a runner may have been in stock."""
    wait_for(evaluator, "kbexp-runner")
    time.sleep(0.5)


def local(tmp_path: Path) -> LocalEvaluator:
    settings = quick(cache_dir=str(tmp_path))
    evaluator = open_evaluator(GpuConfig(name="cpu"), settings)
    assert isinstance(evaluator, LocalEvaluator)
    return evaluator


@pytest.fixture(scope="module")
def hardy(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalEvaluator]:
    """An evaluator that must outlast all that is done to it, from one test to the next."""
    with local(tmp_path_factory.mktemp("builds")) as evaluator:
        yield evaluator


def good(evaluator: LocalEvaluator, task: Task) -> None:
    assert evaluator.evaluate(task, Kernel(KERNEL)).status is Status.CORRECT


@pytest.mark.parametrize(
    "name", ["kbexp-runner", "kbexp-judge", "kbexp.worker.zygote", "kbexp-watch"]
)
def test_a_process_is_killed_in_mid_evaluation(
    hardy: LocalEvaluator, task: Task, name: str
) -> None:
    good(hardy, task)
    pending = hardy.submit(task, kernel(SLOW))
    wait_until_slow(hardy)
    wait_for(hardy, name).kill()
    verdict = pending.result(60)
    if name in ("kbexp-judge", "kbexp.worker.zygote"):
        # Ours, so the kernel is judged again.
        assert verdict.status is Status.CORRECT, verdict
    good(hardy, task)


def test_the_builder_is_killed(hardy: LocalEvaluator, task: Task) -> None:
    slow_build = Kernel("import time  # cpp_extension\ntime.sleep(30)\nclass ModelNew: pass")
    pending = hardy.submit(task, slow_build)
    wait_for(hardy, "kbexp-builder").kill()
    verdict = pending.result(60)
    assert verdict.status is Status.COMPILE_ERROR, verdict
    assert "SIGKILL" in verdict.reasons[0]
    good(hardy, task)


def test_the_worker_is_killed(hardy: LocalEvaluator, task: Task) -> None:
    good(hardy, task)
    pending = hardy.submit(task, kernel(SLOW))
    wait_until_slow(hardy)
    (first,) = hardy.workers
    children = psutil.Process(first).children(recursive=True)
    psutil.Process(first).kill()
    assert pending.result(60).status is Status.CORRECT
    assert hardy.workers != [first]
    gone, alive = psutil.wait_procs(children, 10)
    assert alive == [], (gone, alive)


def test_a_kernel_that_takes_every_worker_along_ends_the_evaluator(
    tmp_path: Path, task: Task
) -> None:
    with local(tmp_path) as evaluator:
        good(evaluator, task)
        pending: Future[Verdict] = evaluator.submit(task, kernel("time.sleep(3)\nreturn x"))
        seen: set[int] = set()
        deadline = time.monotonic() + 60
        while not pending.done() and time.monotonic() < deadline:
            for pid in evaluator.workers:
                if pid not in seen and processes(evaluator, "kbexp-runner"):
                    seen.add(pid)
                    psutil.Process(pid).kill()
            time.sleep(0.02)
        with pytest.raises(EvaluatorUnavailable, match="died 3 times"):
            pending.result(1)
        with pytest.raises(EvaluatorUnavailable):
            evaluator.evaluate(task, Kernel(KERNEL))


def test_nothing_is_left_when_its_owner_is_killed(tmp_path: Path) -> None:
    owner = tmp_path / "owner.py"
    owner.write_text(
        "import sys, time\n"
        f"sys.path.insert(0, {str(Path(__file__).parents[1])!r})\n"
        "from kernels import TASK, kernel, quick\n"
        "from kbexp.config import GpuConfig\n"
        "from kbexp.evaluation import open_evaluator\n"
        "from kbexp.task import Task\n"
        "with open_evaluator(GpuConfig(name='cpu'), quick()) as evaluator:\n"
        f"    pending = evaluator.submit(Task('small', TASK), kernel({SLOW!r}))\n"
        "    while not evaluator.workers: time.sleep(0.01)\n"
        "    print('started', flush=True)\n"
        "    pending.result()\n"
    )
    with subprocess.Popen([sys.executable, str(owner)], stdout=subprocess.PIPE, text=True) as run:
        assert run.stdout is not None
        assert run.stdout.readline() == "started\n"
        time.sleep(3)
        children = psutil.Process(run.pid).children(recursive=True)
        run.kill()
    assert children
    _, alive = psutil.wait_procs(children, 15)
    assert alive == []


def test_closing_cancels_what_waits(tmp_path: Path, task: Task) -> None:
    with local(tmp_path) as evaluator:
        good(evaluator, task)
        pending = [evaluator.submit(task, kernel(SLOW + f"  # {n}")) for n in range(3)]
        wait_for(evaluator, "kbexp-runner")
        pids = list(evaluator.workers)
    assert all(future.done() for future in pending)
    assert pending[1].cancelled()
    assert pending[2].cancelled()
    assert not any(psutil.pid_exists(pid) for pid in pids)


def test_a_batch_comes_back_in_order(hardy: LocalEvaluator, task: Task) -> None:
    kernels = [Kernel(KERNEL), Kernel("def ("), kernel("raise ValueError('boo')")]
    verdicts = hardy.evaluate_batch(task, kernels)
    assert hardy.device == verdicts[0].device
    assert [verdict.kernel_id for verdict in verdicts] == [each.id for each in kernels]
    assert [verdict.status for verdict in verdicts] == [
        Status.CORRECT, Status.COMPILE_ERROR, Status.RUNTIME_ERROR,
    ]  # fmt: skip
