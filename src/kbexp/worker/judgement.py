"""One evaluation as the judge sees it: load both sides, check answers, take the time."""

from __future__ import annotations

import functools
import random
import secrets
import socket
import time
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from kbexp.config import EvaluatorConfig
from kbexp.verdict import Phase, Status
from kbexp.worker.arena import Arena
from kbexp.worker.clocks import Agreement, Neighbours, compare_clocks
from kbexp.worker.conditions import Conditions
from kbexp.worker.examination import Examination
from kbexp.worker.feed import Feed
from kbexp.worker.memory import Lending, slots_for, trials_for
from kbexp.worker.outcome import Outcome, Stop
from kbexp.worker.reference import Problem, Reference, Trial
from kbexp.worker.report import Kind
from kbexp.worker.side import Side
from kbexp.worker.timing import RESOLUTION, Stopwatch, calls_per_block
from kbexp.worker.tolerance import compare
from kbexp.worker.variants import vary

if TYPE_CHECKING:
    import torch

FLUSH_BYTES = 256 * 2**20
"""What is written between two calls on a CUDA device: several times the largest L2 cache."""

CHECKED_SHARE = 0.3
"""The chance that an output of a timed block is checked on a CPU, where it takes time to copy and
compare; on a CUDA device one of every block is."""

CHECKED_BLOCKS = 6
"""Blocks of which an output was checked before a kernel is called faster. Whoever leaves out the
work in six calls of ten, which the median of a block needs, is found out in all but one of 240
evaluations."""

RENEWED_PAIRS = 6
"""Pairs of blocks on inputs that are new as a whole, before a kernel is called faster."""

FLUSHES_TIMED = 5


def new_seed() -> int:
    """Return a seed that nobody can foresee."""
    return secrets.randbelow(2**63)


def new_problem(reference: Reference, examined: Examination, device: str, trials: int) -> Problem:
    """Return a problem that nobody can foresee, with as many trials as memory allows.

    Of `trials` and one more, two are of the task's own inputs, which timed calls need to draw
    from, and the others are varied. Nothing depends on a kernel, so a judge makes the problem
    while it waits for one.
    """
    count = trials_for(examined.layout, max(1, trials) + 1, device)
    problem = reference.problem(iter(new_seed, None), min(count, 2))
    chance = random.Random(new_seed())
    for _ in range(count - 2 if examined.kinds else 0):
        trial = varied_trial(problem, chance.choice(examined.kinds), chance)
        if trial is not None:
            problem.varied.append(trial)
    return problem


def varied_trial(problem: Problem, kind: str, chance: random.Random) -> Trial | None:
    """Return a trial of varied inputs, and the answers to them; None where nothing would vary."""
    inputs = vary(kind, chance.choice(problem.trials).inputs)
    if inputs is None:
        return None
    return Trial(inputs, problem.answers([tensor.clone() for tensor in inputs]))


@functools.cache
def flush_time_ms(device: str) -> float:
    """Return the least that writing `FLUSH_BYTES` takes on a CUDA device."""
    import torch

    memory = torch.empty(FLUSH_BYTES, dtype=torch.uint8, device=device)
    times = []
    for _ in range(FLUSHES_TIMED):
        torch.cuda.synchronize(device)
        begun = time.perf_counter_ns()
        memory.zero_()
        torch.cuda.synchronize(device)
        times.append(time.perf_counter_ns() - begun)
    return min(times) / 1e6


@dataclass(frozen=True, slots=True)
class Block:
    """Calls in a row: the times that the runner reports, and this process's time for all."""

    times_ns: list[int]
    judged_ns: int

    def __add__(self, other: Block) -> Block:
        return Block(self.times_ns + other.times_ns, self.judged_ns + other.judged_ns)


