"""What a call on a CUDA device takes at least, by the judge's clock alone.

The calls on some slots are made one after another, or recorded as one CUDA graph, in which the host
needs no time, and replayed; on new inputs each time. Where their outputs are to be copied, a runner
is told only when it has said that it is done, and some bytes of the inputs are overwritten before:
so nobody can write outputs where they are wanted and save the copy that the reference has to make.

Or each is made when the one before it is over, and its inputs are there only then: whoever finds
the inputs of many calls may work on all of them together.
"""

from __future__ import annotations

import math
import random
import time
from abc import ABC, abstractmethod
from collections.abc import Iterable
from dataclasses import dataclass

from kbexp.worker.answers import Answers
from kbexp.worker.copies import Glance, Spoiler, Withheld, hold_to
from kbexp.worker.draws import Draws
from kbexp.worker.feed import Feed
from kbexp.worker.in_turn import standing
from kbexp.worker.memory import Lending
from kbexp.worker.report import Kind
from kbexp.worker.side import Side

LOOKS = 12
"""Outputs that are looked at each time. The shortest of these counts, so that work left out in
one of them would: of 25 calls, three that are left out escape once in eight times, five once in
forty, and what is found out is not believed."""

QUICK_TURNS = 0.1
"""The share of turns that may be quicker than what counts. A slow host makes most of them longer:
honest kernels seemed to take 0.02 ms more than they report by this one, and 0.09 ms more by the
quarter. Whoever leaves out so many of 96 calls escapes `TURN_LOOKS` once in a thousand times."""

TURN_LOOKS = 48
"""Outputs that are looked at of calls that are made one by one, as many in every row; of fewer
calls all. Of eight the quickest counts: one left out among them would escape looks at every second
one in half of all cases."""


@dataclass(frozen=True, slots=True)
class Calls(ABC):
    """One side's calls on `slots` without flushes, of which `answers` knows what they should give.

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
        """Return what a call takes, at least, with a copy of its outputs.

        None where the calls cannot be recorded, or an output is not what it should be.
        """
        if self.graph and not self._recorded():
            return None
        taken_ms = list[float]()
        for _ in range(self.times):
            once_ms = self._once_ms()
            if once_ms is None:
                return None
            taken_ms += once_ms
        return sorted(taken_ms)[int(self.quicker * len(taken_ms))]

    @property
    @abstractmethod
    def order(self) -> str:
        """By which order the calls are recorded."""

    @property
    @abstractmethod
    def quicker(self) -> float:
        """The share of figures that are lower than what counts."""

    @abstractmethod
    def _once_ms(self) -> list[float] | None:
        """Have all calls made once and their outputs copied; None where one of them is wrong."""

    def _recorded(self) -> bool:
        self._renew()
        self.feed.prepared()()
        self.lending.settle()
        self.side.let_go()
        self.side.tell({self.order: self.slots})
        recorded = self.side.expect(Kind.CAPTURED).captured
        self.side.hold()
        return recorded

    def _some(self, slots: list[int], most: int) -> list[int]:
        return self.chance.sample(slots, min(most, len(slots)))

    def _renew(self) -> None:
        with self.side.apart():
            drawn = self.draws.some(len(self.slots)) if self.draws is not None else []
            for index, slot in enumerate(self.slots):
                if self.feed.can_renew:
                    self.feed.renew(slot, drawn[index] if drawn else None)
                else:
                    self.feed.freshen(slot)

    def _right(self, places: dict[int, int], glances: Iterable[Glance]) -> bool:
        """Return whether outputs are right, of each slot in its place; they are not to change.

        What was overwritten meanwhile is in nobody's list.
        """
        given = {slot: standing(self.feed.arena, place) for slot, place in places.items()}
        self.lending.settle()
        self.side.hold()
        answers, right = self.answers, True
        if answers is not None:
            right = not any(
                answers.differences(tensors, answers.expected(self.feed.content(slot)))
                for slot, tensors in given.items()
            )
            for glance in glances if right else ():
                hold_to(glance, self.side)
        self.feed.forget()
        return right


class Kept(Calls):
    """All calls at once, whose outputs are asked for when they are over, in any order.

    Wrong outputs are a kernel's right: its next call may use their memory again.
    """

    __slots__ = ()
    order = "capture"
    quicker = 0.0

    def _once_ms(self) -> list[float] | None:
        side, arena = self.side, self.feed.arena
        self._renew()
        for slot in self.slots:
            arena.poison(slot)
        places = self.chance.sample(self.slots, len(self.slots))
        write, glance = self.feed.prepared(), Glance(arena, places, self.chance)
        spoiler = Spoiler(arena, self.slots, self.feed, self.chance)
        self.lending.settle()
        begun = time.perf_counter_ns()
        side.let_go()
        write()
        self.lending.settle()
        side.tell({"replay": True} if self.graph else {"keep": self.slots})
        side.expect(Kind.COPIED)
        spoiler.spoil()
        side.tell({"hand": places})
        side.expect(Kind.COPIED)
        taken_ms = (time.perf_counter_ns() - begun) / len(self.slots) / 1e6
        glance.take()
        place_of = dict(zip(self.slots, places, strict=True))
        looked_at = {slot: place_of[slot] for slot in self._some(self.slots, LOOKS)}
        return [taken_ms] if self._right(looked_at, [glance]) else None


class Turns(Calls):
    """Calls made one by one, each output copied before the next call's inputs are there.

    Nothing of what is done for many calls together is done for one of these. When a call is said
    to be done, pieces of its outputs are copied to the host at once. What these copies take is no
    part of it: whoever waits for inputs to appear, and works on the first of them before it is told
    of the call, gains what the others take, some 0.01 to 0.07 ms.
    """

    __slots__ = ()
    order = "record"
    quicker = QUICK_TURNS

    def _once_ms(self) -> list[float] | None:
        side, arena, chance = self.side, self.feed.arena, self.chance
        looks = math.ceil(TURN_LOOKS / self.times)
        self._renew()
        for slot in self.slots:
            arena.poison(slot)
        withheld = [Withheld(arena, slot, self.feed, chance) for slot in self.slots]
        glances = [Glance(arena, [slot], chance) for slot in self.slots]
        self.lending.settle()
        side.let_go()
        side.tell({"turns": self.slots, "graph": self.graph})
        side.expect(Kind.READY)
        taken_ms = []
        for inputs, glance in zip(withheld, glances, strict=True):
            inputs.give()
            begun = time.perf_counter_ns()
            side.say_word()
            side.expect(Kind.COPIED, outputs=arena.layout.outputs, soon=True)
            taken_ms.append((time.perf_counter_ns() - begun) / 1e6)
            glance.take()
        looked_at = {slot: slot for slot in self._some(self.slots, looks)}
        return taken_ms if self._right(looked_at, glances) else None
