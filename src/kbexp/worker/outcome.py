"""What a judge tells the worker: a verdict less what only the worker knows."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from typing import Any

from kbexp.verdict import Interval, Phase, ProfileRow, Status, profile_of
from kbexp.worker.work import Work


@dataclass(frozen=True, slots=True)
class Outcome:
    """How judging ended.

    `died` names the runner whose process ended, if one did; `again` asks for one more try, the
    judge having learned what does not work on this machine. `transport` is how tensors crossed,
    `conditions` what the device and the machine were like meanwhile.
    """

    status: Status
    phase: Phase
    reasons: tuple[str, ...] = ()
    log: str = ""
    died: str = ""
    again: bool = False
    transport: str = ""
    time_ms: Interval | None = None
    reference_ms: Interval | None = None
    speedup: Interval | None = None
    metrics: Mapping[str, float] = field(default_factory=dict)
    conditions: Mapping[str, str] = field(default_factory=dict)
    correctness_s: float = 0.0
    timing_s: float = 0.0
    profile: tuple[ProfileRow, ...] = ()

    def on(self, work: Work | None) -> Outcome:
        """Return the outcome with the task's work beside its times, where it has both."""
        if work is None or self.time_ms is None:
            return self
        return replace(
            self,
            metrics={**self.metrics, **work.metrics()},
            conditions={**self.conditions, **work.environment()},
        )

    def to_record(self) -> dict[str, Any]:
        """Return the outcome as a JSON object."""
        return asdict(self)

    @classmethod
    def from_record(cls, record: dict[str, Any]) -> Outcome:
        """Read what `to_record` wrote."""
        figures = {
            name: Interval(**record[name]) if record[name] else None
            for name in ("time_ms", "reference_ms", "speedup")
        }
        return cls(
            **{
                **record,
                **figures,
                "status": Status(record["status"]),
                "phase": Phase(record["phase"]),
                "reasons": tuple(record["reasons"]),
                "profile": profile_of(record["profile"]),
            }
        )


class Stop(Exception):
    """An evaluation is over before its figures."""

    def __init__(self, outcome: Outcome) -> None:
        super().__init__(outcome.status)
        self.outcome = outcome