class Judgement:
    """One evaluation, over the sockets of two fresh runners that are treated alike.

    `lent` are the descriptors of their channels and of their leashes, the kernel's first.
    """

    def __init__(
        self,
        problem: Problem,
        examined: Examination,
        settings: EvaluatorConfig,
        device: str,
        lent: list[int],
    ) -> None:
        self._problem = problem
        self._examined = examined
        self._settings = settings
        self._device = device
        self._layout = examined.layout
        ends = [socket.socket(fileno=fd) for fd in lent]
        self._kernel = Side("the kernel", ends[0], ends[2], blamed=True)
        self._baseline = Side("the reference", ends[1], ends[3], blamed=False)
        self._checked = 0
        self._neighbours = Neighbours()
        self._random = random.Random(new_seed())
        self._lending = Lending(device)
        self._conditions = Conditions(device)
        self._feeds: dict[Side, Feed] = {}
        self._looked_at: set[Side] = set()
        self._called_ns = 0

    def close(self) -> None:
        """Give back the memory that was lent to the runners, and hang up."""
        self._kernel.close()
        self._baseline.close()
        self._lending.close()

    def outcome(self, kernel: str, task: str) -> Outcome:
        """Judge `kernel` against the reference `task`, both as module texts."""
        started = timing_started = time.monotonic()
        try:
            self._load(kernel, task)
            with self._conditions.growth():
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
        for side in (self._baseline, self._kernel):
            side.expect(Kind.READY)
            side.hold()

    def _check_correctness(self) -> int:
        """Call the kernel on every trial's inputs, in random order; return its last time in ns.

        Some come twice, so that nobody can count on when the timed calls begin.
        """
        self._kernel.enter(Phase.CORRECTNESS, self._settings.run_timeout_s)
        trials = self._problem.trials + self._problem.varied
        trials = trials + self._random.choices(trials, k=self._random.randrange(2))
        self._random.shuffle(trials)
        last = 0
        while trials:
            slots = self._slots(self._kernel, len(trials))
            for slot in slots:
                self._feed(self._kernel).fill(slot, trials.pop())
            last = self._called(self._kernel, slots, set(slots)).times_ns[-1]
        self._feed(self._kernel).forget()
        return last

    def _check_variants(self) -> None:
        """Call the kernel once more on every kind of varied inputs, late and unannounced."""
        self._kernel.enter(Phase.CORRECTNESS, self._settings.run_timeout_s)
        for kind in self._random.sample(self._examined.kinds, len(self._examined.kinds)):
            trial = varied_trial(self._problem, kind, self._random)
            (slot,) = self._slots(self._kernel, 1)
            if trial is not None:
                self._feed(self._kernel).fill(slot, trial)
                self._called(self._kernel, [slot], {slot})
        self._feed(self._kernel).forget()
        self._kernel.enter(Phase.TIMING, self._settings.run_timeout_s)

    def _slots(self, side: Side, most: int) -> list[int]:
        """Return different slots, at random, as many as there are or as are wanted."""
        # A few slots more than calls: addresses change from block to block, and memory that was
        # never touched stays so.
        usable = range(min(self._arena(side).slots, most + 2))
        return self._random.sample(usable, min(most, len(usable)))

    def _time(self, kernel_ns: int) -> Outcome:
        """Alternate blocks of kernel and reference until the figures are good enough."""
        settings = self._settings
        for side in (self._kernel, self._baseline):
            limit_s = settings.run_timeout_s + settings.timing_s + settings.energy_s
            side.enter(Phase.TIMING, limit_s)
        # Blocks of both sides have equally many calls: the first of a block are slower, so that
        # blocks of different length would differ for one and the same kernel. The first pair only
        # settles how many.
        reference_ns = self._block(self._baseline, 1, check=False).times_ns[0]
        warm = self._pair(calls_per_block(max(kernel_ns, reference_ns), settings))
        calls = calls_per_block(max(min(b.times_ns) for b in warm.values()), settings)
        resolution = RESOLUTION[self._device.partition(":")[0]]
        watch = Stopwatch(settings, self._random.getrandbits(32), resolution)
        self._conditions.begin()
        while not watch.enough() or self._too_little_checked(watch):
            pair = self._pair(calls, check=watch.enough())
            watch.add(pair[self._kernel].times_ns, pair[self._baseline].times_ns)
            for side, block in pair.items():
                side.clock.add(watch.last_ms(side is self._kernel), block.judged_ns / calls / 1e6)
        if watch.surely_faster() and self._feed(self._kernel).can_renew:
            fresh = Stopwatch(settings, self._random.getrandbits(32), resolution)
            while len(fresh.kernel_ms) < RENEWED_PAIRS:
                pair = self._pair(calls, renew=True)
                fresh.add(pair[self._kernel].times_ns, pair[self._baseline].times_ns)
            watch = watch.or_slower(fresh)
        if watch.surely_faster():
            self._check_variants()
        conditions = self._conditions.end()
        agreement = self._agreement(self._neighbours.contended())
        watch.charge(agreement.charged_ms)
        self._measure_energy(calls)
        figures = watch.figures()
        return Outcome(
            Status.CORRECT,
            Phase.TIMING,
            (str(agreement),) if agreement.charged_ms else (),
            time_ms=figures.time_ms,
            reference_ms=figures.reference_ms,
            speedup=figures.speedup,
            metrics={
                "pairs": figures.pairs,
                "calls": figures.calls,
                "called_s": self._called_ns / 1e9,
                "checked": self._checked,
                "unreported_ms": agreement.unreported_ms,
                **self._conditions.figures(figures.time_ms.value),
            },
            conditions=conditions,
        )

    def _measure_energy(self, calls: int) -> None:
        """Call the kernel alone for as long as the settings want its energy measured."""
        meter = self._conditions.meter(self._settings.energy_s)
        while meter.more():
            # Comparing leaves the device idle: seldom enough that most of the time is the kernel's.
            self._block(self._kernel, calls, check=self._random.random() < CHECKED_SHARE)
            meter.look()

    def _too_little_checked(self, watch: Stopwatch) -> bool:
        """Return True where a kernel that looks faster has not been looked at often enough."""
        return self._checked < CHECKED_BLOCKS and watch.may_be_faster()

    def _agreement(self, contended: bool) -> Agreement:
        """Compare the runners' clocks with this process's; a disagreement ends the evaluation."""
        flush_ms = 0.0 if self._device == "cpu" else flush_time_ms(self._device)
        agreement = compare_clocks(self._kernel.clock, self._baseline.clock, flush_ms, contended)
        if agreement.rejected:
            raise Stop(Outcome(Status.REJECTED, Phase.TIMING, (str(agreement),)))
        return agreement

    def _arena(self, side: Side) -> Arena:
        assert side.arena is not None
        return side.arena

    def _feed(self, side: Side) -> Feed:
        if side not in self._feeds:
            self._feeds[side] = Feed(self._arena(side), self._problem.trials, self._random)
        return self._feeds[side]

    def _pair(self, calls: int, check: bool = False, renew: bool = False) -> dict[Side, Block]:
        """Run one block of each side, in random order.

        Both hand an output over or neither does, so that what that takes is known from the
        reference; `check` insists on it. With `renew` all inputs are new, not a few elements.
        """
        share = CHECKED_SHARE if self._device == "cpu" else 1.0
        check = check or self._random.random() < share
        order = [self._kernel, self._baseline]
        self._random.shuffle(order)
        return {side: self._block(side, calls, check, renew) for side in order}

    def _block(self, side: Side, calls: int, check: bool, renew: bool = False) -> Block:
        """Call one runner so many times on values of its own each.

        With `check` one call's output, and only the judge knows which, is handed over, and the
        kernel's is compared. Where there are more calls than slots, the slots get new values in
        between.
        """
        checked = self._random.randrange(calls) if check else -1
        block = Block([], 0)
        while len(block.times_ns) < calls:
            done = len(block.times_ns)
            slots = self._slots(side, calls - done)
            feed = self._feed(side)
            for slot in slots:
                (feed.renew if renew else feed.freshen)(slot)
            here = slots[checked - done :][:1] if checked >= done else []
            block += self._called(side, slots, set(here))
        self._checked += check and side is self._kernel
        return block

    def _called(self, side: Side, slots: list[int], chosen: set[int]) -> Block:
        """Call one runner on slots and look at the outputs of `chosen`."""
        if self._device != "cpu" and side is self._kernel:
            # All alike: a mark on one of them would tell which output is looked at.
            for slot in slots:
                self._arena(side).poison(slot)
        self._lending.settle()
        side.let_go()
        block = (
            self._call_each(side, slots, chosen)
            if self._device == "cpu"
            else self._call_all(side, slots)
        )
        side.hold()
        self._neighbours.look()
        for slot in chosen if side is self._kernel else ():
            self._check(side, slot)
        if side not in self._looked_at:
            self._looked_at.add(side)
            self._feed(side).look(slots[0])
        self._called_ns += sum(block.times_ns)
        return block

    def _call_all(self, side: Side, slots: list[int]) -> Block:
        """Order a whole block, as a CUDA device must not wait between calls."""
        begun = time.perf_counter_ns()
        side.tell({"block": slots})
        report = side.expect(Kind.CALLED, len(slots), self._layout.outputs)
        return Block(list(report.times_ns), time.perf_counter_ns() - begun)

    def _call_each(self, side: Side, slots: list[int], chosen: set[int]) -> Block:
        """Order call after call, so that only the outputs that are looked at are copied."""
        block = Block([], 0)
        for slot in slots:
            begun = time.perf_counter_ns()
            side.tell({"call": slot})
            times = side.expect(Kind.CALLED, 1, self._layout.outputs).times_ns
            block += Block(list(times), time.perf_counter_ns() - begun)
            if slot in chosen:
                self._take(side, slot)
        return block

    def _take(self, side: Side, slot: int) -> None:
        """Have the last call's output copied into its slot."""
        # What stood there is overwritten only now, when the runner knows anyway that this output
        # is looked at, and while nothing of it can run.
        side.hold()
        self._arena(side).poison(slot)
        side.let_go()
        begun = time.perf_counter_ns()
        side.tell({"give": slot})
        side.clock.strided |= side.expect(Kind.COPIED).strided
        if side.phase is Phase.TIMING:
            side.clock.given_ms.append((time.perf_counter_ns() - begun) / 1e6)

    def _check(self, side: Side, slot: int) -> None:
        """Compare what the runner left in a slot with the answers to what stood there."""
        content = self._feed(side).content(slot)
        expected = content.trial.expected
        if not content.plain:
            expected = self._problem.answers(content.inputs())
        self._compare(self._arena(side), slot, expected, side.phase)

    def _compare(self, arena: Arena, slot: int, expected: list[torch.Tensor], phase: Phase) -> None:
        """Compare a slot's outputs, to which the runner can still write, with the answers."""
        reasons = []
        shares = self._examined.shares
        for number, (place, answer) in enumerate(zip(arena.outputs(slot), expected, strict=True)):
            name = "the output" if len(expected) == 1 else f"output {number}"
            difference = compare(place, answer, name, shares[number])
            if difference:
                reasons.append(difference.text)
        if reasons:
            if phase is Phase.TIMING:
                reasons.insert(0, "a timed call gave a wrong answer after correct ones")
            raise Stop(Outcome(Status.INCORRECT, Phase.CORRECTNESS, tuple(reasons)))
