"""The trusted process that decides: makes inputs, knows the answers, compares, takes the time.

One judge serves one task for as long as the worker keeps it. For every evaluation it is lent two
sockets, to the kernel's runner and to the reference's, both fresh processes that are treated alike.
Seeds are secret, new for every evaluation, and drawn from the system's randomness.
"""

from __future__ import annotations

import os
import random
import secrets
import socket
import time
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from kbexp.config import EvaluatorConfig
from kbexp.verdict import Phase, Status
from kbexp.worker import wire
from kbexp.worker.arena import Arena, Layout
from kbexp.worker.machine import environment
from kbexp.worker.memory import Lending, slots_for
from kbexp.worker.outcome import Outcome, Stop
from kbexp.worker.reference import BadTask, Reference, Trial
from kbexp.worker.report import Kind, Leaf, Report, read_report
from kbexp.worker.timing import Stopwatch, calls_per_block
from kbexp.worker.tolerance import compare

if TYPE_CHECKING:
    import torch

FLUSH_BYTES = 256 * 2**20
"""What is written between two calls on a CUDA device: several times the largest L2 cache."""

CHECKED_SHARE = 0.2
"""The chance that a timed block's outputs are checked, beyond the first block's, always checked."""


def main(order: dict[str, Any], fds: list[int]) -> None:
    """Load the task, say so, and judge kernels until the worker hangs up."""
    channel = socket.socket(fileno=fds[0])
    try:
        reference = Reference(order["source"], order["device"], order["inside"])
        layout = reference.try_out(_seed())
    except BadTask as error:
        wire.send(channel, {"bad_task": str(error)})
        return
    wire.send(channel, {"loaded": True, "environment": environment(order["device"])})
    while True:
        try:
            asked, lent = wire.receive(channel)
        except wire.Closed:
            return
        settings = EvaluatorConfig(**asked["settings"])
        runners = [socket.socket(fileno=fd) for fd in lent]
        judgement = Judgement(reference, layout, settings, order["device"], runners)
        try:
            outcome = judgement.outcome(asked["source"], order["source"])
        finally:
            judgement.close()
            for runner in runners:
                runner.close()
        wire.send(channel, outcome.to_record())


def _seed() -> int:
    return secrets.randbelow(2**63)


@dataclass(slots=True)
class Side:
    """One of the two runners: what it is called in messages, its socket and its memory."""

    name: str
    channel: socket.socket
    arena: Arena | None = None


