"""What a device asks of a run: patience until it is there; a rented one, an estimate and a bill."""

from __future__ import annotations

import time
from collections.abc import Callable
from threading import Event as Flag
from typing import TYPE_CHECKING

from kbexp.budget import Budget
from kbexp.config import Provider, RunConfig
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

POLL_S = 0.2


class Bill:
    """The bill of a rented device as events of a run, each with what has come since the last."""

    def __init__(self, evaluator: Evaluator, clock: Callable[[], float] = time.monotonic) -> None:
        self._evaluator = evaluator
        self._clock = clock
        self._told_usd = 0.0
        self._told_s = clock()

    def due(self, event: Event) -> DeviceBilled | None:
        """Return what is to be recorded before an event, None where that is nothing."""
        billed_usd = self._evaluator.billed_usd
        now = self._clock()
        soon = isinstance(event, BILLED_WITH) or now - self._told_s >= BILL_EVERY_S
        if billed_usd is None or not soon or billed_usd <= self._told_usd:
            return None
        since_usd = billed_usd - self._told_usd
        self._told_usd, self._told_s = billed_usd, now
        return DeviceBilled(usd=since_usd)


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
    return (
        f"gpu={gpu.name} costs ${price:.6f} a second{each} (${price * 3600:.2f} an hour, prices of "
        f"{gpu.price_date}). {kernels} evaluations in a row come to about "
        f"${kernels * each_s * price:.3g}, the search to {most}; starting, waiting for the model "
        "and judging the best again cost too."
    )
