"""Calls on a CPU: ordered one after another, so that only the outputs looked at are copied."""

from __future__ import annotations

import contextlib
import random
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

from kbexp.verdict import Phase
from kbexp.worker.answers import Answers
from kbexp.worker.arena import Arena
from kbexp.worker.clocks import longest_mean
from kbexp.worker.examination import Examination
from kbexp.worker.feed import Feed
from kbexp.worker.report import Kind
from kbexp.worker.side import Side

if TYPE_CHECKING:
    import torch

POISONED_SHARE = 1 / 16
"""The share of an output's place that is overwritten before the output is copied there.

An output that is not copied at all, or not to its end, cannot pass by what stood there before:
nobody knows which share it is.
"""

READ_BYTES = 2**18
"""New inputs of a call that are larger are written while the runner is held, which could read them
as they come. Smaller ones are there within some 0.05 ms, on the judge's clock; and a call of 0.03
ms on two cores takes half as long again after its process was held."""

HOLD_NS = 1_500_000
"""What holding a runner may take, before its output is copied or after: what it takes longer counts
as a wait for the output. On two cores, honest ones were at rest within 0.1 to 0.9 ms, seldom 1.4,
the reference as well as the kernel."""


@dataclass(frozen=True, slots=True)
class Block:
    """Calls in a row: the times that the runner reports, and this process's time for all."""

    times_ns: list[int]
    judged_ns: int

    def __add__(self, other: Block) -> Block:
        return Block(self.times_ns + other.times_ns, self.judged_ns + other.judged_ns)


@dataclass(frozen=True, slots=True)
class InTurn:
    """One side's calls on slots that `feed` fills.

    With `alone` the inputs of a call are there only when the call before it is over: whoever finds
    those of many calls could work on all of them together. With `late` what is handed over depends
    on what stands in the inputs after the call, which are then left as they are; it has the answers
    to what stood there before.
    """

    side: Side
    feed: Feed
    examined: Examination
    chance: random.Random
    alone: bool
    late: Answers | None

    def call(
        self, slots: list[int], chosen: set[int]
    ) -> tuple[Block, dict[int, list[torch.Tensor]]]:
        """Call the runner on every slot; return the block, and copies of the outputs of `chosen`.

        Those are as they stood when each was said to be there.
        """
        side, feed = self.side, self.feed
        block, judged_ns = Block([], 0), []
        given: dict[int, list[torch.Tensor]] = {}
        if not self.alone:
            feed.prepared()()
        held = self.alone and self.examined.layout.input_bytes > READ_BYTES
        for slot in slots:
            if held:
                side.hold()
                feed.prepared([slot])()
            write = feed.prepared([slot])
            with side.trapped() if slot in chosen else contextlib.nullcontext():
                # From when it may run on: who was held finds inputs and need not be told of them.
                begun = time.perf_counter_ns()
                side.let_go()
                write()
                side.tell({"call": slot})
                times = side.expect(Kind.CALLED, 1, self.examined.layout.outputs).times_ns
                judged_ns.append(time.perf_counter_ns() - begun)
            block += Block(list(times), judged_ns[-1])
            if slot in chosen:
                self._take(slot, longest_mean(judged_ns))
                given[slot] = standing(feed.arena, slot)
        return block, given

    def _take(self, slot: int, judged_ns: float) -> None:
        """Have the output of the last call, which was reported so, copied into its slot.

        The runner is held when this returns: what is not there by then is not there.
        """
        side = self.side
        # What stood there is overwritten only now, when the runner knows anyway that this output
        # is looked at, and while nothing of it can run. So are some elements of the inputs: work
        # that is done only now goes wrong. What keeps it from being held may be that work.
        begun = time.perf_counter_ns()
        side.hold()
        held_ns = time.perf_counter_ns() - begun
        if side.phase is Phase.TIMING:
            if self.late is not None:
                places, content = self.feed.arena.inputs(slot), self.feed.content(slot)
                side.clock.whole |= not self.late.stand_in(places, content)
            elif not self.examined.aliases:
                self.feed.spoil(slot)
        self.feed.arena.poison(slot, POISONED_SHARE, self.chance.random())
        # From when it may run on: what is left of its work needs no word to begin with.
        begun = time.perf_counter_ns()
        side.let_go()
        side.tell({"give": slot})
        side.clock.strided |= side.expect(Kind.COPIED).strided
        copied = time.perf_counter_ns()
        side.hold()
        if side.phase is Phase.TIMING:
            longest_ns = max(held_ns, time.perf_counter_ns() - copied)
            given_ns = copied - begun + max(0, longest_ns - HOLD_NS)
            side.clock.hand(judged_ns / 1e6, given_ns / 1e6)


def standing(arena: Arena, slot: int) -> list[torch.Tensor]:
    """Return copies of what stands in a slot's outputs now."""
    return [place.clone() for place in arena.outputs(slot)]
