"""Proposals and candidates: what a model answered, and what a search holds."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol, runtime_checkable

from kbexp.kernel import Kernel
from kbexp.verdict import Record, Verdict


@dataclass(frozen=True, slots=True)
class Usage:
    """What one model call used; `cost_usd` is None where no price is known.

    `cached_tokens` are those of the input that came from the provider's cache, and `cached_usd` is
    their part of the price, 0 where it is not known.
    """

    input_tokens: int = 0
    output_tokens: int = 0
    cached_tokens: int = 0
    cost_usd: float | None = 0.0
    latency_s: float = 0.0
    cached_usd: float = 0.0

    def to_record(self) -> Record:
        """Return the figures as a JSON object."""
        return {
            "input_tokens": self.input_tokens,
            "output_tokens": self.output_tokens,
            "cached_tokens": self.cached_tokens,
            "cost_usd": self.cost_usd,
            "cached_usd": self.cached_usd,
            "latency_s": self.latency_s,
        }

    @classmethod
    def from_record(cls, record: Mapping[str, Any]) -> Usage:
        """Read what `to_record` wrote; raises KeyError where a key is missing."""
        cost = record["cost_usd"]
        return cls(
            input_tokens=int(record["input_tokens"]),
            output_tokens=int(record["output_tokens"]),
            cached_tokens=int(record["cached_tokens"]),
            cost_usd=None if cost is None else float(cost),
            latency_s=float(record["latency_s"]),
            cached_usd=float(record.get("cached_usd", 0.0)),
        )


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
            **self.usage.to_record(),
        }

    @classmethod
    def from_record(cls, record: Mapping[str, Any]) -> Proposal:
        """Read what `to_record` wrote; raises KeyError where a key is missing."""
        source = record["source"]
        return cls(
            number=int(record["number"]),
            parents=tuple(str(parent) for parent in record["parents"]),
            kernel=None if source is None else Kernel(str(source)),
            error=str(record["error"]),
            reply=str(record["reply"]),
            model=str(record["model"]),
            usage=Usage.from_record(record),
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
class Question:
    """A question in a search method's own words; `system` is its system message, or ""."""

    user: str
    system: str = ""


@dataclass(frozen=True, slots=True)
class ProposalRequest:
    """What a search asks of a proposer: improve `parents[0]`, knowing the others.

    `seed` is drawn for this request alone from the run's seed, so that a request is repeatable
    whatever ran beside it. `summary` is what the search has learned so far, or "". Where there is
    a `question`, it is asked as it stands, after what every question of the run begins with.
    """

    number: int
    parents: tuple[Candidate, ...]
    seed: int
    summary: str = ""
    question: Question | None = None


class Proposer(Protocol):
    """Turns a request into a proposal; called from several threads at once.

    A failed call, an empty or unusable answer is a `Proposal` with no kernel and an `error`.
    Raises `ModelUnavailable` where no further call can succeed.
    """

    def propose(self, request: ProposalRequest) -> Proposal:
        """Ask once and return what came."""
        ...


@dataclass(frozen=True, slots=True)
class Summary:
    """What a search has learned so far, in a model's words; no `text` where the call failed.

    `error` then says why in one sentence. `usage` is what the call used, failed or not.
    """

    text: str
    error: str = ""
    model: str = ""
    usage: Usage = Usage()


class Summarizer(Protocol):
    """Keeps a rolling summary of what worked and what failed; called from a thread of its own."""

    def summarize(self, previous: str, fresh: Sequence[Candidate], seed: int) -> Summary:
        """Return `previous` ("" at first) brought up to date with candidates it has not seen.

        `fresh` are a few judged candidates, successes and failures, oldest first. A failed call
        is a `Summary` with an `error`; what is raised counts as one too. Neither ends a run.
        """
        ...


Vector = Sequence[float]
"""Where a text lies; texts whose vectors lie close together are alike (L2)."""


class Embedder(Protocol):
    """Turns texts into vectors of one length; called from several threads at once.

    Equal texts have equal vectors. Whoever pays for a call keeps what came, by the text.
    """

    def embed(self, texts: Sequence[str]) -> list[Vector]:
        """Return a vector for each text, in order; raises where they cannot be had.

        The text of a `KbexpError` is told to whoever runs the search, of anything else its type.
        """
        ...


@runtime_checkable
class PaidEmbedder(Embedder, Protocol):
    """An embedder whose calls cost something."""

    @property
    def model(self) -> str:
        """The model's name."""
        ...

    def spent(self) -> tuple[int, Usage]:
        """Return what was used since this was last asked: how many texts, and their usage."""
        ...
