"""What a run will take, said before it starts, and once more when the first call has its price."""

from __future__ import annotations

from dataclasses import dataclass

from kbexp.app.models import replays
from kbexp.config import RunConfig
from kbexp.events import Event, ProposalReceived
from kbexp.proposals.models import models_of

INPUT_TOKENS = 5000
"""Tokens of a typical question: task, device, a kernel with its feedback, three others."""

OUTPUT_TOKENS = 2000
"""Tokens of a typical answer; a model that reasons at length writes several times as many."""

BESIDE_TIMING_S = 2.0
"""Seconds of a typical evaluation for building, checking and fresh inputs; C++ with PyTorch's
headers takes a minute to build, most kernels well under a second."""


@dataclass(frozen=True, slots=True)
class Forecast:
    """The most that a run asks for, and what that typically takes.

    `call_usd` is the price of a typical call, None where the settings do not say. What a rented
    device costs is said elsewhere.
    """

    calls: int
    evaluations: int
    device_s: float
    call_usd: float | None

    def sentence(self) -> str:
        """Return it as one sentence."""
        if self.call_usd is None:
            price = "of a price that the first will show"
        elif self.call_usd == 0:
            price = "free"
        else:
            price = (
                f"about ${self.call_usd * self.calls:.2f} at {INPUT_TOKENS:,} tokens in and "
                f"{OUTPUT_TOKENS:,} out for each"
            )
        return (
            f"At most {self.calls} calls to the model, {price}, and {self.evaluations} "
            f"evaluations, about {_duration(self.device_s)} of the device."
        )

    def after(self, event: Event) -> str | None:
        """Return what all calls will cost by the first one; None where that is known already."""
        if self.call_usd is not None or not isinstance(event, ProposalReceived):
            return None
        cost = event.proposal.usage.cost_usd
        if event.proposal.number != 0 or not cost:
            return None
        return (
            f"The first call cost ${cost:.4f}: {self.calls} of them cost ${cost * self.calls:.2f}."
        )


def forecast(config: RunConfig) -> Forecast:
    """Estimate a run from its settings: at most what its steps ask for and its budget allows."""
    algorithm, limits = config.algorithm, config.budget
    asked = algorithm.num_steps * algorithm.num_candidates * algorithm.num_proposals
    evaluations = _least(asked + 1, limits.evaluations)
    proposals = _least(asked, limits.proposals)
    calls = proposals + (max(algorithm.num_steps - 1, 0) if algorithm.summarizer else 0)
    each_s = config.evaluator.timing_s + BESIDE_TIMING_S
    # Judging again is twice as thorough.
    device_s = each_s * (evaluations + 2 * config.confirm.kernels)
    if limits.wall_s is not None:
        device_s = min(device_s, limits.wall_s * max(config.gpu.count, 1))
    return Forecast(
        calls=calls,
        evaluations=evaluations,
        device_s=device_s,
        call_usd=_call_usd(config),
    )


def _call_usd(config: RunConfig) -> float | None:
    """Return the price of a typical call, of the dearest model where there are several."""
    if replays(config.llm):
        return 0.0
    found = []
    for model in models_of(config.llm):
        price_in, price_out = model.config.input_usd_per_mtok, model.config.output_usd_per_mtok
        if price_in is None or price_out is None:
            return None
        found.append((INPUT_TOKENS * price_in + OUTPUT_TOKENS * price_out) / 1e6)
    return max(found)


def _least(number: int, limit: int | None) -> int:
    return number if limit is None else min(number, limit)


def _duration(seconds: float) -> str:
    return f"{seconds:.0f} s" if seconds < 120 else f"{seconds / 60:.0f} min"
