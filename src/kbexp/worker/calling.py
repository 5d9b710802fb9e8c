"""Calls in blocks: fill slots, call a runner on them, take the time, look at outputs."""

from __future__ import annotations

import random
import time
from collections.abc import Sequence
from typing import TYPE_CHECKING

from kbexp.verdict import Phase, ProfileRow, Status
from kbexp.worker.answers import Answers
from kbexp.worker.arena import Arena
from kbexp.worker.clocks import Neighbours
from kbexp.worker.copies import Glance, hold_to
from kbexp.worker.draws import Draws
from kbexp.worker.examination import Examination
from kbexp.worker.excused import Excused
from kbexp.worker.feed import Feed
from kbexp.worker.flush import copy_time_ms
from kbexp.worker.in_turn import Block, InTurn, standing
from kbexp.worker.kept import Calls, Kept, Turns
from kbexp.worker.memory import Lending
from kbexp.worker.outcome import Outcome, Stop
from kbexp.worker.reference import Problem, Trial
from kbexp.worker.report import Kind
from kbexp.worker.side import Side

if TYPE_CHECKING:
    import torch

CHECKED_SHARE = 0.3
"""The chance that an output of a timed block is checked on a CPU, where it takes time to copy and
compare; on a CUDA device one of every block is."""

FLUSHES = 4
"""Flushes before a call on a CUDA device. Where the host needs longer to queue a call than they and
the call take, the device waits for it between the two events, and figures are the host's: on a slow
one that other machines kept busy, a call of 0.05 ms came out at up to 0.1 ms behind one flush."""


