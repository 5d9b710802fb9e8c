"""One per device: queues evaluations, keeps zygote, judge and build cache warm, clears up.

    w = Worker("cpu", settings); w.start(); verdict = w.evaluate(task, kernel); w.close()

The worker itself imports no torch and runs nothing that it was given: it only starts, watches and
ends processes, so that it can outlive all of them.
"""

from __future__ import annotations

import os
import random
import shutil
import threading
import time
from collections.abc import Mapping
from dataclasses import asdict, replace
from importlib.metadata import version
from pathlib import Path

from kbexp.config import EvaluatorConfig, FaultyTasks, Policy, Profile
from kbexp.errors import TaskError
from kbexp.kernel import Kernel
from kbexp.task import Task
from kbexp.verdict import Phase, Phases, Status, Verdict
from kbexp.worker import wire
from kbexp.worker.build import BuildCache, toolchain, wants_build
from kbexp.worker.gauge import PEAKS
from kbexp.worker.hints import hint
from kbexp.worker.nursery import Nursery, end_all
from kbexp.worker.outcome import Outcome
from kbexp.worker.processes import Child
from kbexp.worker.profile import PROFILE_LIMIT_S
from kbexp.worker.report import Kind, read_report
from kbexp.worker.screen import examine, with_facts
from kbexp.worker.supervisor import SETUP_FAILED

LOAD_TIMEOUT_S = 60.0
"""What loading a task and trying it out may take, beyond `run_timeout_s`."""

COLD_DEVICE_S = 60.0
"""The same on a device, on top: its libraries are read, on a rented machine over a network."""

JUDGE_TIMEOUT_S = 300.0
"""What the judge's own work on one kernel may take, beyond what its runners may."""