class Judgement:
    """One evaluation, from the loading of both runners to the figures."""

    def __init__(
        self,
        reference: Reference,
        layout: Layout,
        settings: EvaluatorConfig,
        device: str,
        runners: list[socket.socket],
    ) -> None:
        self._reference = reference
        self._settings = settings
        self._device = device
        self._layout = layout
        self._kernel = Side("the kernel", runners[0])
        self._baseline = Side("the reference", runners[1])
        self._random = random.Random(_seed())
        self._trials: list[Trial] = []
        self._lending = Lending(device)

    def close(self) -> None:
        """Give back the memory that was lent to the runners."""
        self._trials.clear()
        self._lending.close()

    def outcome(self, kernel: str, task: str) -> Outcome:
        """Judge `kernel` against the reference `task`, both as module texts."""
        outcome = Outcome(Status.CORRECT, Phase.TIMING)
        started = time.monotonic()
        timing_started = started
        try:
            self._load(kernel, task)
            first_ns = self._check_correctness()
            timing_started = time.monotonic()
            outcome = self._time(first_ns)
        except Stop as stop:
            outcome = stop.outcome
        ended = time.monotonic()
        reached_timing = outcome.phase is Phase.TIMING
        return replace(
            outcome,
            correctness_s=(timing_started if reached_timing else ended) - started,
            timing_s=ended - timing_started if reached_timing else 0.0,
        )

    def _load(self, kernel: str, task: str) -> None:
        """Have both runners construct their modules, while the answers are worked out here."""
        weights = _seed()
        init = self._reference.init_record(_seed())
        slots = slots_for(self._layout, self._settings.max_calls, self._device)
        tree, _ = self._reference.inputs(_seed())
        for side, source, name in (
            (self._kernel, kernel, "ModelNew"),
            (self._baseline, task, "Model"),
        ):
            side.arena, ipc, lent = self._lending.lend(self._layout, slots)
            order = {
                "source": source,
                "class_name": name,
                "init": init,
                "seed": weights,
                "device": self._device,
                "layout": self._layout.to_record(),
                "slots": slots,
                "arguments": tree,
                "ipc": ipc,
                "flush_bytes": FLUSH_BYTES,
            }
            self._tell(side, order, Phase.LOAD, lent)
        model = self._reference.model(init, weights)
        for _ in range(max(1, self._settings.correctness_trials)):
            self._trials.append(self._reference.trial(model, _seed())[1])
        self._expect(self._kernel, Kind.READY, Phase.LOAD)
        self._expect(self._baseline, Kind.READY, Phase.LOAD)

    def _check_correctness(self) -> int:
        """Call the kernel once on every trial's inputs; return its last call's time in ns."""
        last = 0
        for index in range(len(self._trials)):
            times = self._block(self._kernel, [index], Phase.CORRECTNESS, check=True)
            last = times[-1]
        return last

    def _time(self, kernel_ns: int) -> Outcome:
        """Alternate blocks of kernel and reference until the figures are good enough."""
        watch = Stopwatch(self._settings, self._random.getrandbits(32))
        reference_ns = self._block(self._baseline, [0], Phase.TIMING, check=False)[-1]
        assert self._kernel.arena is not None
        slots = self._kernel.arena.slots
        kernel_calls = calls_per_block(kernel_ns, self._settings, slots)
        reference_calls = calls_per_block(reference_ns, self._settings, slots)
        warm = False
        while not watch.enough():
            sides = [(self._kernel, kernel_calls), (self._baseline, reference_calls)]
            self._random.shuffle(sides)
            times = {}
            for side, calls in sides:
                picks = [self._random.randrange(len(self._trials)) for _ in range(calls)]
                check = side is self._kernel and self._random.random() < CHECKED_SHARE
                times[side.name] = self._block(side, picks, Phase.TIMING, check)
            if not warm:
                # The first pair only settles how many calls make a block.
                kernel_calls = calls_per_block(
                    min(times[self._kernel.name]), self._settings, slots
                )
                reference_calls = calls_per_block(
                    min(times[self._baseline.name]), self._settings, slots
                )
                warm = True
                continue
            watch.add(times[self._kernel.name], times[self._baseline.name])
        figures = watch.figures()
        return Outcome(
            Status.CORRECT,
            Phase.TIMING,
            time_ms=figures.time_ms,
            reference_ms=figures.reference_ms,
            speedup=figures.speedup,
            metrics={"pairs": figures.pairs, "calls": figures.calls},
        )

    def _block(self, side: Side, picks: list[int], phase: Phase, check: bool) -> list[int]:
        """Call one runner on the trials `picks`, one slot each; return the times in ns.

        Slots are filled anew before every block. With `check` one call's output, which only the
        judge knows, is compared with the answer.
        """
        arena = side.arena
        assert arena is not None
        slots = self._random.sample(range(arena.slots), len(picks))
        for slot, pick in zip(slots, picks, strict=True):
            for place, tensor in zip(arena.inputs(slot), self._trials[pick].inputs, strict=True):
                place.copy_(tensor)
        chosen = self._random.randrange(len(picks)) if check else None
        if chosen is not None:
            arena.poison(slots[chosen])
        self._lending.settle()
        self._tell(side, {"slots": slots}, phase)
        report = self._expect(side, Kind.CALLED, phase, len(picks))
        if chosen is not None:
            self._compare(arena, slots[chosen], self._trials[picks[chosen]], phase)
        return list(report.times_ns)

    def _compare(self, arena: Arena, slot: int, trial: Trial, phase: Phase) -> None:
        """Compare a slot's outputs, copied first, since the runner can still write to them."""
        reasons = []
        for number, (place, expected) in enumerate(
            zip(arena.outputs(slot), trial.expected, strict=True)
        ):
            name = "the output" if len(trial.expected) == 1 else f"output {number}"
            difference = compare(place.clone(), expected, name)
            if difference:
                reasons.append(difference.text)
        if reasons:
            if phase is Phase.TIMING:
                reasons.insert(0, "a timed call gave a wrong answer after correct ones")
            raise Stop(Outcome(Status.INCORRECT, Phase.CORRECTNESS, tuple(reasons)))

    def _tell(
        self, side: Side, message: dict[str, Any], phase: Phase, fds: tuple[int, ...] = ()
    ) -> None:
        try:
            wire.send(side.channel, message, fds)
        except wire.Closed:
            raise self._died(side, phase) from None

    def _expect(self, side: Side, kind: Kind, phase: Phase, calls: int = 0) -> Report:
        """Wait for one kind of report; anything else ends the evaluation."""
        try:
            report = read_report(side.channel, self._settings.run_timeout_s, calls)
        except wire.TooLate:
            limit = self._settings.run_timeout_s
            text = f"{side.name} did not finish within {limit:g} s"
            raise self._stop(side, Status.TIMEOUT, phase, text) from None
        except wire.Closed:
            raise self._died(side, phase) from None
        if report.kind is Kind.FAILED:
            last = report.text.strip().splitlines() or ["no message"]
            raise self._stop(side, Status.RUNTIME_ERROR, phase, last[-1][:500], report.text)
        if report.kind is Kind.LAYOUT:
            text = f"forward gives {_say(report.leaves)}, the task {_say(self._layout.outputs)}"
            raise self._stop(side, Status.INCORRECT, Phase.CORRECTNESS, text)
        if report.kind is not kind:
            text = f"{side.name} answered out of turn"
            raise self._stop(side, Status.REJECTED, phase, text)
        return report

    def _died(self, side: Side, phase: Phase) -> Stop:
        return self._stop(side, Status.RUNTIME_ERROR, phase, f"{side.name}'s process ended", died=1)

    def _stop(
        self, side: Side, status: Status, phase: Phase, reason: str, log: str = "", died: int = 0
    ) -> Stop:
        """Return the end of this evaluation; the kernel is not blamed for the reference's faults."""
        if side is self._baseline:
            status, reason = Status.INFRASTRUCTURE_ERROR, f"the reference failed: {reason}"
        died_name = side.name if died else ""
        return Stop(Outcome(status, phase, (reason,), log=log, died=died_name))


def _say(leaves: tuple[Leaf, ...]) -> str:
    return ", ".join(str(leaf) for leaf in leaves) or "nothing"


def settings_record(settings: EvaluatorConfig) -> dict[str, Any]:
    """Return settings as JSON, for `main`."""
    return {name: getattr(settings, name) for name in settings.__dataclass_fields__}


__all__ = ["Judgement", "main", "os", "settings_record"]
