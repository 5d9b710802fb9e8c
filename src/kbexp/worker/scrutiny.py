"""A closer look at a kernel that came out faster on a CUDA device: without flushes, and without it.

First the kernel is called without flushes and in a graph, then its process is ended, and then the
reference is called in the same ways. What a process leaves on the device while it is held slows
down whatever is called meanwhile: the reference's calls, or only what lies around them, by which
it is known what lies around the kernel's.
"""

from __future__ import annotations

import contextlib
import math
import statistics
from dataclasses import dataclass, field, replace

from kbexp.config import EvaluatorConfig
from kbexp.verdict import Phase, Status
from kbexp.worker.bare import Bare
from kbexp.worker.calling import Caller
from kbexp.worker.clocks import Clock
from kbexp.worker.outcome import Stop
from kbexp.worker.side import Side
from kbexp.worker.timing import block_ms, calls_per_block

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

ALONE_BLOCKS = 6
"""Usual blocks of the reference alone: caches of the device take one or two to settle."""

KEPT_LIMIT_S = 20.0
"""For calls whose outputs are kept, or a graph of them; a kernel may hang in that."""


@dataclass(slots=True)
class Scrutiny:
    """Blocks of `calls` each, as in the usual ones; `reference_ms` is what a call took there.

    Without flushes there are as many calls as the reference's own time makes a block: a kernel
    whose first calls are slow could choose how many share what is left open by block.
    """

    caller: Caller
    kernel: Side
    baseline: Side
    settings: EvaluatorConfig
    calls: int
    reference_ms: float
    _clock: Clock = field(default_factory=Clock)
    _kept_ms: float | None = None
    _replayed_ms: float | None = None

    def look_at_kernel(self) -> None:
        """Call the kernel without flushes.

        Its process may end where it keeps many outputs or is recorded, and is not to blame for it.
        """
        self._clock = self._without_flushes(self.kernel)
        try:
            self._kept_ms = self._later(self.kernel, graph=False)
            self._replayed_ms = self._later(self.kernel, graph=True)
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
        bare = Bare(
            self._clock,
            self._without_flushes(self.baseline),
            self._bare_calls(),
            statistics.median(alone_ms),
            self.caller.copy_ms(),
            on_device=self.caller.on_device,
        )
        later = replace(bare, calls=self._kept_calls())
        with contextlib.suppress(Stop):
            if self._replayed_ms is not None:
                reference_ms = self._later(self.baseline, graph=True)
                if reference_ms is not None:
                    return replace(later, replayed_ms=(self._replayed_ms, reference_ms))
            if self._kept_ms is not None:
                reference_ms = self._later(self.baseline, graph=False)
                if reference_ms is not None:
                    bare = replace(later, kept_ms=(self._kept_ms, reference_ms))
            if self._replayed_ms is None:  # The last: recording may fail for good.
                bare = replace(bare, device_ms=self._later(self.baseline, graph=True))
        return bare

    def _bare_calls(self) -> int:
        # No fewer than usual where slots are few: the fewer they are, the more of a call is open.
        usual = calls_per_block(int(self.reference_ms * 1e6), self.settings)
        most = MOST_BARE_CALLS if self.caller.can_mix else usual
        short = min(math.ceil(BARE_MS / self.reference_ms), most)
        return max(self.calls, usual, min(short, self._slots()))

    def _kept_calls(self) -> int:
        """Return how many outputs are asked for later, each in a slot of its own."""
        return min(self._bare_calls(), self._slots())

    def _slots(self) -> int:
        assert self.kernel.arena is not None
        return self.kernel.arena.slots

    def _without_flushes(self, side: Side) -> Clock:
        caller, calls = self.caller, self._bare_calls()
        flushes, caller.flushes, caller.looks = caller.flushes, 0, BARE_LOOKS
        side.clock = Clock()
        for _ in range(BARE_BLOCKS):
            block = caller.block(side, calls, check=True, renew=caller.can_renew)
            side.clock.add(block_ms(block.times_ns), block.judged_ns / calls / 1e6)
        caller.flushes, caller.looks = flushes, 1
        return side.clock

    def _later(self, side: Side, graph: bool) -> float | None:
        side.enter(Phase.TIMING, min(KEPT_LIMIT_S, self.settings.run_timeout_s))
        return self.caller.kept_ms(side, self._kept_calls(), graph)
