"""What runners are told to begin with, on a device that answers by script."""

from __future__ import annotations

import random
from dataclasses import dataclass, field
from typing import Any

import pytest

from kbexp.config import EvaluatorConfig
from kbexp.verdict import Phase
from kbexp.worker import conditions
from kbexp.worker.arena import Arena, Layout
from kbexp.worker.conditions import Conditions, Growth
from kbexp.worker.loading import Loading
from kbexp.worker.memory import Lending
from kbexp.worker.reference import Problem
from kbexp.worker.report import Kind

GIB = 2**30


@dataclass
class Device:
    """Memory that processes take, and what they were told, in order."""

    held: int = 5 * GIB
    told: list[str] = field(default_factory=list)


@dataclass(eq=False)
class Side:
    """A runner whose constructor takes so many bytes of the device."""

    device: Device
    name: str
    takes: int
    arena: Arena | None = None

    def enter(self, phase: Phase, limit_s: float) -> None:
        """Nothing takes any time."""

    def tell(self, order: dict[str, Any], fds: tuple[int, ...] = ()) -> None:
        """A module's constructor takes its memory; the context is there before."""
        if "source" in order:
            self.device.told.append(f"{self.name} {order['class_name']}")
            self.device.held += self.takes
        else:
            self.device.held += GIB // 2

    def expose(self) -> None:
        """Its module may be to blame from now on."""

    def expect(self, kind: Kind) -> None:
        """All that it is told has been done."""

    def hold(self) -> None:
        """It waits in any case."""


@dataclass
class Caller:
    """The reference's first call chooses a workspace, which the kernel is not to pay for."""

    device: Device

    def block(self, side: Side, calls: int, check: bool) -> None:
        self.device.told.append(f"{side.name} called")
        self.device.held += 3 * GIB


@pytest.mark.parametrize(
    ("reference", "kernel", "calls", "taken"),
    [
        (1 * GIB, 1 * GIB, 2 * GIB, 2 * GIB),  # Weights alone are not the kernel's.
        (1 * GIB, 4 * GIB, 0, 3 * GIB),  # Reserved when it was made.
        (1 * GIB, 4 * GIB, -2 * GIB, 3 * GIB),  # Nor does giving it back help.
        (2 * GIB, 1 * GIB, 2 * GIB, 2 * GIB),
    ],
)
def test_memory_that_a_kernel_takes_when_it_is_made_counts(
    monkeypatch: pytest.MonkeyPatch, reference: int, kernel: int, calls: int, taken: int
) -> None:
    device = Device()
    monkeypatch.setattr(conditions, "held_by_others", lambda _: device.held)
    monkeypatch.setattr(conditions, "gpu_of", lambda _: None)
    monkeypatch.setattr(Lending, "ipc", False)
    watched = Conditions("cuda:0")
    sides: list[Any] = [Side(device, "kernel", kernel), Side(device, "reference", reference)]
    caller: Any = Caller(device)
    problem = Problem({}, 1, [], [], lambda: None)
    lending = Lending("cuda:0")
    Loading(
        *sides, caller, problem, Layout((), ()), lending, EvaluatorConfig(), "cuda:0", watched,
        random.Random(3),
    ).load("a kernel", "a task")  # fmt: skip
    assert device.told == ["reference Model", "reference called", "kernel ModelNew"]
    assert watched.figures() == {}
    with watched.growth(Growth.calls):
        device.held += calls
    assert watched.figures() == {"peak_device_bytes": taken}
