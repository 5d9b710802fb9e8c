"""One evaluation as the judge sees it: load both sides, check answers, take the time."""

from __future__ import annotations

import random
import secrets
import socket
import time
from dataclasses import replace
from typing import TYPE_CHECKING

from kbexp.config import EvaluatorConfig
from kbexp.verdict import Phase, Status
from kbexp.worker.arena import Arena, Layout
from kbexp.worker.feed import Feed
from kbexp.worker.memory import Lending, slots_for, trials_for
from kbexp.worker.outcome import Outcome, Stop
from kbexp.worker.reference import Problem, Reference, layout_of
from kbexp.worker.report import Kind
from kbexp.worker.side import Side
from kbexp.worker.timing import Stopwatch, calls_per_block
from kbexp.worker.tolerance import compare

if TYPE_CHECKING:
    import torch

FLUSH_BYTES = 256 * 2**20
"""What is written between two calls on a CUDA device: several times the largest L2 cache."""

CHECKED_SHARE = 0.2
"""The chance that an output of a timed block is checked."""


def new_seed() -> int:
    """Return a seed that nobody can foresee."""
    return secrets.randbelow(2**63)


def new_problem(reference: Reference, layout: Layout, device: str, trials: int) -> Problem:
    """Return a problem that nobody can foresee, with as many trials as memory allows.

    Nothing in it depends on a kernel, so a judge makes it while it waits for one.
    """
    count = trials_for(layout, max(1, trials), device)
    return reference.problem(iter(new_seed, None), count)


