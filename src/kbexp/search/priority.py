"""Ranking: which candidates a search improves next.

A candidate that was correct once comes before every one that never was. Within both groups the
one with the highest priority comes first, by one of three rules:

- `mean`: the mean score over its verdicts, as published priority search has it;
- `ucb`: mean + c·√(ln(total + 1) / n)·(max - min), clipped to [min, max], where n counts what is
  known of the candidate (its verdicts and the proposals asked from it), total is the sum of n over
  all, and min and max are the lowest and the highest score seen;
- `newest`: the one that came last.

Equal priorities are ordered by the number of proposals already asked from a candidate, fewer
first, then by age, newest first: the order is total, and equals take turns.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import islice

from kbexp.candidate import Candidate
from kbexp.config import ScoreFunction
from kbexp.search.archive import Archive, scored
from kbexp.search.score import Score


@dataclass(frozen=True, slots=True)
class Standing:
    """What ranking knows of a candidate.

    `score` is the mean over its `judgements` (verdicts other than infrastructure errors), None
    where there is none; `correct` is True where one of them was; `expansions` counts the
    proposals that were asked to improve it.
    """

    candidate: Candidate
    score: float | None
    judgements: int
    correct: bool
    expansions: int


def mean_score(candidate: Candidate, score: Score) -> float | None:
    """Return the mean score over a candidate's verdicts; None where nothing is known of it."""
    verdicts = scored(candidate.verdicts)
    if not verdicts:
        return None
    return math.fsum(score(verdict) for verdict in verdicts) / len(verdicts)


def standings(archive: Archive, score: Score) -> list[Standing]:
    """Return the standing of every candidate there was when the current step began, oldest first.

    What came in since is left out, so that a step has one plan however far it has got.
    """
    start = archive.step_start
    expansions = Counter(
        asked.parents[0] for number, asked in archive.asked.items() if number < start.number
    )
    return [
        Standing(
            candidate,
            mean_score(candidate, score),
            len(scored(candidate.verdicts)),
            any(verdict.correct for verdict in candidate.verdicts),
            expansions[candidate.kernel.id],
        )
        for candidate in islice(archive.candidates.values(), start.candidates)
    ]


def rank(
    standings: Sequence[Standing], function: ScoreFunction = ScoreFunction.mean, c: float = 1.0
) -> list[Standing]:
    """Return those that have a score, best first; `c` weighs exploration under `ucb`."""
    known = [(standing, standing.score) for standing in standings if standing.score is not None]
    scores = [score for _, score in known]
    low, high = min(scores, default=0.0), max(scores, default=0.0)
    total = sum(_observations(standing) for standing, _ in known)

    def key(item: tuple[Standing, float]) -> tuple[bool, float, int, int]:
        standing, score = item
        order = standing.candidate.order
        match function:
            case ScoreFunction.mean:
                priority = score
            case ScoreFunction.ucb:
                bonus = c * math.sqrt(math.log(total + 1) / _observations(standing))
                priority = min(max(score + bonus * (high - low), low), high)
            case ScoreFunction.newest:
                priority = float(order)
        return (not standing.correct, -priority, standing.expansions, -order)

    return [standing for standing, _ in sorted(known, key=key)]


def best_candidate(archive: Archive, score: Score) -> tuple[Candidate, float] | None:
    """Return the correct candidate of highest mean score (the oldest of equals) and that score."""
    best: tuple[Candidate, float] | None = None
    for candidate in archive.candidates.values():
        if any(verdict.correct for verdict in candidate.verdicts):
            value = mean_score(candidate, score)
            if value is not None and (best is None or value > best[1]):
                best = candidate, value
    return best


def _observations(standing: Standing) -> int:
    return standing.judgements + standing.expansions
