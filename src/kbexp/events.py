"""The events of a run: what its journal holds, one JSON object a line.

Everything that a run knows is a fold over these. A record has `event`, `time` (seconds since the
epoch) and, where one kernel is concerned, `kernel_id`.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar

from kbexp.candidate import Proposal, Summary, Usage
from kbexp.verdict import Record, Verdict


@dataclass(frozen=True, slots=True, kw_only=True)
class RunStarted:
    """The first line of a journal: what the run is. `about` is the run's resolved description."""

    event: ClassVar[str] = "run_started"
    about: Mapping[str, Any]
    time: float = field(default_factory=time.time)


@dataclass(frozen=True, slots=True, kw_only=True)
class ProposalAsked:
    """Written before a model is called; `parents` are kernel ids.

    `summary` is the number of the summary that the request holds, None where it holds none.
    `chain` is the chain that an algorithm with several refines by it, None for all others.
    """

    event: ClassVar[str] = "proposal_asked"
    number: int
    parents: tuple[str, ...]
    seed: int
    summary: int | None = None
    chain: int | None = None
    time: float = field(default_factory=time.time)


@dataclass(frozen=True, slots=True, kw_only=True)
class ProposalReceived:
    """Written before the answer is used: it was paid for."""

    event: ClassVar[str] = "proposal_received"
    proposal: Proposal
    time: float = field(default_factory=time.time)


@dataclass(frozen=True, slots=True, kw_only=True)
class EvaluationBegun:
    """Written before a kernel goes to the evaluator. The first kernel has `number` None."""

    event: ClassVar[str] = "evaluation_begun"
    kernel_id: str
    number: int | None
    source: str
    time: float = field(default_factory=time.time)


@dataclass(frozen=True, slots=True, kw_only=True)
class VerdictReached:
    """Written before the verdict is used."""

    event: ClassVar[str] = "verdict"
    verdict: Verdict
    time: float = field(default_factory=time.time)


@dataclass(frozen=True, slots=True, kw_only=True)
class DuplicateFound:
    """A proposal whose kernel the archive holds already; it is not judged again.

    `kernel_id` is the kernel that is held. It is another than the proposal's own where an ε-net
    dropped the proposal for lying within ε of it; `distance` is then how far apart they lie.
    """

    event: ClassVar[str] = "duplicate"
    kernel_id: str
    number: int
    distance: float = 0.0
    time: float = field(default_factory=time.time)


@dataclass(frozen=True, slots=True, kw_only=True)
class SummaryWritten:
    """A summary that a model wrote, or failed to write: it was paid for all the same.

    `number` counts the summaries of a run from 0; `covers` are the ids of the kernels that the
    model was shown for it.
    """

    event: ClassVar[str] = "summary_written"
    number: int
    summary: Summary
    covers: tuple[str, ...]
    time: float = field(default_factory=time.time)


@dataclass(frozen=True, slots=True, kw_only=True)
class EmbeddingsMade:
    """So many texts were embedded by a model of embeddings, and paid for; `usage` is of all."""

    event: ClassVar[str] = "embeddings_made"
    model: str
    texts: int
    usage: Usage
    time: float = field(default_factory=time.time)


@dataclass(frozen=True, slots=True, kw_only=True)
class Noted:
    """Something a reader of the run should know and that ends nothing, in one sentence.

    `number` is that of the proposal it concerns, None where it concerns none.
    """

    event: ClassVar[str] = "noted"
    text: str
    number: int | None = None
    time: float = field(default_factory=time.time)


@dataclass(frozen=True, slots=True, kw_only=True)
class StepDone:
    """The end of a step, counted from 1; `best_score` is None until a kernel is correct."""

    event: ClassVar[str] = "step"
    step: int
    best_kernel_id: str | None
    best_score: float | None
    time: float = field(default_factory=time.time)


@dataclass(frozen=True, slots=True, kw_only=True)
class ConfirmationBegun:
    """Written before a kernel that the search has judged goes to the evaluator once more.

    `sizes` are the task's constants that are set otherwise than in the search; empty where it is
    the same task.
    """

    event: ClassVar[str] = "confirmation_begun"
    kernel_id: str
    sizes: Mapping[str, Any] = field(default_factory=dict)
    time: float = field(default_factory=time.time)


