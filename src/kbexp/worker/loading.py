"""How both runners of an evaluation get their memory, their device and their modules."""

from __future__ import annotations

import random
from dataclasses import dataclass

from kbexp.config import EvaluatorConfig
from kbexp.verdict import Phase
from kbexp.worker.arena import Layout
from kbexp.worker.calling import Caller
from kbexp.worker.conditions import Conditions, Growth
from kbexp.worker.flush import FLUSH_BYTES
from kbexp.worker.memory import Lending, slots_for
from kbexp.worker.reference import Problem
from kbexp.worker.report import Kind
from kbexp.worker.scrutiny import MOST_BARE_CALLS
from kbexp.worker.side import Side


@dataclass(slots=True)
class Loading:
    """Tells two fresh runners, treated alike, what to begin with; both are held in the end.

    `conditions` looks at how much of a device's memory either takes.
    """

    kernel: Side
    baseline: Side
    caller: Caller
    problem: Problem
    layout: Layout
    lending: Lending
    settings: EvaluatorConfig
    device: str
    conditions: Conditions
    chance: random.Random

    def load(self, kernel: str, task: str) -> None:
        """Have both runners construct their modules.

        On a CUDA device the reference's is made and called before the kernel's process is told of
        any module: what it chooses in its first call, by the memory and the time that it finds, it
        keeps.
        """
        sides = [self.kernel, self.baseline]
        self.chance.shuffle(sides)  # What comes first may lie better in memory.
        self._prepare(sides)
        if self.device == "cpu":
            for side in sides:
                self._construct(side, kernel, task)
            for side in (self.baseline, self.kernel):
                side.expect(Kind.READY)
        else:
            with self.conditions.growth(Growth.reference):
                self._construct(self.baseline, kernel, task)
                self.baseline.expect(Kind.READY)
            self.caller.block(self.baseline, 1, check=False)
            with self.conditions.growth(Growth.kernel):
                self._construct(self.kernel, kernel, task)
                self.kernel.expect(Kind.READY)
        self.baseline.hold()
        self.kernel.hold()

    def _prepare(self, sides: list[Side]) -> None:
        """Lend the runners their memory, and have them begin with the device."""
        calls = self.settings.max_calls
        if self.device != "cpu":
            calls = max(calls, MOST_BARE_CALLS)
        slots = slots_for(self.layout, calls + 2, self.device)
        for side in sides:
            side.enter(Phase.LOAD, self.settings.run_timeout_s)
            side.arena, ipc, lent = self.lending.lend(self.layout, slots, side is self.baseline)
            order = {
                "device": self.device,
                "layout": self.layout.to_record(),
                "slots": side.arena.slots,
                "arguments": self.problem.tree,
                "ipc": ipc,
                "flush_bytes": FLUSH_BYTES,
            }
            side.tell(order, lent)
        for side in (self.baseline, self.kernel):
            side.expect(Kind.READY)

    def _construct(self, side: Side, kernel: str, task: str) -> None:
        """Tell a runner which module to construct."""
        on_kernel = side is self.kernel
        order = {
            "source": kernel if on_kernel else task,
            "class_name": "ModelNew" if on_kernel else "Model",
            "init": self.problem.init,
            "seed": self.problem.weights,
        }
        side.tell(order)
        side.expose()
        side.enter(Phase.LOAD, self.settings.run_timeout_s)
