"""Events as JSON objects, and back."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from typing import Any

from kbexp.candidate import Proposal, Summary, Usage
from kbexp.events import (
    BaselineBegun,
    BaselineJudged,
    ConfirmationBegun,
    Confirmed,
    DeviceBilled,
    DeviceReady,
    DuplicateFound,
    EmbeddingsMade,
    EvaluationBegun,
    Event,
    Noted,
    ProposalAsked,
    ProposalReceived,
    RunEnded,
    RunStarted,
    StepDone,
    SummaryWritten,
    VerdictReached,
)
from kbexp.verdict import Record, Verdict


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
            record |= {"usd": event.usd, "left_usd": event.left_usd}
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
            return DeviceBilled(
                usd=float(record["usd"]), left_usd=float(record.get("left_usd", 0.0)), time=at
            )
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
