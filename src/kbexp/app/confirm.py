"""After the search: its best kernels are judged again, by figures that had no part in finding them.

The evaluator is the one that the search used, still warm; processes and secret inputs are new for
every evaluation anyway.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, wait
from dataclasses import asdict, dataclass, field, replace
from threading import Event as Flag
from typing import TYPE_CHECKING, Any

from kbexp.app.evaluator_settings import check_pairs
from kbexp.config import ConfirmConfig, ConfirmEvaluatorConfig, EvaluatorConfig, Profile, RunConfig
from kbexp.errors import EvaluatorUnavailable, KbexpError
from kbexp.events import ConfirmationBegun, Confirmed, Event
from kbexp.kernel import Kernel
from kbexp.summary import RunSummary
from kbexp.task import Task
from kbexp.verdict import Phase, Status, Verdict
from kbexp.winner import Judged

if TYPE_CHECKING:
    from kbexp.evaluation import Evaluator

POLL_S = 0.1
"""How long a wait lasts at most before the stop flag is looked at again."""

MOST_TIMES = 2
"""So many times `confirm.kernels` are judged again at most, where the first of them fail."""


class Interrupted(Exception):
    """The run was asked to stop while something was being judged."""


@dataclass(frozen=True, slots=True)
class Sized:
    """The run's task with other constants, and which they are."""

    task: Task
    sizes: Mapping[str, Any]


def check_confirm(config: ConfirmConfig) -> None:
    """Raise KbexpError where the settings cannot be meant."""
    if config.kernels < 0:
        raise KbexpError(
            f"confirm.kernels is {config.kernels}: give how many kernels are judged again, or 0."
        )
    for name, value in asdict(config.evaluator).items():
        if value is not None and not value > 0:
            raise KbexpError(
                f"confirm.evaluator.{name} is {value}: give a number above 0, or null."
            )
    given = config.evaluator
    if given.min_pairs is not None and given.max_pairs is not None:
        check_pairs("confirm.evaluator", given.min_pairs, given.max_pairs)


def confirm_settings(own: EvaluatorConfig, given: ConfirmEvaluatorConfig) -> EvaluatorConfig:
    """Return the settings for judging again: above the run's own, but for what is given."""
    notch = {
        "correctness_trials": 2 * own.correctness_trials,
        "min_pairs": 2 * own.min_pairs,
        "max_pairs": 2 * own.max_pairs,
        "target_width": own.target_width / 2,
        "timing_s": 2 * own.timing_s,
        "profile": Profile.none,  # Nothing is asked of a model after the search.
    }
    chosen = {**notch, **{k: v for k, v in asdict(given).items() if v is not None}}
    if given.max_pairs is not None:
        chosen["min_pairs"] = min(chosen["min_pairs"], chosen["max_pairs"])
    chosen["max_pairs"] = max(chosen["min_pairs"], chosen["max_pairs"])
    return replace(own, **chosen)


def other_sizes(config: RunConfig, task: Task) -> list[Sized]:
    """Return the tasks of `task.confirm_sizes`; raises KbexpError for a size that does not fit."""
    from kbexp.tasks.load import load

    found: dict[str, Sized] = {}
    for sizes in config.task.confirm_sizes:
        changed = replace(config.task, sizes={**config.task.sizes, **sizes})
        sized = load(changed, config.gpu.sizes)
        if sized.id != task.id:
            found.setdefault(sized.id, Sized(sized, dict(sizes)))
    return list(found.values())


