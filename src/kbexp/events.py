"""The events of a run: what its journal holds, one JSON object a line.

Everything that a run knows is a fold over these. A record has `event`, `time` (seconds since the
epoch) and, where one kernel is concerned, `kernel_id`.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar

from kbexp.candidate import Proposal, Summary, Usage
from kbexp.verdict import Verdict


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
    """A device can judge, `seconds` after the evaluator was asked for it."""

    event: ClassVar[str] = "device_ready"
    device: str
    seconds: float
    time: float = field(default_factory=time.time)


@dataclass(frozen=True, slots=True, kw_only=True)
class DeviceBilled:
    """What a rented device has cost since the last such event, idle time included.

    `left_usd` is what it costs at most after this event, should nothing more be heard of the
    session that wrote it. The next session of the run adds it; one that ends well leaves 0.
    """

    event: ClassVar[str] = "device_billed"
    usd: float
    left_usd: float = 0.0
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
