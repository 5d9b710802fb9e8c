"""What a call on a CUDA device takes at least, by the judge's clock: outputs are asked for later.

The calls on some slots are made one after another, or recorded as one CUDA graph, in which the host
needs no time, and replayed; on new inputs each time. Where their outputs are to be copied, a runner
is told only when it has said that it is done, and some bytes of the inputs are overwritten before:
so nobody can write outputs where they are wanted and save the copy that the reference has to make.
"""

from __future__ import annotations

import random
import time
from dataclasses import dataclass

from kbexp.worker.answers import Answers
from kbexp.worker.copies import Glance, Spoiler, hold_to
from kbexp.worker.draws import Draws
from kbexp.worker.feed import Feed
from kbexp.worker.memory import Lending
from kbexp.worker.report import Kind
from kbexp.worker.side import Side

LOOKS = 12
"""Outputs that are looked at each time. The shortest of these counts, so that work left out in
one of them would: of 25 calls, three that are left out escape once in eight times, five once in
forty, and what is found out is not believed."""


@dataclass(frozen=True, slots=True)
class Kept:
    """One side's calls on `slots`, of which `answers` knows what they should give.

    They are made so many `times`; with `graph` a graph of them is replayed. Inputs are drawn anew
    by `draws`, if that is given and there is time for it, else mixed. Only where memory is lent on
    the device itself.
    """

    side: Side
    slots: list[int]
    feed: Feed
    lending: Lending
    chance: random.Random
    answers: Answers | None
    graph: bool
    times: int
    draws: Draws | None = None

    def call_ms(self) -> float | None:
        """Return what a call takes, with the writing of its inputs and a copy of its outputs.

        None where the calls cannot be recorded, or the outputs are wrong when they are replayed or
        handed over later, which is a kernel's right: its next call may use their memory again.
        """
        if self.graph and not self._captured():
            return None
        taken_ns = []
        for _ in range(self.times):
            once_ns = self._once_ns()
            if once_ns is None:
                return None
            taken_ns.append(once_ns)
        return min(taken_ns) / len(self.slots) / 1e6

    def _captured(self) -> bool:
        self._renew()
        self.feed.prepared()()
        self.lending.settle()
        self.side.let_go()
        self.side.tell({"capture": self.slots})
        captured = self.side.expect(Kind.CAPTURED).captured
        self.side.hold()
        return captured

    def _renew(self) -> None:
        with self.side.apart():
            drawn = self.draws.some(len(self.slots)) if self.draws is not None else []
            for index, slot in enumerate(self.slots):
                if self.feed.can_renew:
                    self.feed.renew(slot, drawn[index] if drawn else None)
                else:
                    self.feed.freshen(slot)

    def _once_ns(self) -> int | None:
        """Have the calls made and their outputs copied; None where one of them is wrong."""
        side, arena = self.side, self.feed.arena
        self._renew()
        for slot in self.slots:
            arena.poison(slot)
        places = self.chance.sample(self.slots, len(self.slots))
        write, glance = self.feed.prepared(), Glance(arena, places, self.chance)
        spoiler = Spoiler(arena, self.slots, self.feed, self.chance)
        self.lending.settle()
        side.let_go()
        begun = time.perf_counter_ns()
        write()
        self.lending.settle()
        side.tell({"replay": True} if self.graph else {"keep": self.slots})
        side.expect(Kind.COPIED)
        spoiler.spoil()
        side.tell({"hand": places})
        side.expect(Kind.COPIED)
        taken_ns = time.perf_counter_ns() - begun
        glance.take()
        looked_at = self.chance.sample(range(len(places)), min(LOOKS, len(places)))
        given = {index: [t.clone() for t in arena.outputs(places[index])] for index in looked_at}
        self.lending.settle()
        side.hold()
        if self.answers is not None:
            for index, tensors in given.items():
                content = self.feed.content(self.slots[index])
                if self.answers.differences(tensors, self.answers.expected(content)):
                    return None
            hold_to(glance, side)
        # What was overwritten is in nobody's list.
        self.feed.forget()
        return taken_ns