@dataclass(slots=True, kw_only=True)
class Confirming:
    """The live state of judging again; `affordable` says for how many more there is money."""

    evaluator: Evaluator
    settings: EvaluatorConfig
    summary: RunSummary
    record: Callable[[Event], None]
    stop: Flag
    affordable: Callable[[], int]
    notes: list[str] = field(default_factory=list)
    _attempted: set[str] = field(default_factory=set)

    def best(self, task: Task, kernels: int) -> None:
        """Judge the best `kernels` again; where one fails, the next in rank takes its place.

        What an earlier session judged stands. Raises `Interrupted`, and `EvaluatorUnavailable`
        where nothing can be judged any more; what came before is kept.
        """
        while chosen := self._due(kernels):
            self._attempted |= {judged.verdict.kernel_id for judged in chosen}
            if not self._judge(task, chosen, {}):
                return

    def elsewhere(self, others: Sequence[Sized], kernels: int) -> None:
        """Judge the confirmed kernels on other sizes of the task; raises as `best` does."""
        confirmed = self.summary.confirmed
        standing = [
            judged
            for judged in self.summary.ranked
            if (again := confirmed.get(judged.verdict.kernel_id)) is not None and again.correct
        ]
        for sized in others:
            known = {
                again.verdict.kernel_id
                for again in self.summary.confirmations
                if again.verdict.task_id == sized.task.id and decided(again.verdict)
            }
            chosen = [j for j in standing[:kernels] if j.verdict.kernel_id not in known]
            if chosen and not self._judge(sized.task, chosen, sized.sizes):
                return

    def _due(self, kernels: int) -> list[Judged]:
        """Return the kernels to be judged next."""
        confirmed = self.summary.confirmed
        chosen: list[Judged] = []
        standing = 0
        for judged in self.summary.ranked[: MOST_TIMES * kernels]:
            if standing + len(chosen) >= kernels:
                break
            kernel_id = judged.verdict.kernel_id
            again = confirmed.get(kernel_id)
            if kernel_id in self._attempted or (again is not None and decided(again)):
                standing += again is not None and again.correct
            else:
                chosen.append(judged)
        return chosen

    def _judge(self, task: Task, chosen: Sequence[Judged], sizes: Mapping[str, Any]) -> bool:
        """Judge kernels on a task and record what came; False where the money does not last."""
        room = self.affordable()
        if room < len(chosen):
            left_out = len(chosen) - max(room, 0)
            self.notes.append(
                f"{left_out} of the best kernels could not be judged again within budget.gpu_usd."
            )
        pending: dict[Future[Verdict], Judged] = {}
        for judged in chosen[: max(room, 0)]:
            self.record(ConfirmationBegun(kernel_id=judged.verdict.kernel_id, sizes=sizes))
            pending[self.evaluator.submit(task, Kernel(judged.source), self.settings)] = judged
        for future in completed(pending, self.stop):
            verdict = verdict_of(future, pending[future].verdict.kernel_id, task)
            self.record(Confirmed(verdict=verdict, sizes=sizes))
        return room >= len(chosen)


def decided(verdict: Verdict) -> bool:
    """True where a verdict says something of the kernel."""
    return verdict.status is not Status.INFRASTRUCTURE_ERROR


def completed(futures: Iterable[Future[Verdict]], stop: Flag) -> Iterator[Future[Verdict]]:
    """Yield futures as they end; raises `Interrupted`, all others cancelled, once `stop` is set."""
    left = set(futures)
    try:
        while left:
            done, left = wait(left, POLL_S, FIRST_COMPLETED)
            yield from done
            if left and stop.is_set():
                raise Interrupted
    finally:
        for future in left:
            future.cancel()


def verdict_of(future: Future[Verdict], kernel_id: str, task: Task) -> Verdict:
    """Return what an evaluation ended in, a fault of the task or of ours too, as a verdict.

    `EvaluatorUnavailable` raises.
    """
    try:
        return future.result()
    except EvaluatorUnavailable:
        raise
    except KbexpError as error:
        reason = str(error)
    except Exception as error:
        reason = f"The evaluator ended in {type(error).__name__}."
    return Verdict(
        kernel_id=kernel_id,
        task_id=task.id,
        status=Status.INFRASTRUCTURE_ERROR,
        phase=Phase.QUEUE,
        device="",
        isolation="",
        reasons=(reason,),
    )