@dataclass(frozen=True, slots=True, kw_only=True)
class Confirmed:
    """A kernel's verdict after the search: what it is worth when nothing is chosen by it."""

    event: ClassVar[str] = "confirmed"
    verdict: Verdict
    sizes: Mapping[str, Any] = field(default_factory=dict)
    time: float = field(default_factory=time.time)


@dataclass(frozen=True, slots=True, kw_only=True)
class BaselineBegun:
    """Written before a baseline goes to the evaluator; `name` is its name in the settings."""

    event: ClassVar[str] = "baseline_begun"
    name: str
    time: float = field(default_factory=time.time)


@dataclass(frozen=True, slots=True, kw_only=True)
class BaselineJudged:
    """A baseline's verdict, judged as a kernel is; `cached` where an earlier run had it judged."""

    event: ClassVar[str] = "baseline"
    name: str
    verdict: Verdict
    cached: bool = False
    time: float = field(default_factory=time.time)


@dataclass(frozen=True, slots=True, kw_only=True)
class DeviceReady:
    """A rented device can judge, `seconds` after it was asked for."""

    event: ClassVar[str] = "device_ready"
    device: str
    seconds: float
    time: float = field(default_factory=time.time)


@dataclass(frozen=True, slots=True, kw_only=True)
class DeviceBilled:
    """What a rented device has cost since the last such event, idle time included."""

    event: ClassVar[str] = "device_billed"
    usd: float
    time: float = field(default_factory=time.time)


@dataclass(frozen=True, slots=True, kw_only=True)
class RunEnded:
    """The last line: state complete, stopped or failed, and why in one sentence."""

    event: ClassVar[str] = "run_ended"
    state: str
    reason: str
    time: float = field(default_factory=time.time)


Event = (
    RunStarted
    | ProposalAsked
    | ProposalReceived
    | EvaluationBegun
    | VerdictReached
    | DuplicateFound
    | SummaryWritten
    | EmbeddingsMade
    | Noted
    | StepDone
    | ConfirmationBegun
    | Confirmed
    | BaselineBegun
    | BaselineJudged
    | DeviceReady
    | DeviceBilled
    | RunEnded
)


def to_record(event: Event) -> Record:
    """Return the event as a JSON object with `event` and `time` first."""
    record: Record = {"event": event.event, "time": event.time}
    match event:
        case RunStarted():
            record["about"] = dict(event.about)
        case ProposalAsked():
            record |= {
                "number": event.number,
                "parents": list(event.parents),
                "seed": event.seed,
                "summary": event.summary,
                "chain": event.chain,
            }
        case ProposalReceived():
            record |= event.proposal.to_record()
        case EvaluationBegun():
            record |= {"kernel_id": event.kernel_id, "number": event.number, "source": event.source}
        case VerdictReached():
            record |= event.verdict.to_record()
        case DuplicateFound():
            record |= {
                "kernel_id": event.kernel_id,
                "number": event.number,
                "distance": event.distance,
            }
        case SummaryWritten():
            record |= {
                "number": event.number,
                "text": event.summary.text,
                "error": event.summary.error,
                "covers": list(event.covers),
                "model": event.summary.model,
                **event.summary.usage.to_record(),
            }
        case EmbeddingsMade():
            record |= {"model": event.model, "texts": event.texts, **event.usage.to_record()}
        case Noted():
            record |= {"text": event.text, "number": event.number}
        case StepDone():
            record |= {
                "step": event.step,
                "best_kernel_id": event.best_kernel_id,
                "best_score": event.best_score,
            }
        case ConfirmationBegun():
            record |= {"kernel_id": event.kernel_id, "sizes": dict(event.sizes)}
        case Confirmed():
            record |= {"sizes": dict(event.sizes), **event.verdict.to_record()}
        case BaselineBegun():
            record["name"] = event.name
        case BaselineJudged():
            record |= {"name": event.name, "cached": event.cached, **event.verdict.to_record()}
        case DeviceReady():
            record |= {"device": event.device, "seconds": event.seconds}
        case DeviceBilled():
            record["usd"] = event.usd
        case RunEnded():
            record |= {"state": event.state, "reason": event.reason}
    return record