class Worker:
    """Judges kernels on one device, one at a time; `evaluate` may be called from many threads."""

    def __init__(
        self, device: str, settings: EvaluatorConfig, env: Mapping[str, str] | None = None
    ) -> None:
        self.device = device
        self.environment: dict[str, str] = {}
        self.builds_made = 0
        self._settings = settings
        self._lock = threading.Lock()
        self._nursery = Nursery(device, settings, env or {})
        self._judge: Child | None = None
        self._judge_task = ""
        self._builds: BuildCache | None = None

    @property
    def isolation(self) -> str:
        """The level of the walls, known once the worker was started."""
        return self._nursery.isolation

    def start(self) -> None:
        """Start the zygote and find out which walls stand here.

        Raises `EvaluatorUnavailable` where torch cannot be imported or no wall can be built.
        """
        self._nursery.start()

    def close(self) -> None:
        """End every process and delete what they left, once the evaluation under way is over."""
        with self._lock:
            self._drop_judge()
            self.abandon()

    def abandon(self) -> None:
        """Do the same at once, whatever is under way; to be followed by the end of this process."""
        self._nursery.close()

    def evaluate(
        self,
        task: Task,
        kernel: Kernel,
        settings: EvaluatorConfig | None = None,
        parcel: Path | None = None,
    ) -> Verdict:
        """Judge one kernel; waits for its turn. `parcel` is what was built of it elsewhere.

        Raises `TaskError` for a task that cannot be judged on, `EvaluatorUnavailable` where the
        processes of this evaluator keep dying.
        """
        asked = time.monotonic()
        settings = settings or self._settings
        with self._lock:
            queue_s = time.monotonic() - asked
            outcome, findings = examine(
                kernel.source, Policy(settings.policy), self.device, task.source
            )
            build_s = 0.0
            if outcome is None:
                outcome, build_s = self._judged(task, kernel, settings, parcel)
        verdict = self._verdict(task, kernel, outcome, queue_s, build_s)
        return verdict if findings is None else with_facts(verdict, findings)

    def build_ahead(
        self, task: Task, kernel: Kernel, settings: EvaluatorConfig, device: str, capability: str
    ) -> Verdict | Path | None:
        """Compile a kernel for a device that is elsewhere, of this compute capability ("": none).

        Return the folder with what was built, the verdict where it already ends here, or None
        where there is nothing to build, or no telling.
        """
        with self._lock:
            started = time.monotonic()
            outcome, findings = examine(kernel.source, Policy(settings.policy), device, task.source)
            kept = None
            if outcome is None and wants_build(kernel.source):
                known = {"compute_capability": capability} if capability else {}
                self.environment = {"torch": version("torch"), **known}
                self._nursery.variables = self._build_env()
                try:
                    outcome, kept = self._build(kernel, settings)
                except (wire.Closed, wire.TooLate):
                    self._restart()
            if outcome is None:
                return Path(kept) if kept else None
            verdict = self._verdict(task, kernel, outcome, 0.0, time.monotonic() - started)
        return verdict if findings is None else with_facts(verdict, findings)

    def _judged(
        self, task: Task, kernel: Kernel, settings: EvaluatorConfig, parcel: Path | None
    ) -> tuple[Outcome, float]:
        """Build and judge, once more where a process of our own died."""
        died = ""
        for _ in range(2):
            try:
                outcome, build_s = self._build_and_judge(task, kernel, settings, parcel)
                if not outcome.again:
                    return outcome, build_s
                died = outcome.reasons[0]
            except (wire.Closed, wire.TooLate) as error:
                died = (str(error) or type(error).__name__) + self._restart()
        reason = f"the evaluator's own processes failed twice: {died}"
        return Outcome(Status.INFRASTRUCTURE_ERROR, Phase.QUEUE, (reason,)), 0.0

    def _build_and_judge(
        self, task: Task, kernel: Kernel, settings: EvaluatorConfig, parcel: Path | None
    ) -> tuple[Outcome, float]:
        judge = self._judge_for(task, settings)
        faults = self.environment.get("task_faults")
        if faults and settings.faulty_tasks == FaultyTasks.refuse:
            raise TaskError(
                f"Task {task.name}: {faults}, so that a speedup on it means nothing; with "
                "evaluator.faulty_tasks=mark kernels are judged nevertheless."
            )
        started = time.monotonic()
        keep = None
        if wants_build(kernel.source):
            failed, keep = self._build(kernel, settings, parcel)
            if failed is not None:
                return failed, time.monotonic() - started
        build_s = time.monotonic() - started
        runners = [self._nursery.runner(settings, keep), self._nursery.runner(settings)]
        if keep is None:
            # Where a process lies in memory can make it some percent faster: not always the same.
            random.shuffle(runners)
        try:
            outcome = self._ask(judge, kernel, settings, runners)
        finally:
            ends = end_all(runners)
            if any(end.lost for end in ends):
                # It may still run; the judge would lend the memory that it knows to others.
                self._drop_judge()
        end = ends[0]
        self._nursery.restock(settings)
        if end.exit == SETUP_FAILED and not end.peak_bytes:
            raise wire.Closed(end.log)
        if outcome.died and end.lost:
            raise wire.Closed("a supervisor was killed")
        if outcome.died == "the kernel":
            text = f"{outcome.reasons[0]}: {end.text(settings.memory_bytes)}"
            outcome = replace(outcome, reasons=(text,))
        if not outcome.log and outcome.status is not Status.CORRECT:
            outcome = replace(outcome, log=end.log)
        metrics = {**outcome.metrics, "peak_host_bytes": float(end.peak_bytes)}
        return replace(outcome, metrics=metrics), build_s

    def _ask(
        self, judge: Child, kernel: Kernel, settings: EvaluatorConfig, runners: list[Child]
    ) -> Outcome:
        """Lend the runners to the judge and wait for what it says."""
        lent = [*(runner.channel for runner in runners), *(runner.leash for runner in runners)]
        wire.send(
            judge.channel,
            {"source": kernel.source, "settings": asdict(settings)},
            [end.fileno() for end in lent],
        )
        for end in lent:
            end.close()  # The judge's copy is the only one left: a dead runner is seen at once.
        limit_s = 6 * settings.run_timeout_s + JUDGE_TIMEOUT_S
        limit_s += 8 * settings.timing_s + 4 * settings.energy_s
        limit_s += PROFILE_LIMIT_S if settings.profile != Profile.none else 0.0
        record, _ = wire.receive(judge.channel, limit_s)
        return Outcome.from_record(record)

    def _judge_for(self, task: Task, settings: EvaluatorConfig) -> Child:
        """Return a judge that has loaded `task`."""
        if self._judge is not None and self._judge_task == task.id:
            return self._judge
        self._drop_judge()
        order = {
            "source": task.source,
            "device": self.device,
            "trials": settings.correctness_trials,
            "peaks": {k: v for k, v in self.environment.items() if k in PEAKS},
        }
        # CUDA lends no memory out of a namespace; the judge is trusted, the runners are not.
        level = "process" if self.device != "cpu" else None
        judge = self._nursery.spawn("judge", settings, order, level=level)
        self._judge = judge
        self._judge_task = task.id
        limit_s = load_limit_s(settings, self.device)
        try:
            answer, _ = wire.receive(judge.channel, limit_s)
        except wire.TooLate:
            self._drop_judge()
            raise TaskError(
                f"Task {task.name} was not loaded and tried out within {limit_s:g} s: get_inputs, "
                "get_init_inputs or Model does not return, or takes long; mend it, make its sizes "
                "smaller or raise evaluator.run_timeout_s (the limit is "
                f"{limit_s - settings.run_timeout_s:g} s more)."
            ) from None
        except wire.Closed:
            said = self._drop_judge()
            raise TaskError(
                f"The task {task.name} cannot be loaded: its process failed, {said}"
            ) from None
        if "bad_task" in answer:
            self._drop_judge()
            raise TaskError(f"Task {task.name}: {answer['bad_task']}")
        self.environment = {str(k): str(v) for k, v in answer["environment"].items()}
        self._nursery.variables = self._build_env()
        return judge

    def _drop_judge(self) -> str:
        """End the judge, if there is one, and return how it ended."""
        said = ""
        if self._judge is not None:
            (end,) = end_all([self._judge])
            last = end.log.strip().splitlines()[-1:]
            said = ": ".join([end.text(self._settings.memory_bytes), *last])[:500]
        self._judge = None
        self._judge_task = ""
        return said

    def _build(
        self, kernel: Kernel, settings: EvaluatorConfig, parcel: Path | None = None
    ) -> tuple[Outcome | None, str | None]:
        """Compile ahead; return how the evaluation ends, or the folder with what was built."""
        cache = self._cache()
        found = cache.find(kernel.id) if settings.cache else None
        if found is None and parcel is not None:
            found = cache.adopt(kernel.id, parcel)
        if found is not None:
            return None, str(found)
        self.builds_made += 1
        in_place = self.isolation == "process"
        part = cache.reserve(kernel.id, f"{os.getpid()}-{self._nursery.number()}", in_place)
        order = {"source": kernel.source}
        builder = self._nursery.spawn("builder", settings, order, str(part), keep_out=True)
        failed = None
        try:
            report = read_report(builder.channel, settings.build_timeout_s)
            if report.kind is Kind.FAILED:
                failed = Outcome(
                    Status.COMPILE_ERROR,
                    Phase.BUILD,
                    ("an extension of the kernel does not compile" + hint(report.text),),
                    log=report.text,
                )
            else:
                builder.wait(settings.build_timeout_s)
        except wire.TooLate:
            text = f"the build did not finish within {settings.build_timeout_s:g} s"
            failed = Outcome(Status.TIMEOUT, Phase.BUILD, (text,))
        except wire.Closed:
            end = builder.wait(5)
            text = f"the build's process ended: {end.text(settings.memory_bytes)}"
            failed = Outcome(Status.COMPILE_ERROR, Phase.BUILD, (text,), log=end.log)
        end_all([builder])
        if failed is not None:
            shutil.rmtree(part, ignore_errors=True)
            return failed, None
        return None, str(cache.keep(kernel.id, part))

    def _cache(self) -> BuildCache:
        """Return the builds of this worker, wherever the settings of single evaluations point."""
        if self._builds is None:
            base = os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache")
            root = Path(self._settings.cache_dir or os.path.join(base, "kbexp", "builds"))
            known = self.environment
            tools = toolchain(known.get("torch", ""), known.get("compute_capability", ""))
            self._builds = BuildCache(root, tools)
        return self._builds

    def _build_env(self) -> dict[str, str]:
        """Name the device's architecture: a builder sees no device that torch could ask.

        From 9.0 on the variant with the architecture's own instructions (wgmma and so on), which
        code for exactly this device may use.
        """
        capability = self.environment.get("compute_capability")
        if capability is None:
            return {}
        own = "a" if int(capability.partition(".")[0]) >= 9 else ""
        return {"TORCH_CUDA_ARCH_LIST": capability + own}

    def _restart(self) -> str:
        """Start afresh after a process of our own died; return what the judge said last."""
        said = self._drop_judge()
        self._nursery.restart()
        return f"; the judge: {said}" if said else ""

    def _faults(self, outcome: Outcome) -> tuple[str, ...]:
        faults = self.environment.get("task_faults")
        compared = outcome.status in (Status.CORRECT, Status.INCORRECT)
        return (f"the task is faulty: {faults}",) if faults and compared else ()

    def _verdict(
        self, task: Task, kernel: Kernel, outcome: Outcome, queue_s: float, build_s: float
    ) -> Verdict:
        return Verdict(
            kernel_id=kernel.id,
            task_id=task.id,
            status=outcome.status,
            phase=outcome.phase,
            device=self.environment.get("device_name", self.device),
            isolation=self.isolation,
            reasons=outcome.reasons + self._faults(outcome),
            log=outcome.log,
            time_ms=outcome.time_ms,
            reference_ms=outcome.reference_ms,
            speedup=outcome.speedup,
            metrics=outcome.metrics,
            phases=Phases(queue_s, build_s, outcome.correctness_s, outcome.timing_s),
            environment={
                **self.environment,
                **outcome.conditions,
                "transport": outcome.transport,
            },
            profile=outcome.profile,
        )


def load_limit_s(settings: EvaluatorConfig, device: str) -> float:
    """Return the seconds in which a task must be loaded and tried out."""
    cold_s = 0.0 if device == "cpu" else COLD_DEVICE_S
    return settings.run_timeout_s + LOAD_TIMEOUT_S + cold_s
