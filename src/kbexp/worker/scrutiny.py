"""A closer look at a kernel that came out faster on a CUDA device: without flushes, and without it.

First the kernel is called without flushes and in a graph, many calls at a time and one alone, then
its process is ended, and then the same is done where the reference's runner makes no calls, by
which it is known what lies around the kernel's: what a process leaves on the device while it is
held would slow that down. Where the kernel cannot be recorded, the reference is called, too. And
whoever finds the inputs of many calls may work on all of them together: where steps wait for one
another, or for weights to be read, that takes hardly longer than one call.
"""

from __future__ import annotations

import contextlib
import math
import statistics
from dataclasses import dataclass, field, replace

from kbexp.config import EvaluatorConfig
from kbexp.verdict import Phase, Status
from kbexp.worker.bare import Bare, Look, Seen
from kbexp.worker.calling import Caller
from kbexp.worker.clocks import Clock
from kbexp.worker.outcome import Stop
from kbexp.worker.side import Side
from kbexp.worker.timing import FEWEST_CALLS, block_ms, calls_per_block

BARE_BLOCKS = 6
"""Blocks without flushes of each side."""

BARE_LOOKS = 5
"""Outputs that are looked at in each of them. The shortest counts, so that work left out in one of
them would: three quarters of it escape five looks once in a thousand."""

BARE_MS = 5.0
MOST_BARE_CALLS = 100
"""Where they are short, and new inputs take next to no time, such a block has as many calls as take
the reference so long, and no more than these. The judge's clock is off by `BLOCK_MS` a block: of 25
calls of 0.03 ms that is half."""

TIMES = 10
"""How often many calls are made whose outputs are asked for later, or their graph is replayed."""

FEWEST_BLOCKS = 2
FEWEST_TIMES = 3
DRAWS_S = 2.0
"""No more blocks, and times, than there are inputs for so long, where the task's generator has to
draw them for every call; but so many."""

TURNS = 8
FEWEST_TURNS = 5
MOST_TURNS = 96
MOST_LONE = 20
TURNS_S = 0.1
"""So many calls are made one by one in each way, `TURNS` in a row, fewer where they take long or
their inputs do: the shorter a call is, the more the host disturbs it. Without CUDA IPC they are not
in a row, and no more than `MOST_LONE`."""

ALONE_BLOCKS = 6
"""Usual blocks of the reference alone: caches of the device take one or two to settle."""

KEPT_LIMIT_S = 20.0
"""For calls whose outputs are kept, or a graph of them; a kernel may hang in that."""


@dataclass(slots=True)
class _Way:
    """Calls without flushes, so many at a time, as `Look` has them; what was seen of both sides.

    With `alone` they are made one by one where that can be: so many, and so many `times`.
    """

    calls: int
    later_calls: int
    blocks: int
    times: int
    alone: bool = False
    seen: dict[Side, Seen] = field(default_factory=dict)
    nothing: Seen | None = None

    def look(self, kernel: Side, reference: Side) -> Look:
        sides = self.seen[kernel], self.seen.get(reference)
        calls = (1, 1) if self.alone else (self.calls, self.later_calls)
        return Look(*calls, *sides, self.nothing)


