"""What a device takes is told apart from what its host needs to queue it."""

from __future__ import annotations

import contextlib
from typing import Any

import pytest
import torch

from kbexp.worker.flush import HEAD_START_CYCLES, _least_ms

QUEUED_MS, WORKED_MS = 0.006, 0.002


class Timeline:
    """A host that needs `QUEUED_MS` for whatever it queues, and a device that goes through it."""

    def __init__(self) -> None:
        self.host_ms = self.device_ms = 0.0

    def queue(self, ms: float) -> float:
        self.host_ms += QUEUED_MS
        self.device_ms = max(self.device_ms, self.host_ms) + ms
        return self.device_ms

    def work(self) -> None:
        self.queue(WORKED_MS)

    def sleep(self, cycles: int) -> None:
        self.queue(cycles / 2e6)  # At 2 GHz.

    def event(self, enable_timing: bool = False) -> Any:
        assert enable_timing
        return Mark(self)


class Mark:
    """An event of a timeline."""

    def __init__(self, timeline: Timeline) -> None:
        self.timeline, self.at_ms = timeline, -1.0

    def record(self) -> None:
        self.at_ms = self.timeline.queue(0.0)

    def elapsed_time(self, other: Mark) -> float:
        assert 0 < self.at_ms <= other.at_ms
        return other.at_ms - self.at_ms


def test_a_host_that_is_slow_to_queue_work_makes_it_no_longer(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    timeline = Timeline()
    monkeypatch.setattr(torch.cuda, "device", lambda _: contextlib.nullcontext())
    monkeypatch.setattr(torch.cuda, "Event", timeline.event)
    monkeypatch.setattr(torch.cuda, "synchronize", lambda: None)
    monkeypatch.setattr(torch.cuda, "_sleep", timeline.sleep)
    assert _least_ms(timeline.work, "cuda:0", 100) == pytest.approx(WORKED_MS)
    assert HEAD_START_CYCLES / 2e6 > 100 * 2 * QUEUED_MS
