"""What the best kernel is compared with: the reference as it stands, and under torch.compile.

A baseline is judged as a kernel is, by the same evaluator under the same settings, so that its
speedup over the reference has an interval and wrong answers do not count.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from threading import Event as Flag
from typing import TYPE_CHECKING

from kbexp.app.baseline_cache import BaselineCache
from kbexp.app.confirm import completed, decided, verdict_of
from kbexp.config import Baseline, BaselinesConfig, EvaluatorConfig, GpuConfig, Policy
from kbexp.errors import KbexpError
from kbexp.events import BaselineBegun, BaselineJudged, Event
from kbexp.kernel import Kernel
from kbexp.summary import RunSummary
from kbexp.task import Task
from kbexp.verdict import Verdict

if TYPE_CHECKING:
    from kbexp.evaluation import Evaluator

COMPILED = """

import torch as _torch
import torch._inductor.config as _inductor

# In this process and no other: there may be none besides, and their memory would count.
_inductor.compile_threads = 1


def ModelNew(*arguments):
    return _torch.compile(Model(*arguments), dynamic=False)
"""
"""What follows the task's own text, and makes a kernel of it."""


def check_baselines(config: BaselinesConfig) -> None:
    """Raise KbexpError where the settings cannot be meant."""
    if not config.run_timeout_s > 0:
        raise KbexpError(
            f"baselines.run_timeout_s is {config.run_timeout_s}: give seconds above 0."
        )


def chosen_baselines(config: BaselinesConfig, gpu: GpuConfig) -> list[Baseline]:
    """Return the baselines of a run; on a CPU, which compiles for long, the reference alone."""
    if config.names is not None:
        return list(dict.fromkeys(config.names))
    return [Baseline.eager] if gpu.is_cpu else list(Baseline)


def compiled_reference(task: Task) -> Kernel:
    """Return the task's reference under torch.compile, as a kernel."""
    return Kernel(task.source.rstrip() + "\n" + COMPILED)


def baseline_settings(own: EvaluatorConfig, config: BaselinesConfig) -> EvaluatorConfig:
    """Return the settings for judging a baseline: time to compile, and no policy against that."""
    run_timeout_s = max(own.run_timeout_s, config.run_timeout_s)
    return replace(own, run_timeout_s=run_timeout_s, policy=Policy.any)


@dataclass(slots=True, kw_only=True)
class Comparing:
    """The live state of judging baselines; `cache` is None where each run judges its own."""

    evaluator: Evaluator
    settings: EvaluatorConfig
    cache: BaselineCache | None
    summary: RunSummary
    record: Callable[[Event], None]
    stop: Flag
    affordable: Callable[[], int]
    notes: list[str] = field(default_factory=list)

    def judge(self, name: Baseline, task: Task, like: Verdict) -> None:
        """Judge one baseline, unless this run or the cache has its verdict.

        `like` is a verdict of this run, which says on what it was reached. Raises as
        `Confirming.best` does; a baseline that fails is noted and no more.
        """
        before = self.summary.baselines.get(str(name))
        if name is Baseline.eager or (before is not None and decided(before.verdict)):
            return
        kernel = compiled_reference(task)
        cached = self.cache.find(task, kernel, like, self.settings) if self.cache else None
        if cached is not None:
            self.record(BaselineJudged(name=str(name), verdict=cached, cached=True))
            return
        if self.affordable() < 1:
            self.notes.append(f"The baseline {name} could not be measured within budget.gpu_usd.")
            return
        self.record(BaselineBegun(name=str(name)))
        future = self.evaluator.submit(task, kernel, self.settings)
        for done in completed([future], self.stop):
            verdict = verdict_of(done, kernel.id, task)
            self.record(BaselineJudged(name=str(name), verdict=verdict))
            if self.cache and verdict.correct:
                self.cache.keep(task, kernel, verdict, self.settings)
            if not verdict.correct:
                why = verdict.reasons[0] if verdict.reasons else str(verdict.status)
                self.notes.append(f"The baseline {name} could not be measured: {why}")