@dataclass(slots=True)
class Scrutiny:
    """Blocks of `calls` each, as in the usual ones; `reference_ms` is what a call took there.

    Without flushes there are as many calls as the reference's own time makes a block: a kernel
    whose first calls are slow could choose how many share what is left open by block. And there is
    one alone, with nothing beside it that it could be worked on with.
    """

    caller: Caller
    kernel: Side
    baseline: Side
    settings: EvaluatorConfig
    calls: int
    reference_ms: float
    _ways: list[_Way] = field(default_factory=list)

    def look_at_kernel(self) -> None:
        """Call the kernel without flushes.

        Many calls whose outputs are asked for later are made twice, with others in between: what
        slows a machine down comes in bursts that last longer than they take. Its process may end
        where it keeps many outputs or is recorded, and is not to blame for it.
        """
        self._ways = self._planned()
        for way in self._ways:
            way.seen[self.kernel] = self._one_by_one(self.kernel, way)
        try:
            for graph in (False, True):
                for way in self._ways:
                    self._ask_later(self.kernel, way, graph)
            many = self._ways[0]
            seen = many.seen[self.kernel]
            if seen.replayed_ms is not None or seen.kept_ms is not None:
                self._ask_later(self.kernel, many, graph=seen.replayed_ms is not None)
        except Stop as stop:
            if stop.outcome.status is Status.REJECTED:
                raise

    def look_at_reference(self) -> Bare:
        """End the kernel's process; return what was found of both sides."""
        self.kernel.end()
        self.baseline.clock = Clock()
        alone_ms = [
            block_ms(self.caller.block(self.baseline, self.calls, check=False).times_ns)
            for _ in range(ALONE_BLOCKS)
        ]
        for way in self._ways:
            if way.seen[self.kernel].replayed_ms is None:
                # Only then anybody's host counts.
                way.seen[self.baseline] = self._one_by_one(self.baseline, way)
                self._ask_later(self.baseline, way, graph=False)
        if self.caller.on_device:
            self._look_at_nothing()
            with contextlib.suppress(Stop):  # Not every reference can be recorded.
                self._look_at_graph(self._ways[0])
        many, lone = (way.look(self.kernel, self.baseline) for way in self._ways)
        return Bare(
            many,
            lone,
            statistics.median(alone_ms),
            self.caller.copy_ms(),
            on_device=self.caller.on_device,
        )

    def _look_at_nothing(self) -> None:
        """See what lies around calls that are not made, in the ways that the kernel took.

        That is the judge's own work and the copy of outputs, whatever the reference needs.
        """
        self.caller.idle(self.baseline)
        for way in self._ways:
            seen = way.seen[self.kernel]
            idle = replace(way, seen={self.baseline: self._one_by_one(self.baseline, way)})
            if seen.kept_ms is not None:
                self._ask_later(self.baseline, idle, graph=False)
            if seen.replayed_ms is not None:
                self._ask_later(self.baseline, idle, graph=True)
            way.nothing = idle.seen[self.baseline]

    def _look_at_graph(self, many: _Way) -> None:
        """See what the reference takes in a graph where the kernel was: see `Look.slower`.

        It is the last that is asked of its process, which may end by it.
        """
        nothing = many.nothing
        if nothing is not None and nothing.replayed_ms is not None:
            self.caller.wake(self.baseline)
            many.seen[self.baseline] = Seen()
            self._ask_later(self.baseline, many, graph=True)

    def _planned(self) -> list[_Way]:
        """Return how often to do what: many calls at a time, and one."""
        calls = self._bare_calls()
        each_s = self.caller.draws.each_s
        turns = _within(TURNS_S / max(self.reference_ms / 1e3, each_s), FEWEST_TURNS, MOST_TURNS)
        drawn = math.inf if self.caller.can_mix else DRAWS_S / max(each_s, 1e-6) / calls
        return [
            _Way(
                calls,
                min(calls, self._slots()),
                _within(drawn, FEWEST_BLOCKS, BARE_BLOCKS),
                _within(drawn, FEWEST_TIMES, TIMES),
            ),
            self._alone(turns),
        ]

    def _alone(self, turns: int) -> _Way:
        if not self.caller.on_device:
            return _Way(1, 1, min(turns, MOST_LONE), 0, alone=True)
        # In a row of fewer, inputs can still be drawn for all of it.
        drawn = self.caller.draws.most(TURNS) or TURNS
        at_a_time = min(turns, TURNS, drawn, self._slots())
        return _Way(at_a_time, at_a_time, 0, turns // at_a_time, alone=True)

    def _bare_calls(self) -> int:
        # No fewer than usual where slots are few: the fewer they are, the more of a call is open.
        usual = calls_per_block(int(self.reference_ms * 1e6), self.settings)
        most = MOST_BARE_CALLS if self.caller.can_mix else usual
        short = min(math.ceil(BARE_MS / self.reference_ms), most)
        calls = max(self.calls, usual, min(short, self._slots()))
        if self.caller.can_mix or not self.caller.can_renew:
            return calls
        return min(calls, max(FEWEST_CALLS, self.caller.draws.most(calls)))

    def _slots(self) -> int:
        assert self.kernel.arena is not None
        return self.kernel.arena.slots

    def _one_by_one(self, side: Side, way: _Way) -> Seen:
        """Have every output copied when its call is over."""
        if way.alone and self.caller.on_device:
            side.enter(Phase.TIMING, self.settings.run_timeout_s)
            taken_ms = self.caller.turn_ms(side, way.calls, False, way.times)
            assert taken_ms is not None
            return Seen(taken_ms)
        return self._in_blocks(side, way)

    def _in_blocks(self, side: Side, way: _Way) -> Seen:
        caller, taken_ms = self.caller, list[float]()
        side.clock = Clock()  # The usual one has been read.
        flushes, caller.flushes, caller.looks = caller.flushes, 0, BARE_LOOKS
        try:
            for _ in range(way.blocks):
                anew = way.alone or caller.draws.quick(way.calls * way.blocks)
                with side.apart():
                    drawn = caller.draws.some(way.calls) if anew else []
                block = caller.block(side, way.calls, True, caller.can_renew, drawn)
                taken_ms.append(block.judged_ns / way.calls / 1e6)
        finally:
            # By the number of flushes the usual clocks are compared, even if these blocks end here.
            caller.flushes, caller.looks = flushes, 1
        return Seen(min(taken_ms))

    def _ask_later(self, side: Side, way: _Way, graph: bool) -> None:
        """Have outputs asked for later, each in a slot of its own, or calls recorded."""
        if way.alone and not (graph and self.caller.on_device):
            return  # Outputs of one call are not asked for later.
        side.enter(Phase.TIMING, min(KEPT_LIMIT_S, self.settings.run_timeout_s))
        ask = self.caller.turn_ms if way.alone else self.caller.kept_ms
        taken_ms = ask(side, way.later_calls, graph, way.times)
        way.seen[side] = way.seen[side].then(taken_ms, graph)


def _within(number: float, least: int, most: int) -> int:
    return int(min(max(number, least), most))
