"""The budget of a run: what was spent, what is still allowed, and when it is over.

`Spending` is a fold over events, so that a run that is read back from its journal has spent what
it had spent. `Budget` holds the limits and the clock.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass, field

from kbexp.candidate import Usage
from kbexp.config import BudgetConfig
from kbexp.errors import KbexpError
from kbexp.events import (
    BaselineJudged,
    Confirmed,
    DeviceBilled,
    DeviceReady,
    EmbeddingsMade,
    Event,
    Noted,
    ProposalReceived,
    RunStarted,
    SummaryWritten,
    VerdictReached,
)
from kbexp.verdict import Status, Verdict


@dataclass(slots=True)
class Spending:
    """What a run has used so far.

    `proposals` counts answered calls for kernels, failed ones too, but no summaries, which cost
    tokens and dollars all the same; `evaluations` counts kernels that have a
    verdict, each once, and once more for every further one that was asked for on purpose; second
    tries after an infrastructure error, confirmations and baselines are none of them.
    `device_s` is the time that all of these spent on building, correctness and timing, without
    their time in a queue. `billed_usd` is what a rented device cost, idle time included, None where
    nothing was rented, and `left_usd` what an earlier session's may have cost after its last word.
    `wall_s` adds up the time
    between events; the gap before a `run_started` is a pause between two sessions and not counted,
    nor is that before a `device_ready`, in which the evaluator warms up or a rented device starts.
    The largest call, embedding and evaluation stand for those that are in flight. Of the calls
    whose price is not known, `unpriced_embeddings` were for embeddings.
    """

    proposals: int = 0
    evaluations: int = 0
    llm_usd: float = 0.0
    largest_call_usd: float = 0.0
    largest_embedding_usd: float = 0.0
    unpriced_calls: int = 0
    unpriced_embeddings: int = 0
    input_tokens: int = 0
    output_tokens: int = 0
    cached_tokens: int = 0
    cached_usd: float = 0.0
    device_s: float = 0.0
    billed_usd: float | None = None
    left_usd: float = 0.0
    largest_evaluation_s: float = 0.0
    wall_s: float = 0.0
    _judged: dict[str, bool] = field(default_factory=dict, repr=False)
    """By kernel id, whether a verdict said something of the kernel."""
    _last_time: float | None = field(default=None, repr=False)
    _starting: bool = field(default=False, repr=False)
    """Whether nothing but bills and notes came since the session began."""

    def apply(self, event: Event) -> None:
        """Take one event into account."""
        starts = isinstance(event, RunStarted | DeviceReady)
        aside = self._starting and isinstance(event, DeviceBilled | Noted)
        self._starting = isinstance(event, RunStarted) or aside
        if self._last_time is not None and not starts and not aside:
            self.wall_s += max(0.0, event.time - self._last_time)
        self._last_time = event.time
        if isinstance(event, ProposalReceived):
            self.proposals += 1
            self._add_call(event.proposal.usage, failed=bool(event.proposal.error))
        elif isinstance(event, SummaryWritten):
            self._add_call(event.summary.usage, failed=bool(event.summary.error))
        elif isinstance(event, EmbeddingsMade):
            self._add_embeddings(event)
        elif isinstance(event, VerdictReached):
            self._add_evaluation(event.verdict)
        elif isinstance(event, DeviceBilled):
            self.billed_usd = (self.billed_usd or 0.0) + max(0.0, event.usd)
            self.left_usd = max(0.0, event.left_usd)
        elif isinstance(event, Confirmed) or (
            isinstance(event, BaselineJudged) and not event.cached
        ):
            self.device_s += device_seconds(event.verdict)

    def gpu_usd(self, usd_per_s: float) -> float:
        """Return what the device has cost: as it was billed, else by the seconds it was used."""
        return self.device_s * usd_per_s if self.billed_usd is None else self.billed_usd

    def _add_call(self, usage: Usage, *, failed: bool) -> None:
        self.input_tokens += usage.input_tokens
        self.output_tokens += usage.output_tokens
        self.cached_tokens += usage.cached_tokens
        self.cached_usd += usage.cached_usd if math.isfinite(usage.cached_usd) else 0.0
        cost = usage.cost_usd
        if cost is not None and math.isfinite(cost) and cost >= 0:
            self.llm_usd += cost
            self.largest_call_usd = max(self.largest_call_usd, cost)
        elif usage.input_tokens or usage.output_tokens or not failed:
            self.unpriced_calls += 1  # a failed call that used no token cost nothing

    def _add_embeddings(self, event: EmbeddingsMade) -> None:
        largest_call_usd, unpriced_calls = self.largest_call_usd, self.unpriced_calls
        self._add_call(event.usage, failed=False)
        self.largest_call_usd = largest_call_usd  # A call for many texts says nothing of proposals.
        self.unpriced_embeddings += self.unpriced_calls - unpriced_calls
        each_usd = (event.usage.cost_usd or 0.0) / max(event.texts, 1)
        if 0 <= each_usd < math.inf:
            self.largest_embedding_usd = max(self.largest_embedding_usd, each_usd)

    def _add_evaluation(self, verdict: Verdict) -> None:
        before = self._judged.get(verdict.kernel_id)
        says = verdict.status is not Status.INFRASTRUCTURE_ERROR
        self.evaluations += before is None or (before and says)
        self._judged[verdict.kernel_id] = bool(before) or says
        seconds = device_seconds(verdict)
        self.device_s += seconds
        self.largest_evaluation_s = max(self.largest_evaluation_s, seconds)


def device_seconds(verdict: Verdict) -> float:
    """Return the seconds that an evaluation held its device for."""
    phases = verdict.phases
    return phases.build_s + phases.correctness_s + phases.timing_s


class Budget:
    """The limits of one run and its clock, which starts when the budget is made.

    `gpu_usd_per_s` is the price of the device, 0 where it costs nothing; `clock` returns seconds
    that never run backwards. Raises KbexpError for a limit that is not a number from 0 up.

    What is in flight is reserved: a proposal is begun only where the limits still hold after all
    calls and evaluations in flight have come in, each taken to be as dear as the dearest so far.
    `evaluations` and `proposals` are therefore never exceeded, `llm_usd` and `gpu_usd` by one
    call at most (more only where calls in flight turn out dearer than every one before them).
    """

    def __init__(
        self,
        config: BudgetConfig,
        *,
        gpu_usd_per_s: float = 0.0,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        for name in ("evaluations", "proposals", "wall_s", "llm_usd", "gpu_usd"):
            limit = getattr(config, name)
            if limit is not None and not limit >= 0:
                raise KbexpError(
                    f"budget.{name} is {limit}: give a number from 0 up, or null for no limit."
                )
        self._config = config
        self._gpu_usd_per_s = gpu_usd_per_s
        self._clock = clock
        self._began = clock()
        self._earlier_s = 0.0
        self._earlier_usd = 0.0
        self._billed_usd: Callable[[], float] | None = None

    def resume(self, spending: Spending) -> None:
        """Count the time and the bill of earlier sessions of the same run, as `spending` has it."""
        self._earlier_s = spending.wall_s
        self._earlier_usd = spending.gpu_usd(self._gpu_usd_per_s)

    def charge_by(self, billed_usd: Callable[[], float]) -> None:
        """Count a rented device by what it has cost in this session, and not by its use.

        It then costs while nothing is judged too, so that its limit ends a run as a clock does.
        """
        self._billed_usd = billed_usd

    def begin(self) -> None:
        """Start the clock again: what went by so far is no part of the run."""
        self._began = self._clock()

    @property
    def elapsed_s(self) -> float:
        """Seconds of wall time used, earlier sessions included."""
        return self._earlier_s + self._clock() - self._began

    def gpu_usd(self, spending: Spending) -> float:
        """Return what the device's time has cost so far."""
        if self._billed_usd is not None:
            return self._earlier_usd + self._billed_usd()
        return spending.gpu_usd(self._gpu_usd_per_s)

    def out_of_time(self) -> str | None:
        """Return a sentence once the wall time, or the time of a rented device, is used up."""
        limit = self._config.wall_s
        if limit is not None and self.elapsed_s >= limit:
            return f"The budget of {limit:g} s of wall time is spent."
        return self.device_spent()

    def device_spent(self) -> str | None:
        """Return a sentence once the money for a rented device is spent."""
        limit = self._config.gpu_usd
        billed = self._billed_usd
        if limit is not None and billed is not None and self._earlier_usd + billed() >= limit:
            return f"The budget of ${limit:g} for the device is spent."
        return None

    def exhausted(self, spending: Spending) -> str | None:
        """Return a sentence that names the first limit reached, None where all hold."""
        config = self._config
        if (reason := self.out_of_time()) is not None:
            return reason
        if config.evaluations is not None and spending.evaluations >= config.evaluations:
            return f"The budget of {_counted(config.evaluations, 'evaluation')} is spent."
        if config.proposals is not None and spending.proposals >= config.proposals:
            return f"The budget of {_counted(config.proposals, 'proposal')} is spent."
        if config.llm_usd is not None and spending.llm_usd >= config.llm_usd:
            return f"The budget of ${config.llm_usd:g} for the model is spent."
        if config.gpu_usd is not None and self.gpu_usd(spending) >= config.gpu_usd:
            return f"The budget of ${config.gpu_usd:g} for the device is spent."
        return None

    def room(self, spending: Spending, *, calls: int, evaluations: int, summaries: int = 0) -> bool:
        """True where one more proposal, and the evaluation of its kernel, may begin.

        `calls` model calls are in flight, each of which may bring a kernel to judge, and
        `evaluations` kernels are being judged or wait to be. `summaries` calls for a summary are
        in flight too.
        """
        limit = self._config.proposals
        if limit is not None and spending.proposals + calls >= limit:
            return False
        if not self.room_to_summarize(spending, calls=calls + summaries):
            return False
        return self.room_to_judge(spending, pending=calls + evaluations)

    def room_to_judge(self, spending: Spending, *, pending: int) -> bool:
        """True where one more evaluation may begin beside `pending` that have or will."""
        config = self._config
        if self.out_of_time() is not None:
            return False
        if config.evaluations is not None and spending.evaluations + pending >= config.evaluations:
            return False
        if config.gpu_usd is not None:
            reserved_usd = pending * spending.largest_evaluation_s * self._gpu_usd_per_s
            if self.gpu_usd(spending) + reserved_usd >= config.gpu_usd:
                return False
        return True

    def room_to_summarize(self, spending: Spending, *, calls: int) -> bool:
        """True where one more call that brings no kernel may begin beside `calls` in flight."""
        limit = self._config.llm_usd
        if self.out_of_time() is not None:
            return False
        if limit is None:
            return True
        if calls and not spending.proposals:
            return False  # the first call alone shows what a call costs
        each_usd = spending.largest_call_usd + spending.largest_embedding_usd
        return spending.llm_usd + calls * each_usd < limit

    def check_prices(self, spending: Spending) -> None:
        """Raise KbexpError where a limit in dollars cannot be held because a price is unknown."""
        config = self._config
        if config.llm_usd is None or config.allow_unknown_price or not spending.unpriced_calls:
            return
        whose, settings = "model", "llm.input_usd_per_mtok and llm.output_usd_per_mtok"
        if spending.unpriced_embeddings:
            whose, settings = "embedding model", "algorithm.embedding_usd_per_mtok"
        raise KbexpError(
            f"budget.llm_usd={config.llm_usd:g} cannot be held because the {whose}'s price is "
            f"unknown: set {settings}, or "
            "budget.allow_unknown_price=true to run on with those calls uncounted."
        )


def _counted(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"
