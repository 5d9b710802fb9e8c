"""A verdict: what judging one kernel on one task and one device came to."""

from __future__ import annotations

import functools
import math
import re
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


MAX_PROFILE_ROWS = 10
"""The most rows of a profile, those that took longest."""

MAX_PROFILE_NAME = 100
"""The most characters of a name in a profile."""

_UNUSUAL = re.compile(r"[^A-Za-z0-9_:., ()\[\]*&~+=/-]+")


@dataclass(frozen=True, slots=True)
class ProfileRow:
    """An operator, or a kernel on the device, in a profile: its own time in one call of `forward`.

    All of it is what a kernel's own process said, and may be made up. Make one with `profile_row`.
    """

    name: str
    on_device: bool
    ms: float
    times: float


def profile_row(name: object, on_device: object, ms: float, times: float) -> ProfileRow:
    """Return a row with its name cut and in plain characters; raises ValueError for bad figures.

    A C++ template's angle brackets become square ones: no name can hold markup.
    """
    if not (0 <= ms < math.inf and 0 <= times < math.inf):
        raise ValueError("a profile's figures are not numbers from 0 up")
    plain = str(name)[: 4 * MAX_PROFILE_NAME].replace("<", "[").replace(">", "]")
    plain = " ".join(_UNUSUAL.sub("?", plain).split())[:MAX_PROFILE_NAME]
    return ProfileRow(plain or "?", on_device is True, float(ms), float(times))


@dataclass(frozen=True, slots=True)
class Verdict:
    """The outcome of one evaluation; plain data that crosses processes and machines as JSON.

    `reasons` are short sentences, the first of them the one that decided. `log` is a bounded
    excerpt of what the compiler or the kernel's process said: untrusted text, to be shown but
    never interpreted. `facts` is a JSON object with what the kernel's text says about itself: the
    library's operators that it calls, kernels of its own, what is suspicious. Times are
    milliseconds for one call of `forward`; `speedup` is the reference's time over the kernel's.
    `environment` says on what it was measured. `profile` is where the kernel's process says that
    its time goes: untrusted as `log` is, and part of no figure.
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
    profile: tuple[ProfileRow, ...] = ()

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
        if self.profile:
            record["profile"] = profile_record(self.profile)
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
            profile=profile_of(record.get("profile")),
        )


def profile_record(profile: tuple[ProfileRow, ...]) -> list[Record]:
    """Return a profile as JSON."""
    return [
        {"name": row.name, "on_device": row.on_device, "ms": row.ms, "times": row.times}
        for row in profile
    ]


def profile_of(record: Any) -> tuple[ProfileRow, ...]:
    """Read what `profile_record` wrote, bounded and cleaned; raises as `from_record` does."""
    if not record:
        return ()
    return tuple(
        profile_row(row["name"], row["on_device"], float(row["ms"]), float(row["times"]))
        for row in list(record)[:MAX_PROFILE_ROWS]
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
