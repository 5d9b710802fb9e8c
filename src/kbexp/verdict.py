"""A verdict: what judging one kernel on one task and one device came to."""

from __future__ import annotations

import functools
import math
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

Record = dict[str, Any]
"""A JSON object."""


class Status(StrEnum):
    """How an evaluation ended; the list is closed."""

    CORRECT = "correct"
    INCORRECT = "incorrect"
    COMPILE_ERROR = "compile_error"
    RUNTIME_ERROR = "runtime_error"
    TIMEOUT = "timeout"
    REJECTED = "rejected"
    INFRASTRUCTURE_ERROR = "infrastructure_error"


class Phase(StrEnum):
    """The part of an evaluation in which it ended; a correct kernel ends in `timing`."""

    QUEUE = "queue"
    SCREEN = "screen"
    BUILD = "build"
    LOAD = "load"
    CORRECTNESS = "correctness"
    TIMING = "timing"


@dataclass(frozen=True, slots=True)
class Interval:
    """A figure with the ends of its 95 % confidence interval, in the figure's own unit."""

    value: float
    low: float
    high: float

    def __post_init__(self) -> None:
        if not (math.isfinite(self.value) and self.low <= self.value <= self.high):
            raise ValueError(f"not an interval: {self.low} <= {self.value} <= {self.high}")


@dataclass(frozen=True, slots=True)
class Phases:
    """Seconds that an evaluation spent in each of its parts."""

    queue_s: float = 0.0
    build_s: float = 0.0
    correctness_s: float = 0.0
    timing_s: float = 0.0


@dataclass(frozen=True, slots=True)
class Verdict:
    """The outcome of one evaluation; plain data that crosses processes and machines as JSON.

    `reasons` are short sentences, the first of them the one that decided. `log` is a bounded
    excerpt of what the compiler or the kernel's process said: untrusted text, to be shown but
    never interpreted. `facts` is a JSON object with what the kernel's text says about itself: the
    library's operators that it calls, kernels of its own, what is suspicious. Times are
    milliseconds for one call of `forward`; `speedup` is the reference's time over the kernel's.
    `environment` says on what it was measured.
    """

    kernel_id: str
    task_id: str
    status: Status
    phase: Phase
    device: str
    isolation: str
    reasons: tuple[str, ...] = ()
    log: str = ""
    time_ms: Interval | None = None
    reference_ms: Interval | None = None
    speedup: Interval | None = None
    metrics: Mapping[str, float] = field(default_factory=dict)
    phases: Phases = Phases()
    environment: Mapping[str, str] = field(default_factory=dict)
    facts: Mapping[str, Any] = field(default_factory=dict)

    @property
    def correct(self) -> bool:
        """True where the kernel gave the right answers and was timed."""
        return self.status is Status.CORRECT

    def to_record(self) -> Record:
        """Return the verdict as one flat JSON object; intervals become three keys each."""
        record: Record = {
            "kernel_id": self.kernel_id,
            "task_id": self.task_id,
            "status": str(self.status),
            "phase": str(self.phase),
            **_interval_record("speedup", "", self.speedup),
            **_interval_record("time", "_ms", self.time_ms),
            **_interval_record("reference", "_ms", self.reference_ms),
            "reasons": list(self.reasons),
            "log": self.log,
            "metrics": dict(self.metrics),
            "phases": {
                "queue_s": self.phases.queue_s,
                "build_s": self.phases.build_s,
                "correctness_s": self.phases.correctness_s,
                "timing_s": self.phases.timing_s,
            },
            "isolation": self.isolation,
            "device": self.device,
            "environment": dict(self.environment),
            "facts": dict(self.facts),
        }
        return record

    @classmethod
    def from_record(cls, record: Mapping[str, Any]) -> Verdict:
        """Read what `to_record` wrote; raises ValueError or KeyError for anything else."""
        phases = record["phases"]
        return cls(
            kernel_id=sys.intern(str(record["kernel_id"])),
            task_id=str(record["task_id"]),
            status=Status(record["status"]),
            phase=Phase(record["phase"]),
            device=str(record["device"]),
            isolation=str(record["isolation"]),
            reasons=tuple(str(reason) for reason in record["reasons"]),
            log=str(record["log"]),
            time_ms=_interval("time", "_ms", record),
            reference_ms=_interval("reference", "_ms", record),
            speedup=_interval("speedup", "", record),
            metrics={str(k): float(v) for k, v in record["metrics"].items()},
            phases=Phases(
                queue_s=float(phases["queue_s"]),
                build_s=float(phases["build_s"]),
                correctness_s=float(phases["correctness_s"]),
                timing_s=float(phases["timing_s"]),
            ),
            environment=_shared(tuple((str(k), str(v)) for k, v in record["environment"].items())),
            facts=dict(record.get("facts") or {}),
        )


@functools.lru_cache(maxsize=64)
def _shared(items: tuple[tuple[str, str], ...]) -> Mapping[str, str]:
    """Return one mapping for equal items: thousands of verdicts come from one machine."""
    return dict(items)


def _interval_record(name: str, unit: str, interval: Interval | None) -> Record:
    if interval is None:
        return {f"{name}{unit}": None, f"{name}_low{unit}": None, f"{name}_high{unit}": None}
    return {
        f"{name}{unit}": interval.value,
        f"{name}_low{unit}": interval.low,
        f"{name}_high{unit}": interval.high,
    }


def _interval(name: str, unit: str, record: Mapping[str, Any]) -> Interval | None:
    value = record[f"{name}{unit}"]
    if value is None:
        return None
    return Interval(
        float(value), float(record[f"{name}_low{unit}"]), float(record[f"{name}_high{unit}"])
    )
