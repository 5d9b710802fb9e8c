"""What comes between the end of a search and the end of its run: confirmation and baselines."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from threading import Event as Flag
from typing import TYPE_CHECKING

from kbexp.app.baseline_cache import BaselineCache, default_folder
from kbexp.app.baselines import Comparing, baseline_settings, chosen_baselines
from kbexp.app.confirm import Confirming, Interrupted, Sized, confirm_settings
from kbexp.budget import Spending
from kbexp.config import RunConfig
from kbexp.errors import EvaluatorUnavailable
from kbexp.events import Event
from kbexp.summary import RunSummary
from kbexp.task import Task

if TYPE_CHECKING:
    from kbexp.evaluation import Evaluator

MANY = 1_000_000


@dataclass(slots=True, kw_only=True)
class After:
    """Judges a run's best kernels again and its baselines; `notes` say what was left out."""

    config: RunConfig
    evaluator: Evaluator
    summary: RunSummary
    record: Callable[[Event], None]
    stop: Flag
    notes: list[str] = field(default_factory=list)

    def run(self, task: Task, others: Sequence[Sized]) -> bool:
        """Do what the settings ask for; False where the run was asked to stop meanwhile.

        Nothing that fails here fails the run: the search's result stands.
        """
        if self.summary.best is None:
            return True
        if self.stop.is_set():
            return False
        try:
            self._confirm(task, others)
            self._compare(task)
        except Interrupted:
            return False
        except EvaluatorUnavailable as error:
            self.notes.append(f"Nothing more could be judged after the search: {error}")
        return True

    def _confirm(self, task: Task, others: Sequence[Sized]) -> None:
        kernels = self.config.confirm.kernels
        if not kernels:
            return
        confirming = Confirming(
            evaluator=self.evaluator,
            settings=confirm_settings(self.config.evaluator, self.config.confirm.evaluator),
            summary=self.summary,
            record=self.record,
            stop=self.stop,
            affordable=lambda: affordable(self.config, self.summary.spending),
            notes=self.notes,
        )
        confirming.best(task, kernels)
        confirming.elsewhere(others, kernels)

    def _compare(self, task: Task) -> None:
        config = self.config
        winner = self.summary.winner
        if winner is None:
            return
        own = confirm_settings(config.evaluator, config.confirm.evaluator)
        comparing = Comparing(
            evaluator=self.evaluator,
            settings=baseline_settings(own, config.baselines),
            cache=BaselineCache(default_folder()) if config.baselines.cache else None,
            summary=self.summary,
            record=self.record,
            stop=self.stop,
            affordable=lambda: affordable(config, self.summary.spending),
            notes=self.notes,
        )
        for name in chosen_baselines(config.baselines, config.gpu):
            comparing.judge(name, task, winner.verdict)


def affordable(config: RunConfig, spending: Spending) -> int:
    """Return how many more kernels can be judged again within `budget.gpu_usd`.

    Each is taken to be as dear as two of the search's dearest evaluations.
    """
    limit_usd, price = config.budget.gpu_usd, config.gpu.usd_per_s
    each_usd = 2 * spending.largest_evaluation_s * price
    if limit_usd is None or each_usd <= 0:
        return MANY
    return int((limit_usd - spending.gpu_usd(price)) / each_usd)
