"""Proposals and candidates: what a model answered, and what a search holds."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

from kbexp.kernel import Kernel
from kbexp.verdict import Record, Verdict


@dataclass(frozen=True, slots=True)
class Usage:
    """What one model call used; `cost_usd` is None where no price is known."""

    input_tokens: int = 0
    output_tokens: int = 0
    cached_tokens: int = 0
    cost_usd: float | None = 0.0
    latency_s: float = 0.0


@dataclass(frozen=True, slots=True)
class Proposal:
    """One answer of a model.

    `number` counts the proposals of a run from 0. `parents` are kernel ids, the one to be
    improved first. `kernel` is None where the call failed or the answer held no kernel, and
    `error` then says why in one sentence. `reply` is the model's text as it came.
    """

    number: int
    parents: tuple[str, ...]
    kernel: Kernel | None
    error: str = ""
    reply: str = ""
    model: str = ""
    usage: Usage = Usage()

    def to_record(self) -> Record:
        """Return the proposal as a JSON object."""
        return {
            "number": self.number,
            "parents": list(self.parents),
            "kernel_id": self.kernel.id if self.kernel else None,
            "source": self.kernel.source if self.kernel else None,
            "error": self.error,
            "reply": self.reply,
            "model": self.model,
            "input_tokens": self.usage.input_tokens,
            "output_tokens": self.usage.output_tokens,
            "cached_tokens": self.usage.cached_tokens,
            "cost_usd": self.usage.cost_usd,
            "latency_s": self.usage.latency_s,
        }

    @classmethod
    def from_record(cls, record: Mapping[str, Any]) -> Proposal:
        """Read what `to_record` wrote; raises KeyError where a key is missing."""
        source, cost = record["source"], record["cost_usd"]
        return cls(
            number=int(record["number"]),
            parents=tuple(str(parent) for parent in record["parents"]),
            kernel=None if source is None else Kernel(str(source)),
            error=str(record["error"]),
            reply=str(record["reply"]),
            model=str(record["model"]),
            usage=Usage(
                input_tokens=int(record["input_tokens"]),
                output_tokens=int(record["output_tokens"]),
                cached_tokens=int(record["cached_tokens"]),
                cost_usd=None if cost is None else float(cost),
                latency_s=float(record["latency_s"]),
            ),
        )


@dataclass(slots=True)
class Candidate:
    """A kernel in a search, the proposal it came from (None for the first kernel), its verdicts.

    `order` counts the candidates of an archive from 0 as they came in.
    """

    kernel: Kernel
    order: int
    proposal: Proposal | None = None
    verdicts: list[Verdict] = field(default_factory=list)

    @property
    def verdict(self) -> Verdict | None:
        """The latest verdict, or None where the kernel was not judged yet."""
        return self.verdicts[-1] if self.verdicts else None


@dataclass(frozen=True, slots=True)
class ProposalRequest:
    """What a search asks of a proposer: improve `parents[0]`, knowing the others.

    `seed` is drawn for this request alone from the run's seed, so that a request is repeatable
    whatever ran beside it. `summary` is what the search has learned so far, or "".
    """

    number: int
    parents: tuple[Candidate, ...]
    seed: int
    summary: str = ""


class Proposer(Protocol):
    """Turns a request into a proposal; called from several threads at once.

    A failed call, an empty or unusable answer is a `Proposal` with no kernel and an `error`.
    Raises `ModelUnavailable` where no further call can succeed.
    """

    def propose(self, request: ProposalRequest) -> Proposal:
        """Ask once and return what came."""
        ...
