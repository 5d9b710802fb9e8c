"""Which of several models a request goes to: by weights, or by a bandit over what they brought.

The bandit is Thompson sampling with a Beta distribution for each model (Agrawal and Goyal,
"Analysis of Thompson Sampling for the Multi-armed Bandit Problem", 2012): a value is drawn for
each from what is known of it, and the highest is asked. What a proposal brought is a number from
0 to 1: how many doublings of its parent's score its kernel came to, at most one; 0 for anything
that failed, that was held already, or that is no better.

Everything is a fold over the events of the run, and chance comes from the request's seed, so that
a run that goes on asks the models that it would have asked.
"""

from __future__ import annotations

import math
import random
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from kbexp.events import (
    DuplicateFound,
    EvaluationBegun,
    Event,
    ProposalAsked,
    ProposalReceived,
    StepDone,
    VerdictReached,
)
from kbexp.proposals.models import Model
from kbexp.verdict import Status, Verdict

UNITS = 1000
"""What a proposal brought is counted in whole units: sums do not depend on their order then."""


@dataclass(slots=True)
class Record:
    """How a model's proposals fared: how many are known, and what they brought, in `UNITS`."""

    proposals: int = 0
    gained: int = 0

    def draw(self, rng: random.Random) -> float:
        """Draw what the next proposal may bring."""
        gained = self.gained / UNITS
        return rng.betavariate(1.0 + gained, 1.0 + self.proposals - gained)


@dataclass(frozen=True, slots=True)
class _Asked:
    """What is known of a proposal that was asked: its model, and the kernel it should improve."""

    model: str
    parent: str


@dataclass(slots=True)
class _Fold:
    """What the events say so far."""

    asked: dict[int, _Asked] = field(default_factory=dict)
    kernels: dict[str, int | None] = field(default_factory=dict)
    """By kernel id: the number of the proposal that it is judged for, None for the first one."""
    scores: dict[str, float] = field(default_factory=dict)
    """By kernel id: the score of its first verdict that counts, which no later one changes."""


class Chooser:
    """Says which model a request goes to; `apply` takes every event of the run, in order.

    With `bandit` the records of the models decide, else their weights. With `by_steps` a step's
    requests know of the steps before it alone, so that it does not matter which answer of the
    step came first. May be used from several threads.
    """

    def __init__(
        self,
        models: Sequence[Model],
        score: Callable[[Verdict], float],
        *,
        bandit: bool = False,
        by_steps: bool = True,
    ) -> None:
        self._models = models
        self._score = score
        self._bandit = bandit
        self._by_steps = by_steps
        self._lock = threading.Lock()
        self._fold = _Fold()
        self._waiting: list[tuple[str, int]] = []
        self._chosen: dict[int, str] = {}
        self.records = {model.name: Record() for model in models}

    def apply(self, event: Event) -> None:
        """Take one event in."""
        if len(self._models) == 1:
            return
        with self._lock:
            match event:
                case ProposalAsked():
                    # A question that was cut off is asked again, of the model that it was for.
                    name = self._chosen.get(event.number) or self._draw(event.seed)
                    parent = event.parents[0] if event.parents else ""
                    self._chosen[event.number] = name
                    self._fold.asked[event.number] = _Asked(name, parent)
                case ProposalReceived():
                    self._receive(event)
                case EvaluationBegun():
                    self._fold.kernels.setdefault(event.kernel_id, event.number)
                case DuplicateFound():
                    self._known(event.number, 0)
                case VerdictReached():
                    self._judge(event.verdict)
                case StepDone():
                    self._settle()
                case _:
                    pass
            if not self._by_steps:
                self._settle()

    def choose(self, number: int, seed: int) -> str:
        """Return the name of the model for a request, as it was when the request was recorded."""
        with self._lock:
            return self._chosen.get(number) or self._draw(seed)

    def _draw(self, seed: int) -> str:
        rng = random.Random(f"{seed}/model")
        if not self._bandit:
            weights = [model.weight for model in self._models]
            return rng.choices([model.name for model in self._models], weights)[0]
        drawn = {model.name: self.records[model.name].draw(rng) for model in self._models}
        return max(drawn, key=lambda name: drawn[name])

    def _receive(self, event: ProposalReceived) -> None:
        """Believe the journal: the model that answered may be another than would be chosen now."""
        proposal = event.proposal
        self._chosen.pop(proposal.number, None)
        asked = self._fold.asked.get(proposal.number)
        if asked is not None and proposal.model:
            self._fold.asked[proposal.number] = _Asked(proposal.model, asked.parent)
        if proposal.kernel is None:
            self._known(proposal.number, 0)

    def _judge(self, verdict: Verdict) -> None:
        if verdict.status is Status.INFRASTRUCTURE_ERROR or verdict.kernel_id in self._fold.scores:
            return
        score = self._score(verdict) if verdict.correct else 0.0
        self._fold.scores[verdict.kernel_id] = score if math.isfinite(score) else 0.0
        number = self._fold.kernels.get(verdict.kernel_id)
        if number is not None and number in self._fold.asked:
            self._known(number, round(UNITS * self._gain(verdict.kernel_id, number)))

    def _gain(self, kernel_id: str, number: int) -> float:
        """Return the doublings of the parent's score, from 0 to 1.

        A kernel that mends a broken parent is compared with the first kernel of the run.
        """
        scores = self._fold.scores
        first = next((k for k, n in self._fold.kernels.items() if n is None), "")
        before = scores.get(self._fold.asked[number].parent, 0.0) or scores.get(first, 0.0)
        if before <= 0 or scores[kernel_id] <= 0:
            return 0.0
        return min(1.0, max(0.0, math.log2(scores[kernel_id] / before)))

    def _known(self, number: int, gained: int) -> None:
        asked = self._fold.asked.pop(number, None)
        if asked is not None:
            self._waiting.append((asked.model, gained))

    def _settle(self) -> None:
        for name, gained in self._waiting:
            if name in self.records:
                self.records[name].proposals += 1
                self.records[name].gained += gained
        self._waiting.clear()
