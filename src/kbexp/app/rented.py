"""What a device asks of a run: patience until it is there; a rented one, an estimate and a bill."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from threading import Event as Flag
from threading import Thread
from typing import TYPE_CHECKING

from kbexp.budget import Budget, Spending
from kbexp.config import Provider, RunConfig
from kbexp.errors import EvaluatorUnavailable, KbexpError
from kbexp.events import (
    BaselineJudged,
    Confirmed,
    DeviceBilled,
    DeviceReady,
    Event,
    RunEnded,
    VerdictReached,
)

if TYPE_CHECKING:
    from kbexp.evaluation import Evaluator

BILL_EVERY_S = 10.0
BILLED_WITH = (VerdictReached, Confirmed, BaselineJudged, RunEnded)
"""Events before which the bill is brought up to date; before others, not more often than that."""

BESIDE_TIMING_S = 4.0
"""What an evaluation takes beside its timing: correctness, processes, the way there and back."""

LEAST_START_S = 10.0
"""No container is there, has imported torch and has looked at its device in less."""

POLL_S = 0.2
TICK_S = 1.0


class Bill:
    """The bill of a rented device as events of a run, each with what has come since the last."""

    def __init__(self, evaluator: Evaluator, clock: Callable[[], float] = time.monotonic) -> None:
        self._evaluator = evaluator
        self._clock = clock
        self._told_usd = 0.0
        self._left_usd = 0.0
        self._told_s = clock()

    def due(self, event: Event | None = None) -> DeviceBilled | None:
        """Return what is to be recorded before an event, or now; None where that is nothing."""
        billed_usd = self._evaluator.billed_usd
        if billed_usd is None:
            return None
        left_usd = 0.0 if isinstance(event, RunEnded) else self._evaluator.left_usd
        now = self._clock()
        soon = isinstance(event, BILLED_WITH) or now - self._told_s >= BILL_EVERY_S
        begins = left_usd > 0 and self._left_usd == 0
        news = billed_usd > self._told_usd or left_usd != self._left_usd
        if not news or not (soon or begins):
            return None
        since_usd = max(0.0, billed_usd - self._told_usd)
        self._told_usd, self._told_s = billed_usd, now
        self._left_usd = left_usd
        return DeviceBilled(usd=since_usd, left_usd=left_usd)


@contextmanager
def ticking(evaluator: Evaluator, tell: Callable[[], None]) -> Iterator[None]:
    """Have `tell` called every second in a thread of its own, where a device is rented.

    It costs while nothing happens, and a run that is killed must have said so.
    """
    if evaluator.billed_usd is None:
        yield
        return
    over = Flag()

    def tick() -> None:
        with suppress(KbexpError):  # Whoever writes the next event meets the same.
            while not over.wait(TICK_S):
                tell()

    thread = Thread(target=tick, name="bill", daemon=True)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()


def left_behind(spending: Spending) -> DeviceBilled | None:
    """Return the bill for what an earlier session left running, None where that is nothing."""
    return DeviceBilled(usd=spending.left_usd) if spending.left_usd > 0 else None


def check_money(config: RunConfig, spent_usd: float = 0.0) -> None:
    """Raise KbexpError where `budget.gpu_usd` does not pay for the start of a rented device.

    `spent_usd` is what earlier sessions of the run have cost.
    """
    gpu, limit = config.gpu, config.budget.gpu_usd
    if gpu.provider is not Provider.modal or limit is None or not limit >= 0:
        return
    start_usd = LEAST_START_S * gpu.usd_per_s
    if limit - spent_usd > start_usd:
        return
    rest = f", of which ${spent_usd:.3g} are spent," if spent_usd else ""
    raise KbexpError(
        f"budget.gpu_usd={limit:g}{rest} does not pay for a start of gpu={gpu.name}, some "
        f"${start_usd:.2g} for {LEAST_START_S:g} s: give more, or null for no limit."
    )


def await_device(
    evaluator: Evaluator,
    budget: Budget,
    record: Callable[[Event], None],
    stop: Flag,
    asked_s: float,
) -> None:
    """Wait until kernels can be judged; the time that takes is no part of the budget's wall time.

    A container of a rented device has to start, and a worker on this machine to import torch.
    `asked_s` is when the evaluator was asked for, by the monotonic clock.
    Returns early where the run is asked to stop. Raises the KbexpError that says why there will be
    no device.
    """
    if evaluator.billed_usd is not None:
        budget.charge_by(lambda: evaluator.billed_usd or 0.0)
    while not evaluator.wait_ready(POLL_S):
        if stop.is_set():
            return
        if (spent := budget.device_spent()) is not None:
            raise EvaluatorUnavailable(f"{spent} No container was ready before that: give more.")
    record(DeviceReady(device=evaluator.device, seconds=time.monotonic() - asked_s))
    budget.begin()


def estimate(config: RunConfig) -> str | None:
    """Return a sentence on what a run will cost, None where its device is not rented."""
    gpu, budget, search = config.gpu, config.budget, config.algorithm
    price = gpu.usd_per_s
    if gpu.provider is not Provider.modal or price <= 0:
        return None
    kernels = 1 + search.num_steps * search.num_candidates * search.num_proposals
    if budget.evaluations is not None:
        kernels = min(kernels, budget.evaluations)
    if budget.proposals is not None:
        kernels = min(kernels, budget.proposals + 1)
    each_s = config.evaluator.timing_s + config.evaluator.energy_s + BESIDE_TIMING_S
    limits = []
    if budget.wall_s is not None:
        limits.append((budget.wall_s * gpu.count * price, f"for {budget.wall_s:g} s"))
    if budget.gpu_usd is not None:
        limits.append((budget.gpu_usd, "by budget.gpu_usd"))
    usd, why = min(limits, default=(0.0, ""))
    most = f"at most ${usd:.3g} {why}" if limits else "with no limit set"
    each = "" if gpu.count == 1 else f" and container, of which there are up to {gpu.count}"
    if gpu.deployed:
        each = " and container of the deployed app"
    return (
        f"gpu={gpu.name} costs ${price:.6f} a second{each} (${price * 3600:.2f} an hour, prices of "
        f"{gpu.price_date}). {kernels} evaluations in a row come to about "
        f"${kernels * each_s * price:.3g}, the search to {most}; starting, waiting for the model "
        "and judging the best again cost too."
    )