class Judgement:
    """One evaluation, over the sockets of two fresh runners that are treated alike."""

    def __init__(
        self,
        problem: Problem,
        settings: EvaluatorConfig,
        device: str,
        runners: tuple[socket.socket, socket.socket],
    ) -> None:
        self._problem = problem
        self._trials = problem.trials
        self._settings = settings
        self._device = device
        self._layout = layout_of(problem.trials[0])
        self._kernel = Side("the kernel", runners[0], blamed=True)
        self._baseline = Side("the reference", runners[1], blamed=False)
        self._random = random.Random(new_seed())
        self._lending = Lending(device)
        self._feeds: dict[Side, Feed] = {}
        self._looked_at: set[Side] = set()
        self._called_ns = 0

    def close(self) -> None:
        """Give back the memory that was lent to the runners."""
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
        """Have both runners construct their modules."""
        slots = slots_for(self._layout, self._settings.max_calls + 2, self._device)
        modules = ((self._kernel, kernel, "ModelNew"), (self._baseline, task, "Model"))
        for side, source, name in modules:
            side.enter(Phase.LOAD, self._settings.run_timeout_s)
            side.arena, ipc, lent = self._lending.lend(self._layout, slots)
            order = {
                "source": source,
                "class_name": name,
                "init": self._problem.init,
                "seed": self._problem.weights,
                "device": self._device,
                "layout": self._layout.to_record(),
                "slots": side.arena.slots,
                "arguments": self._problem.tree,
                "ipc": ipc,
                "flush_bytes": FLUSH_BYTES,
            }
            side.tell(order, lent)
        self._baseline.expect(Kind.READY)
        self._kernel.expect(Kind.READY)

    def _check_correctness(self) -> int:
        """Call the kernel once on every trial's inputs; return its last call's time in ns."""
        self._kernel.enter(Phase.CORRECTNESS, self._settings.run_timeout_s)
        last = 0
        for trial in self._trials:
            slot = self._random.randrange(self._arena(self._kernel).slots)
            self._feed(self._kernel).fill(slot, trial)
            last = self._called(self._kernel, [slot], chosen=slot)[0]
        return last

    def _time(self, kernel_ns: int) -> Outcome:
        """Alternate blocks of kernel and reference until the figures are good enough."""
        for side in (self._kernel, self._baseline):
            side.enter(Phase.TIMING, self._settings.run_timeout_s + self._settings.timing_s)
        # Blocks of both sides have equally many calls: the first of a block are slower, so that
        # blocks of different length would differ for one and the same kernel. The first pair only
        # settles how many.
        reference_ns = self._block(self._baseline, 1, check=False)[0]
        warm = self._pair(calls_per_block(max(kernel_ns, reference_ns), self._settings))
        calls = calls_per_block(max(min(times) for times in warm.values()), self._settings)
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
            metrics={
                "pairs": figures.pairs,
                "calls": figures.calls,
                "called_s": self._called_ns / 1e9,
            },
        )

    def _arena(self, side: Side) -> Arena:
        assert side.arena is not None
        return side.arena

    def _feed(self, side: Side) -> Feed:
        if side not in self._feeds:
            self._feeds[side] = Feed(self._arena(side), self._trials, self._random)
        return self._feeds[side]

    def _pair(self, calls: int) -> dict[Side, list[int]]:
        """Run one block of each side, in random order; return the times in ns."""
        order = [self._kernel, self._baseline]
        self._random.shuffle(order)
        times = {}
        for side in order:
            check = side is self._kernel and self._random.random() < CHECKED_SHARE
            times[side] = self._block(side, calls, check)
        return times

    def _block(self, side: Side, calls: int, check: bool) -> list[int]:
        """Call one runner so many times on values of its own each; return the times in ns.

        With `check` one call's output, and only the judge knows which, is compared. Where there
        are more calls than slots, the slots get new values in between.
        """
        # A few slots more than calls: addresses change from block to block, and memory that was
        # never touched stays so.
        usable = range(min(self._arena(side).slots, calls + 2))
        checked = self._random.randrange(calls) if check else -1
        times: list[int] = []
        while len(times) < calls:
            slots = self._random.sample(usable, min(calls - len(times), len(usable)))
            for slot in slots:
                self._feed(side).freshen(slot)
            within = 0 <= checked - len(times) < len(slots)
            times += self._called(side, slots, slots[checked - len(times)] if within else None)
        return times

    def _called(self, side: Side, slots: list[int], chosen: int | None) -> list[int]:
        """Call one runner on slots and look at the output of `chosen`; return the times in ns."""
        if chosen is not None:
            self._arena(side).poison(chosen)
        self._lending.settle()
        if self._device == "cpu":
            times = self._call_each(side, slots, chosen)
        else:
            side.tell({"block": slots})
            times = list(side.expect(Kind.CALLED, len(slots), self._layout.outputs).times_ns)
        feed = self._feed(side)
        if chosen is not None:
            content = feed.content(chosen)
            expected = content.trial.expected
            if content.changes:
                expected = self._problem.answers(content.inputs())
            self._compare(self._arena(side), chosen, expected, side.phase)
        if side not in self._looked_at:
            self._looked_at.add(side)
            feed.look(slots[0])
        self._called_ns += sum(times)
        return times

    def _call_each(self, side: Side, slots: list[int], chosen: int | None) -> list[int]:
        """Order call after call, so that only the output that will be looked at is copied."""
        times = []
        for slot in slots:
            side.tell({"call": slot})
            times.append(side.expect(Kind.CALLED, 1, self._layout.outputs).times_ns[0])
            if slot == chosen:
                side.tell({"give": slot})
                side.expect(Kind.COPIED)
        return times

    def _compare(self, arena: Arena, slot: int, expected: list[torch.Tensor], phase: Phase) -> None:
        """Compare a slot's outputs, to which the runner can still write, with the answers."""
        reasons = []
        for number, (place, answer) in enumerate(zip(arena.outputs(slot), expected, strict=True)):
            name = "the output" if len(expected) == 1 else f"output {number}"
            difference = compare(place, answer, name)
            if difference:
                reasons.append(difference.text)
        if reasons:
            if phase is Phase.TIMING:
                reasons.insert(0, "a timed call gave a wrong answer after correct ones")
            raise Stop(Outcome(Status.INCORRECT, Phase.CORRECTNESS, tuple(reasons)))