def from_record(record: Mapping[str, Any]) -> Event:
    """Read what `to_record` wrote; raises ValueError or KeyError where the record is not one."""
    at = float(record["time"])
    match record["event"]:
        case VerdictReached.event:
            return VerdictReached(verdict=Verdict.from_record(record), time=at)
        case EvaluationBegun.event:
            return EvaluationBegun(
                kernel_id=str(record["kernel_id"]),
                number=_number(record["number"]),
                source=str(record["source"]),
                time=at,
            )
        case DuplicateFound.event:
            return DuplicateFound(
                kernel_id=str(record["kernel_id"]),
                number=int(record["number"]),
                distance=float(record.get("distance", 0.0)),
                time=at,
            )
        case StepDone.event:
            return StepDone(
                step=int(record["step"]),
                best_kernel_id=record["best_kernel_id"],
                best_score=None if record["best_score"] is None else float(record["best_score"]),
                time=at,
            )
        case _:
            return _of_model(record, at)


def _number(value: Any) -> int | None:
    return None if value is None else int(value)


def _of_model(record: Mapping[str, Any], at: float) -> Event:
    """Read an event of a call to a model, or one of those that `_of_run` reads."""
    match record["event"]:
        case ProposalAsked.event:
            return ProposalAsked(
                number=int(record["number"]),
                parents=tuple(sys.intern(str(parent)) for parent in record["parents"]),
                seed=int(record["seed"]),
                summary=_number(record.get("summary")),
                chain=_number(record.get("chain")),
                time=at,
            )
        case ProposalReceived.event:
            return ProposalReceived(proposal=Proposal.from_record(record), time=at)
        case SummaryWritten.event:
            return SummaryWritten(
                number=int(record["number"]),
                summary=Summary(
                    text=str(record["text"]),
                    error=str(record["error"]),
                    model=str(record["model"]),
                    usage=Usage.from_record(record),
                ),
                covers=tuple(str(kernel_id) for kernel_id in record["covers"]),
                time=at,
            )
        case EmbeddingsMade.event:
            return EmbeddingsMade(
                model=str(record["model"]),
                texts=int(record["texts"]),
                usage=Usage.from_record(record),
                time=at,
            )
        case _:
            return _of_run(record, at)


def _of_run(record: Mapping[str, Any], at: float) -> Event:
    """Read an event of the run as a whole, or one of those that `_after_search` reads."""
    match record["event"]:
        case RunStarted.event:
            return RunStarted(about=record["about"], time=at)
        case Noted.event:
            return Noted(text=str(record["text"]), number=_number(record["number"]), time=at)
        case DeviceReady.event:
            return DeviceReady(
                device=str(record["device"]), seconds=float(record["seconds"]), time=at
            )
        case DeviceBilled.event:
            return DeviceBilled(usd=float(record["usd"]), time=at)
        case RunEnded.event:
            return RunEnded(state=str(record["state"]), reason=str(record["reason"]), time=at)
        case _:
            return _after_search(record, at)


def _after_search(record: Mapping[str, Any], at: float) -> Event:
    """Read an event of what follows a search."""
    match record["event"]:
        case ConfirmationBegun.event:
            return ConfirmationBegun(
                kernel_id=str(record["kernel_id"]), sizes=dict(record["sizes"]), time=at
            )
        case Confirmed.event:
            return Confirmed(
                verdict=Verdict.from_record(record), sizes=dict(record["sizes"]), time=at
            )
        case BaselineBegun.event:
            return BaselineBegun(name=str(record["name"]), time=at)
        case BaselineJudged.event:
            return BaselineJudged(
                name=str(record["name"]),
                verdict=Verdict.from_record(record),
                cached=bool(record["cached"]),
                time=at,
            )
        case other:
            raise ValueError(f"unknown event {other!r}")
