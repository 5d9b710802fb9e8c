"""Events as lines of text, for logs and pipes."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any

from kbexp.candidate import Usage
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
from kbexp.summary import RunSummary
from kbexp.tracking.figures import count, dollars, duration, interval, milliseconds, ratio, worth
from kbexp.tracking.text import one_line
from kbexp.verdict import Verdict

FIRST_KERNEL = "loading the task on the device, judging its reference as the first kernel"
"""What a run does until its first verdict, which takes seconds."""

QUIET = (ProposalAsked, EvaluationBegun, ConfirmationBegun, DeviceBilled, EmbeddingsMade)
"""Events that say only that something has begun, or goes on costing."""


def quiet(event: Event, summary: RunSummary) -> bool:
    """Tell whether an event is left out unless everything is asked for."""
    waits = isinstance(event, EvaluationBegun) and first_begun(event, summary)
    return isinstance(event, QUIET) and not waits


def first_begun(event: EvaluationBegun, summary: RunSummary) -> bool:
    """Tell whether the first kernel of a run is about to be judged."""
    return event.number is None and not summary.verdicts


def event_line(event: Event, summary: RunSummary, name: str) -> str:
    """Return one line for an event that `summary` has taken in, safe to print."""
    at = time.strftime("%H:%M:%S", time.localtime(event.time))
    return f"{at}  {one_line(name, 60)}  {_what(event, summary)}"


def outcome(verdict: Verdict) -> str:
    """Return a verdict in a few words: figures where it is correct, else its first reason."""
    if verdict.correct:
        parts = [interval(verdict.speedup)] if verdict.speedup else []
        parts += [milliseconds(verdict.time_ms.value)] if verdict.time_ms else []
        return "  ".join(parts)
    reason = next((reason for reason in verdict.reasons if reason.strip()), "")
    return one_line(reason) or f"while {verdict.phase!s}"


def status_words(verdict: Verdict) -> str:
    """Return a verdict's status as words."""
    return str(verdict.status).replace("_", " ")


def best_words(summary: RunSummary) -> str:
    """Return the best so far in a few words."""
    best = summary.winner
    if best is None:
        return without_best(summary)
    speedup = best.verdict.speedup
    parts = [] if summary.by_speedup and speedup else [worth(summary.metric, best.score)]
    parts += [interval(speedup)] if speedup else []
    words = f"best {', '.join(parts)}"
    confirmed = " confirmed" if best.confirmed is not None else ""
    return f"{words}{confirmed}, {origin(best.searched.number)}"


def without_best(summary: RunSummary) -> str:
    """Return what is so where no kernel is the best: not yet, or in the end."""
    if summary.state == "running":
        return "no correct kernel yet"
    return "no correct kernel" if summary.verdicts else "nothing was judged"


def origin(number: int | None) -> str:
    """Return which kernel it is: kernels go by their proposals' numbers, as in the journal."""
    return "first kernel" if number is None else f"proposal {number}"


def sizes_words(sizes: Mapping[str, Any]) -> str:
    """Return the constants that are set otherwise, as in rows=64."""
    return one_line(", ".join(f"{name}={value}" for name, value in sizes.items()), 60)


def _what(event: Event, summary: RunSummary) -> str:
    match event:
        case RunStarted():
            return "run started"
        case ProposalAsked():
            return f"proposal {event.number} asked, from {_short(event.parents)}"
        case ProposalReceived():
            return _proposal(event)
        case EvaluationBegun() if first_begun(event, summary):
            return FIRST_KERNEL
        case EvaluationBegun():
            return f"{origin(event.number)} being judged  kernel {event.kernel_id[:8]}"
        case VerdictReached():
            verdict = event.verdict
            return (
                f"{_kernel(verdict.kernel_id, summary)}  "
                f"{status_words(verdict)}  {outcome(verdict)}  ({best_words(summary)})"
            )
        case DuplicateFound():
            return f"proposal {event.number} {held_words(event, summary)}"
        case SummaryWritten():
            return _summary(event)
        case EmbeddingsMade():
            name = one_line(event.model, 60)
            return f"{event.texts} texts embedded by {name}  ({_price(event.usage)})"
        case Noted():
            return one_line(event.text, 300)
        case StepDone():
            return (
                f"step {event.step} done  {best_words(summary)}  {summary.evaluations} "
                f"evaluations, {summary.proposals} proposals, "
                f"{dollars(summary.llm_usd + summary.gpu_usd)}"
            )
        case ConfirmationBegun():
            of = origin(summary.number_of(event.kernel_id))
            return f"{of} being judged again{_with(event.sizes)}"
        case Confirmed():
            return _again(event, summary)
        case BaselineBegun():
            return f"baseline {one_line(event.name, 40)} being judged"
        case BaselineJudged():
            verdict = event.verdict
            known = ", from an earlier run" if event.cached else ""
            return (
                f"baseline {one_line(event.name, 40)}  {status_words(verdict)}  "
                f"{outcome(verdict)}{known}"
            )
        case DeviceReady():
            return f"{one_line(event.device, 60)} is ready, after {duration(event.seconds)}"
        case DeviceBilled():
            return f"the rented device has cost {dollars(summary.gpu_usd)}"
        case RunEnded():
            reason = f": {one_line(event.reason)}" if event.reason else ""
            return (
                f"run {one_line(event.state, 20)}{reason}  {best_words(summary)}  "
                f"{summary.evaluations} evaluations, {summary.correct} correct, "
                f"{duration(summary.wall_s)}, {dollars(summary.llm_usd + summary.gpu_usd)}"
            )


def _again(event: Confirmed, summary: RunSummary) -> str:
    verdict = event.verdict
    searched = summary.speedup_of(verdict.kernel_id)
    before = f" ({ratio(searched)} when searched)" if searched and not event.sizes else ""
    return (
        f"judged again{_with(event.sizes)}  {_kernel(verdict.kernel_id, summary)}  "
        f"{status_words(verdict)}  {outcome(verdict)}{before}"
    )


def _with(sizes: Mapping[str, Any]) -> str:
    return f" with {sizes_words(sizes)}" if sizes else ""


def _proposal(event: ProposalReceived) -> str:
    proposal = event.proposal
    usage = proposal.usage
    price = _price(usage)
    cost = f"{count(usage.input_tokens)}+{count(usage.output_tokens)} tokens, {price}"
    if proposal.kernel is None:
        return f"proposal {proposal.number} failed: {one_line(proposal.error)}  ({cost})"
    return f"proposal {proposal.number} is kernel {proposal.kernel.id[:8]}  ({cost})"


def held_words(event: DuplicateFound, summary: RunSummary) -> str:
    """Return which kernel a proposal repeats, or lies too near to be judged."""
    held = origin(summary.number_of(event.kernel_id))
    return f"lies {event.distance:.2g} from {held}" if event.distance else f"is {held} again"


def _kernel(kernel_id: str, summary: RunSummary) -> str:
    return f"{origin(summary.number_of(kernel_id))}  kernel {one_line(kernel_id[:8])}"


def _summary(event: SummaryWritten) -> str:
    summary = event.summary
    price = _price(summary.usage)
    cost = f"{count(summary.usage.input_tokens)}+{count(summary.usage.output_tokens)} tokens"
    what = f"failed: {one_line(summary.error)}" if summary.error else "written"
    return f"summary {event.number} {what}  ({cost}, {price})"


def _price(usage: Usage) -> str:
    return "unknown price" if usage.cost_usd is None else dollars(usage.cost_usd)


def _short(parents: tuple[str, ...]) -> str:
    return ", ".join(one_line(parent[:8]) for parent in parents[:3]) or "nothing"