class Caller:
    """Calls both sides of one evaluation; what is not the kernel is the reference.

    `checked` counts blocks of which an output was looked at, `called_ns` adds up all calls. `late`
    says that what the kernel hands over depends on what stands in its inputs after the call: it
    returns a part of them, or has left its work undone.
    """

    def __init__(
        self,
        kernel: Side,
        baseline: Side,
        problem: Problem,
        examined: Examination,
        lending: Lending,
        device: str,
        chance: random.Random,
    ) -> None:
        self.checked = 0
        self.called_ns = 0
        self.flushes = FLUSHES
        self.looks = 1
        self.late = False
        self.neighbours = Neighbours()
        self._kernel = kernel
        self._baseline = baseline
        self._problem = problem
        self._examined = examined
        self._answers = Answers(problem, examined.tolerances)
        self._excused = Excused(problem, examined.tolerances)
        self._lending = lending
        self._device = device
        self._random = chance
        self.draws = Draws(problem.more, problem.draw_s, examined.layout, device)
        self._feeds: dict[Side, Feed] = {}
        self._looked_at: set[Side] = set()

    @property
    def can_renew(self) -> bool:
        """True where inputs can be made that are new as a whole."""
        return self._feed(self._kernel).can_renew

    @property
    def can_mix(self) -> bool:
        """True where new inputs take next to no time, see `Feed`."""
        return self._feed(self._kernel).can_mix

    @property
    def on_device(self) -> bool:
        """True where what is lent to runners lies on a CUDA device itself."""
        return self._lending.transport == "cuda_ipc"

    @property
    def overwrites(self) -> bool:
        """True where the kernel was seen to write to its inputs."""
        return self._feed(self._kernel).overwritten

    def profiled(self, calls: int) -> tuple[ProfileRow, ...]:
        """Ask the kernel's runner where its time goes in so many calls; believe nothing of it."""
        side = self._kernel
        slots = self._slots(side, calls)
        for slot in slots:
            self._feed(side).freshen(slot)
        self._feed(side).prepared()()
        self._lending.settle()
        side.let_go()
        side.tell({"profile": slots})
        return side.expect(Kind.PROFILED).profile

    def uses_again(self) -> bool:
        """Return whether a call of the kernel, on a CPU, overwrites what the one before returned.

        Both are made, and then their outputs copied. It is a question to honest kernels.
        """
        side, feed = self._kernel, self._feed(self._kernel)
        slots = self._slots(side, 2)
        for slot in slots:
            feed.freshen(slot)
            self._arena(side).poison(slot)
        feed.prepared()()
        side.let_go()
        for order in ({"keep": slots}, {"hand": slots}):
            side.tell(order)
            side.expect(Kind.COPIED)
        side.hold()
        given = self._given(side, set(slots))
        right = [
            not self._answers.differences(given[slot], self._answers.expected(feed.content(slot)))
            for slot in slots
        ]
        feed.forget()
        return right == [False, True]

    def kept_ms(self, side: Side, calls: int, graph: bool, times: int) -> float | None:
        """Return what one of so many calls takes whose outputs are asked for later, see `Kept`."""
        if not self.on_device:
            return None
        quick = self.draws.quick(calls * times)
        return self._unflushed(Kept, side, calls, graph, times, quick).call_ms()

    def turn_ms(self, side: Side, calls: int, graph: bool, times: int) -> float | None:
        """Return what one of so many calls takes that are made one by one, see `Turns`.

        None where they cannot be recorded; raises `Stop` where they are wrong without that.
        """
        taken_ms = self._unflushed(Turns, side, calls, graph, times, drawn=True).call_ms()
        if taken_ms is None and not graph:
            reason = "a call that was made alone gave a wrong answer after correct ones"
            raise Stop(Outcome(Status.INCORRECT, Phase.CORRECTNESS, (reason,)))
        return taken_ms

    def _unflushed(
        self, kind: type[Calls], side: Side, calls: int, graph: bool, times: int, drawn: bool
    ) -> Calls:
        return kind(
            side,
            self._slots(side, calls),
            self._feed(side),
            self._lending,
            self._random,
            self._answers if side is self._kernel else None,
            graph,
            times,
            self.draws if drawn else None,
        )

    def wake(self, side: Side) -> None:
        """From now on have a runner that was `idle` call what it called before."""
        side.let_go()
        side.tell({"idle": None})
        side.expect(Kind.READY)
        side.hold()

    def idle(self, side: Side) -> None:
        """From now on have a runner hand over one and the same answer, and call nothing."""
        (slot,) = self._slots(side, 1)
        self._feed(side).freshen(slot)
        self._feed(side).prepared()()
        self._lending.settle()
        side.let_go()
        side.tell({"idle": slot})
        side.expect(Kind.READY)
        side.hold()

    def copy_ms(self) -> float:
        """Return the least that copying the outputs of one call takes, in the memory that is lent.

        0 where that is not the device's: without CUDA IPC outputs lie in the host's.
        """
        if self._device != "cpu" and not self.on_device:
            return 0.0
        return copy_time_ms(self._arena(self._kernel).outputs(0))

    def on_trials(self, trials: list[Trial]) -> Block:
        """Call the kernel on the inputs of trials, in their order, and check every output."""
        block = Block([], 0)
        left = trials[::-1]
        while left:
            slots = self._slots(self._kernel, len(left))
            for slot in slots:
                self._feed(self._kernel).fill(slot, left.pop())
            block += self._called(self._kernel, slots, set(slots))
        # What timed calls find in slots is never varied.
        self._feed(self._kernel).forget()
        return block

    def pair(self, calls: int, check: bool = False, renew: bool = False) -> dict[Side, Block]:
        """Run one block of each side, in random order.

        Both hand an output over or neither does, so that what that takes is known from the
        reference; `check` insists on it. With `renew` all inputs are new, not a few elements: drawn
        anew where there is time for so many, and the same on both sides.
        """
        share = CHECKED_SHARE if self._device == "cpu" else 1.0
        check = check or self._random.random() < share
        order = [self._kernel, self._baseline]
        self._random.shuffle(order)
        with self._kernel.apart(), self._baseline.apart():
            drawn = self.draws.some(calls) if renew else []
        # Of both the same call: the first of a block are slower.
        at = self._random.randrange(calls)
        return {side: self.block(side, calls, check, renew, drawn, at) for side in order}

    def block(
        self,
        side: Side,
        calls: int,
        check: bool,
        renew: bool = False,
        drawn: Sequence[list[torch.Tensor]] = (),
        at: int | None = None,
    ) -> Block:
        """Call one runner so many times on values of its own each, those `drawn` where there are.

        With `check` one call's output, and only the judge knows which (that of call `at`, or any),
        is handed over, and the kernel's is compared. Where there are more calls than slots, the
        slots get new values in between.
        """
        checked = -1
        if check:
            checked = self._random.randrange(calls) if at is None else at
        block = Block([], 0)
        while len(block.times_ns) < calls:
            done = len(block.times_ns)
            slots = self._slots(side, calls - done)
            feed = self._feed(side)
            with self._kernel.apart(), self._baseline.apart():
                for index, slot in enumerate(slots, done):
                    if renew:
                        feed.renew(slot, drawn[index] if drawn else None)
                    else:
                        feed.freshen(slot)
            here = set(slots[checked - done :][:1] if checked >= done else [])
            if here and self.looks > 1:
                here |= set(self._random.sample(slots, min(self.looks, len(slots))))
            block += self._called(side, slots, here, alone=renew)
        self.checked += check and side is self._kernel
        return block

    def _called(self, side: Side, slots: list[int], chosen: set[int], alone: bool = False) -> Block:
        """Call one runner on slots and look at the outputs of `chosen`.

        With `alone` the inputs of a call are there only when the call before it is over, where that
        can be: on a CPU.
        """
        if self._device != "cpu" and side is self._kernel:
            # All alike: a mark on one of them would tell which output is looked at.
            for slot in slots:
                self._arena(side).poison(slot)
        glance = self._glance(side, slots)
        if self._device == "cpu":
            late = self._answers if self.late and side is self._kernel else None
            turns = InTurn(side, self._feed(side), self._examined, self._random, alone, late)
            # The reference's outputs too, though nobody asks: what a copy does to caches befalls
            # both.
            block, given = turns.call(slots, chosen)
        else:
            block = self._call_all(side, slots, glance)
            given = self._given(side, chosen) if side is self._kernel else {}
        side.hold()
        self.neighbours.look()
        for slot in chosen:
            if side is self._kernel:
                self._check(side, slot, given[slot])
            else:
                self._feed(side).settle(slot)
        if glance is not None:
            hold_to(glance, side)
        if side not in self._looked_at:
            self._looked_at.add(side)
            self._feed(side).look(slots[0])
        self.called_ns += sum(block.times_ns)
        return block

    def _given(self, side: Side, chosen: set[int]) -> dict[int, list[torch.Tensor]]:
        """Return what stands in slots' outputs now, in copies.

        On a CUDA device a held process runs no more, but what it has queued there does.
        """
        given = {slot: standing(self._arena(side), slot) for slot in chosen}
        self._lending.settle()
        return given

    def _glance(self, side: Side, slots: list[int]) -> Glance | None:
        """Return what looks at the kernel's outputs on a device as soon as they are reported."""
        if side is self._baseline or not self.on_device:
            return None
        return Glance(self._arena(side), slots, self._random)

    def _call_all(self, side: Side, slots: list[int], glance: Glance | None) -> Block:
        """Order a whole block, as a CUDA device must not wait between calls.

        The judge's clock goes on while the last of the inputs are written, of both sides alike:
        what a held process has left on the device cannot work on them before. Without CUDA IPC they
        lie in the host's memory.
        """
        write = self._feed(side).prepared()
        if not self.on_device:
            write()
        self._lending.settle()
        # From when it may run on: where no inputs are withheld they stand there already.
        begun = time.perf_counter_ns()
        side.let_go()
        if self.on_device:
            write()
            self._lending.settle()
        side.tell({"block": slots, "flushes": self.flushes})
        report = side.expect(Kind.CALLED, len(slots), self._examined.layout.outputs)
        taken_ns = time.perf_counter_ns() - begun
        if glance is not None:
            glance.take()
        side.clock.strided |= report.strided
        return Block(list(report.times_ns), taken_ns)

    def _check(self, side: Side, slot: int, given: list[torch.Tensor]) -> None:
        """Compare what the runner left in a slot with the answers to what stood there."""
        feed = self._feed(side)
        content = feed.content(slot)
        expected = self._answers.expected(content)
        found = self._answers.differences(given, expected)
        unexcused: list[str] = []
        if not found and any(tolerance.spare for tolerance in self._examined.tolerances):
            varied = bool(content.trial.kind)
            with self._kernel.apart(), self._baseline.apart():
                unexcused = self._excused.too_many(given, expected, content.inputs(), varied)
        change = feed.settle(slot)
        if not found and not unexcused:
            return
        reasons = unexcused or self._answers.reasons(found, feed.content(slot))
        if side.phase is Phase.TIMING:
            if not feed.overwritten and feed.look(slot):
                # It has begun to write to its inputs, as it may: nobody knows what stood there.
                # From now on every slot is filled before a call; so this happens once.
                feed.forget()
                self.checked -= 1
                return
            if (
                change is not None
                and not self.late
                and self._answers.only_spoilt(given, expected, change, feed.content(slot))
            ):
                # From now on its inputs stay as they are, and all of the time that handing over
                # takes counts; so this happens once.
                self.late = True
                self.checked -= 1
                return
            reasons.insert(0, "a timed call gave a wrong answer after correct ones")
        raise Stop(Outcome(Status.INCORRECT, Phase.CORRECTNESS, tuple(reasons)))

    def _slots(self, side: Side, most: int) -> list[int]:
        """Return different slots, at random, as many as there are or as are wanted."""
        # A few slots more than calls: addresses change from block to block, and memory that was
        # never touched stays so.
        usable = range(min(self._arena(side).slots, most + 2))
        return self._random.sample(usable, min(most, len(usable)))

    def _arena(self, side: Side) -> Arena:
        assert side.arena is not None
        return side.arena

    def _feed(self, side: Side) -> Feed:
        if side not in self._feeds:
            problem = self._problem
            self._feeds[side] = Feed(
                self._arena(side),
                problem.trials,
                self._random,
                problem.more,
                tuple(promise.whole for promise in self._examined.promised),
                problem.draw_s,
            )
        return self._feeds[side]
