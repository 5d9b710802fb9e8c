"""One evaluation as the judge sees it: load both sides, check answers, take the time."""

from __future__ import annotations

import random
import secrets
import socket
import time
from dataclasses import replace
from typing import Any

from kbexp.config import EvaluatorConfig
from kbexp.verdict import Phase, Status
from kbexp.worker.arena import Arena, Layout
from kbexp.worker.memory import Lending, sets_for
from kbexp.worker.outcome import Outcome, Stop
from kbexp.worker.reference import Reference, Trial
from kbexp.worker.report import Kind
from kbexp.worker.side import Side
from kbexp.worker.timing import Stopwatch, calls_per_block
from kbexp.worker.tolerance import compare

FLUSH_BYTES = 256 * 2**20
"""What is written between two calls on a CUDA device: several times the largest L2 cache."""

CHECKED_SHARE = 0.2
"""The chance that an output of a timed block is checked."""


def new_seed() -> int:
    """Return a seed that nobody can foresee."""
    return secrets.randbelow(2**63)


class Judgement:
    """One evaluation, over the sockets of two fresh runners that are treated alike.

    Seeds are new for every evaluation and drawn from the system's randomness.
    """

    def __init__(
        self,
        reference: Reference,
        layout: Layout,
        settings: EvaluatorConfig,
        device: str,
        runners: tuple[socket.socket, socket.socket],
    ) -> None:
        self._reference = reference
        self._settings = settings
        self._device = device
        self._layout = layout
        self._kernel = Side("the kernel", runners[0], blamed=True)
        self._baseline = Side("the reference", runners[1], blamed=False)
        self._random = random.Random(new_seed())
        self._trials: list[Trial] = []
        self._lending = Lending(device)

    def close(self) -> None:
        """Give back the memory that was lent to the runners."""
        self._trials.clear()
        self._lending.close()

    def outcome(self, kernel: str, task: str) -> Outcome:
        """Judge `kernel` against the reference `task`, both as module texts."""
        started = timing_started = time.monotonic()
        try:
            self._load(kernel, task)
            kernel_ns = self._check_correctness()
            timing_started = time.monotonic()
            outcome = self._time(kernel_ns)
        except Stop as stop:
            outcome = stop.outcome
        ended = time.monotonic()
        timed = timing_started > started
        return replace(
            outcome,
            transport=self._lending.transport,
            correctness_s=(timing_started if timed else ended) - started,
            timing_s=ended - timing_started if timed else 0.0,
        )

    def _load(self, kernel: str, task: str) -> None:
        """Have both runners construct their modules, while the answers are worked out here."""
        weights = new_seed()
        init = self._reference.init_record(new_seed())
        slots = sets_for(self._layout, self._settings.max_calls + 2, self._device)
        # Numbers among the arguments are those of the first inputs, in every call.
        tree, inputs = self._reference.inputs(new_seed())
        modules = ((self._kernel, kernel, "ModelNew"), (self._baseline, task, "Model"))
        for side, source, name in modules:
            side.enter(Phase.LOAD, self._settings.run_timeout_s)
            side.arena, ipc, lent = self._lending.lend(self._layout, slots)
            order = {
                "source": source,
                "class_name": name,
                "init": init,
                "seed": weights,
                "device": self._device,
                "layout": self._layout.to_record(),
                "slots": side.arena.slots,
                "arguments": tree,
                "ipc": ipc,
                "flush_bytes": FLUSH_BYTES,
            }
            side.tell(order, lent)
        model = self._reference.model(init, weights)
        wanted = max(1, self._settings.correctness_trials)
        for _ in range(sets_for(self._layout, wanted, self._device)):
            self._trials.append(self._reference.trial(model, tree, inputs))
            if len(self._trials) < wanted:
                _, inputs = self._reference.inputs(new_seed())
        self._baseline.expect(Kind.READY)
        self._kernel.expect(Kind.READY)

    def _check_correctness(self) -> int:
        """Call the kernel once on every trial's inputs; return its last call's time in ns."""
        self._kernel.enter(Phase.CORRECTNESS, self._settings.run_timeout_s)
        last = 0
        for index in range(len(self._trials)):
            last = self._block(self._kernel, [index], check=True)[-1]
        return last

    def _time(self, kernel_ns: int) -> Outcome:
        """Alternate blocks of kernel and reference until the figures are good enough."""
        for side in (self._kernel, self._baseline):
            side.enter(Phase.TIMING, self._settings.run_timeout_s + self._settings.timing_s)
        calls = {
            self._kernel: self._calls(kernel_ns),
            self._baseline: self._calls(self._block(self._baseline, [0], check=False)[-1]),
        }
        # The first pair only settles how many calls make a block.
        for side, times in self._pair(calls).items():
            calls[side] = self._calls(min(times))
        watch = Stopwatch(self._settings, self._random.getrandbits(32))
        while not watch.enough():
            pair = self._pair(calls)
            watch.add(pair[self._kernel], pair[self._baseline])
        figures = watch.figures()
        return Outcome(
            Status.CORRECT,
            Phase.TIMING,
            time_ms=figures.time_ms,
            reference_ms=figures.reference_ms,
            speedup=figures.speedup,
            metrics={"pairs": figures.pairs, "calls": figures.calls},
        )

    def _calls(self, call_ns: int) -> int:
        arena = self._kernel.arena
        assert arena is not None
        return calls_per_block(call_ns, self._settings, arena.slots)

    def _pair(self, calls: dict[Side, int]) -> dict[Side, list[int]]:
        """Run one block of each side, in random order; return the times in ns."""
        order = list(calls)
        self._random.shuffle(order)
        times = {}
        for side in order:
            picks = [self._random.randrange(len(self._trials)) for _ in range(calls[side])]
            check = side is self._kernel and self._random.random() < CHECKED_SHARE
            times[side] = self._block(side, picks, check)
        return times

    def _block(self, side: Side, picks: list[int], check: bool) -> list[int]:
        """Call one runner on the trials `picks`, one slot each; return the times in ns.

        Slots are filled anew before every block. With `check` one call's output, and only the
        judge knows which, is compared with the answer.
        """
        arena = side.arena
        assert arena is not None
        # A few slots more than calls: addresses change from block to block, and memory that was
        # never touched stays so.
        slots = self._random.sample(range(min(arena.slots, len(picks) + 2)), len(picks))
        for slot, pick in zip(slots, picks, strict=True):
            for place, tensor in zip(arena.inputs(slot), self._trials[pick].inputs, strict=True):
                place.copy_(tensor)
        chosen = self._random.randrange(len(picks)) if check else None
        if chosen is not None:
            arena.poison(slots[chosen])
        self._lending.settle()
        side.tell({"slots": slots})
        report = side.expect(Kind.CALLED, len(picks), self._layout.outputs)
        if chosen is not None:
            self._compare(arena, slots[chosen], self._trials[picks[chosen]], side.phase)
        return list(report.times_ns)

    def _compare(self, arena: Arena, slot: int, trial: Trial, phase: Phase) -> None:
        """Compare a slot's outputs, to which the runner can still write, with the answers."""
        reasons = []
        pairs: Any = zip(arena.outputs(slot), trial.expected, strict=True)
        for number, (place, expected) in enumerate(pairs):
            name = "the output" if len(trial.expected) == 1 else f"output {number}"
            difference = compare(place, expected, name)
            if difference:
                reasons.append(difference.text)
        if reasons:
            if phase is Phase.TIMING:
                reasons.insert(0, "a timed call gave a wrong answer after correct ones")
            raise Stop(Outcome(Status.INCORRECT, Phase.CORRECTNESS, tuple(reasons)))
