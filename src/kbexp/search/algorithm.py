"""The algorithms: how a step chooses what to ask for, and which answers it admits.

Every algorithm runs in the same loop, under the same budget and journal. It brings a plan, a
function from the archive to the parents of each proposal of a step. `ALGORITHMS` holds them by the
`kind` of their configuration.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from kbexp.candidate import Candidate, ProposalRequest
from kbexp.config import AlgorithmConfig
from kbexp.errors import KbexpError
from kbexp.search.archive import Archive
from kbexp.search.priority import Standing, rank, standings
from kbexp.search.score import Score

if TYPE_CHECKING:
    from kbexp.search.epsilon_net import EpsilonNet

BEST_OTHERS = 2
"""How many of the best candidates a request shows beside the one to improve."""

FAILED_OTHERS = 1
"""How many failures a request shows beside the one to improve."""

Plan = Callable[[Archive, AlgorithmConfig, Score], list[tuple[Candidate, ...]]]
"""The parents of each proposal of the current step: `num_candidates` times `num_proposals` of them.

A plan depends on what the archive held when the step began and on nothing that came in since.
"""

Summarize = Callable[[Archive], str]
"""What the search has learned so far, in words; it joins every request of a step."""


@dataclass(frozen=True, slots=True)
class Algorithm:
    """A kind of search: its plan, and what it tells the model of the search so far."""

    plan: Plan
    summarize: Summarize


def no_summary(archive: Archive) -> str:
    """Tell nothing."""
    return ""


def plan_priority(
    archive: Archive, config: AlgorithmConfig, score: Score
) -> list[tuple[Candidate, ...]]:
    """Improve the `num_candidates` candidates of highest priority.

    Where there are fewer, those there are take turns, the best first. Candidates without a score
    are left out; where none has one, the first kernel is improved unseen.
    """
    known = standings(archive, score)
    chosen = rank(known, config.score_function, config.ucb_c)[: config.num_candidates]
    chosen = chosen or known[:1]
    best = rank([s for s in known if s.correct])[: BEST_OTHERS + 1]
    failures = [s for s in reversed(known) if s.score is not None and not s.correct]
    shown = {s.candidate.order: _with_others(s, best, failures) for s in chosen}
    width = config.num_candidates * config.num_proposals
    return [shown[chosen[i % len(chosen)].candidate.order] for i in range(width)]


def plan_best_of_n(
    archive: Archive, config: AlgorithmConfig, score: Score
) -> list[tuple[Candidate, ...]]:
    """Improve the first kernel, again and again, as if nothing else were known."""
    first = next(iter(archive.candidates.values()))
    width = config.num_candidates * config.num_proposals
    return [(_copy(first),) for _ in range(width)]


ALGORITHMS: dict[str, Algorithm] = {
    "priority": Algorithm(plan_priority, no_summary),
    "best_of_n": Algorithm(plan_best_of_n, no_summary),
}
"""Every algorithm by its `kind`; add to it to offer another one."""


def validate(config: AlgorithmConfig) -> Algorithm:
    """Return the algorithm of a configuration; raises KbexpError for settings that cannot be."""
    if config.kind not in ALGORITHMS:
        known = ", ".join(sorted(ALGORITHMS))
        raise KbexpError(
            f"There is no algorithm of kind {config.kind!r}: set algorithm.kind to one of {known}."
        )
    if config.summarizer:
        raise KbexpError(
            "algorithm.summarizer=true asks for the summarizer, which is not built yet: "
            "set it to false, or choose algorithm=ps or algorithm=ps_epsnet."
        )
    lowest = {
        "num_steps": 0,
        "num_candidates": 1,
        "num_proposals": 1,
        "num_threads": 1,
        "epsilon": 0,
        "ucb_c": 0,
        "test_frequency": 0,
    }
    for name, low in lowest.items():
        value = getattr(config, name)
        if not value >= low:
            raise KbexpError(f"algorithm.{name} is {value}: give a number from {low} up.")
    return ALGORITHMS[config.kind]


def epsilon_net(config: AlgorithmConfig) -> EpsilonNet | None:
    """Return the net that admits proposals; None where ε is 0 and every new kernel is admitted."""
    if config.epsilon == 0:
        return None
    from kbexp.search.epsilon_net import EpsilonNet  # imports numpy

    return EpsilonNet(config.epsilon)


def request_seed(seed: int, number: int) -> int:
    """Return the seed of a request, 31 bits that follow from the run's seed and its number."""
    digest = hashlib.sha256(f"{seed}:{number}".encode()).digest()
    return int.from_bytes(digest[:4], "big") >> 1


def requests_of_step(
    algorithm: Algorithm, archive: Archive, config: AlgorithmConfig, score: Score, seed: int
) -> list[ProposalRequest]:
    """Return the requests of the current step, all of them, those already answered too."""
    first = archive.step_start.number
    summary = algorithm.summarize(archive)
    return [
        ProposalRequest(number, parents, request_seed(seed, number), summary)
        for number, parents in enumerate(algorithm.plan(archive, config, score), first)
    ]


def _with_others(
    parent: Standing, best: Sequence[Standing], failures: Sequence[Standing]
) -> tuple[Candidate, ...]:
    """Return the candidate to improve, then the best ones and a failure beside it.

    The failure is the newest that came of improving this candidate, or else the newest of all.
    """
    others = [s for s in best if s is not parent][:BEST_OTHERS]
    failed = [s for s in failures if s is not parent]
    failed.sort(key=lambda s: not _is_child(s, parent))
    return tuple(_copy(s.candidate) for s in (parent, *others, *failed[:FAILED_OTHERS]))


def _is_child(standing: Standing, parent: Standing) -> bool:
    proposal = standing.candidate.proposal
    return proposal is not None and proposal.parents[0] == parent.candidate.kernel.id


def _copy(candidate: Candidate) -> Candidate:
    """Return a copy that another thread may read while the archive goes on."""
    return replace(candidate, verdicts=list(candidate.verdicts))
