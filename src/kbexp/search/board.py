"""The board: where every candidate stands, kept up to date as verdicts come.

A candidate that was correct once comes before every one that never was. Within both groups the
one with the highest priority comes first, by one of three rules:

- `mean`: the mean score over its verdicts, as published priority search has it;
- `ucb`: mean + c·√(ln(total + 1) / n)·(max - min), clipped to [min, max], where n counts what is
  known of the candidate (its verdicts and the proposals asked from it), total is the sum of n over
  all, and min and max are the lowest and the highest score seen;
- `newest`: the one that came last.

Equal priorities are ordered by the number of proposals already asked from a candidate, fewer
first, then by age, newest first: the order is total, and equals take turns.

The figures are columns that grow by doubling, so that a choice among a hundred thousand
candidates is some passes over arrays, and taking a verdict in touches one row.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from kbexp.candidate import Candidate
from kbexp.search.archive import Archive, scored
from kbexp.search.score import Score
from kbexp.search_config import ScoreFunction
from kbexp.verdict import Verdict

GROUP = 256
"""Values of a group of which only the largest is looked at first."""

Floats = npt.NDArray[np.float64]
Orders = npt.NDArray[np.intp]


def mean_score(candidate: Candidate, score: Score) -> float | None:
    """Return the mean score over a candidate's verdicts; None where nothing is known of it."""
    verdicts = scored(candidate.verdicts)
    if not verdicts:
        return None
    return math.fsum(score(verdict) for verdict in verdicts) / len(verdicts)


def best_candidate(archive: Archive, score: Score) -> tuple[Candidate, float] | None:
    """Return the correct candidate of highest mean score (the oldest of equals) and that score."""
    board = Board(archive, score)
    board.refresh()
    return board.best()


class Board:
    """Figures of an archive's candidates, one row each, in their order.

    They are those of the last `refresh`; what came since is not in them. `touch` names a candidate
    that has one more verdict.
    """

    def __init__(self, archive: Archive, score: Score) -> None:
        self.archive = archive
        self.score = score
        self.rows = 0
        self.numbers = 0
        self._touched: set[str] = set()
        self._mean = np.zeros(64)
        self._spread = np.zeros(64)
        self._judgements = np.zeros(64)
        self._known = np.zeros(64, np.bool_)
        """True for a candidate that has a score."""
        self._correct = np.zeros(64, np.bool_)
        self._freshness = np.zeros(64)
        """One less for every proposal that was asked: fewer come first among equals."""
        self._doubt = np.ones(64)
        """1/√n of a candidate, where n counts its verdicts and the proposals asked from it."""
        self._last_asked = np.full(64, -1.0)
        self._ages = np.arange(64, dtype=np.float64)
        self._best_few: tuple[int, list[int]] | None = None
        self._failures: list[int] = []
        self._failures_of: dict[int, list[int]] = {}

    def touch(self, kernel_id: str) -> None:
        """Have a candidate's figures made anew by the next refresh."""
        self._touched.add(kernel_id)

    def refresh(self, candidates: int | None = None, numbers: int | None = None) -> None:
        """Take in the first `candidates` candidates and the requests below `numbers`; None is all.

        What was taken in before stays in.
        """
        archive = self.archive
        have = len(archive.in_order)
        last = have if candidates is None else min(candidates, have)
        while len(self._mean) < last:
            self._grow()
        for kernel_id in self._touched:
            candidate = archive.candidates.get(kernel_id)
            if candidate is not None and candidate.order < self.rows:
                self._measure(candidate)
        self._touched.clear()
        for candidate in archive.in_order[self.rows : last]:
            self._measure(candidate)
        self.rows = max(self.rows, last)
        while (asked := archive.asked.get(self.numbers)) is not None:
            if numbers is not None and self.numbers >= numbers:
                break
            order = archive.candidates[asked.parents[0]].order
            self._freshness[order] -= 1
            self._last_asked[order] = self.numbers
            self._count(order)
            self.numbers += 1

    def candidate(self, order: int) -> Candidate:
        """Return a candidate by its order."""
        return self.archive.in_order[order]

    def mean(self, order: int) -> float:
        """Return a candidate's mean score; 0 where nothing is known of it."""
        return float(self._mean[order])

    def correct(self, order: int) -> bool:
        """True where a candidate was correct once."""
        return order < self.rows and bool(self._correct[order])

    def top(
        self, count: int, function: ScoreFunction = ScoreFunction.mean, c: float = 1.0
    ) -> list[int]:
        """Return the orders of the `count` best that have a score; `c` weighs `ucb`'s bonus."""
        rows = slice(0, self.rows)
        if function is ScoreFunction.ucb:
            priority = self._ucb(c)
        else:
            priority = self._mean if function is ScoreFunction.mean else self._ages
        keys: tuple[Floats, ...] = (priority, self._freshness, self._ages)
        pool = np.flatnonzero(self._correct[rows])
        if len(pool) < count:
            pool = np.flatnonzero(self._known[rows])
            keys = (self._correct.astype(np.float64), *keys)
        return first_of(pool, count, keys)

    def top_correct(self, count: int) -> list[int]:
        """Return the orders of the `count` correct ones of highest mean score, the newest first."""
        if self._best_few is None or self._best_few[0] != count:
            correct = np.flatnonzero(self._correct[: self.rows])
            self._best_few = count, first_of(correct, count, (self._mean, self._ages))
        return self._best_few[1]

    def best(self) -> tuple[Candidate, float] | None:
        """Return the correct candidate of highest mean score, the oldest of equals, and that."""
        correct = np.flatnonzero(self._correct[: self.rows])
        if not correct.size:
            return None
        order = int(correct[np.argmax(self._mean[correct])])
        return self.candidate(order), float(self._mean[order])

    def least_recently_asked(self, orders: Sequence[int]) -> int:
        """Return the one whose last request is oldest; the first of those that had none."""
        return min(orders, key=lambda order: self._last_asked[order])

    def failure_beside(self, order: int) -> int | None:
        """Return the newest failure that came of improving a candidate, or the newest of all.

        None where there is none but the candidate itself.
        """
        for failures in (self._failures_of.get(order, []), self._failures):
            for failure in reversed(failures):
                if failure != order and not self._correct[failure]:
                    return failure
        return None

    def promising(self, samples: int, count: int) -> list[int]:
        """Return up to `count` candidates that want another verdict, the best first.

        They have fewer than `samples`, and the upper end of their score's interval reaches the
        lower end of the best one's: the best itself, and all that could still be better.
        """
        rows = slice(0, self.rows)
        correct = np.flatnonzero(self._correct[rows])
        if not correct.size or samples < 2:
            return []
        mean, spread = self._mean, self._spread
        best = int(correct[np.argmax(mean[correct])])
        near = correct[mean[correct] + spread[correct] >= mean[best] - spread[best]]
        wanted = near[self._judgements[near] < samples]
        return first_of(wanted, count, (mean, -self._ages))

    def _ucb(self, c: float) -> Floats:
        rows = slice(0, self.rows)
        mean, known = self._mean[rows], self._known[rows]
        if not known.any():
            return mean
        low = float(mean.min(where=known, initial=math.inf))
        high = float(mean.max(where=known, initial=-math.inf))
        seen = self._judgements[rows] - self._freshness[rows]
        weight = c * math.sqrt(math.log(float(seen.sum(where=known)) + 1)) * (high - low)
        return np.clip(mean + weight * self._doubt[rows], low, high)

    def _count(self, order: int) -> None:
        self._known[order] = self._judgements[order] > 0
        seen = float(self._judgements[order] - self._freshness[order])
        self._doubt[order] = 1 / math.sqrt(max(seen, 1.0))

    def _measure(self, candidate: Candidate) -> None:
        """Make the figures of a candidate anew."""
        order, verdicts = candidate.order, scored(candidate.verdicts)
        mean = mean_score(candidate, self.score)
        was_failure = self._judgements[order] > 0 and not self._correct[order]
        self._judgements[order] = len(verdicts)
        self._count(order)
        self._mean[order] = mean or 0.0
        self._correct[order] = any(verdict.correct for verdict in verdicts)
        if not self._beside_the_best(order):
            self._best_few = None
        self._spread[order] = (mean or 0.0) * _relative_spread(verdicts)
        if verdicts and not self._correct[order] and not was_failure:
            self._failures.append(order)
            if candidate.proposal is not None and candidate.proposal.parents:
                parent = self.archive.candidates.get(candidate.proposal.parents[0])
                if parent is not None:
                    self._failures_of.setdefault(parent.order, []).append(order)

    def _beside_the_best(self, order: int) -> bool:
        """True where a candidate is surely none of the best few, and was none."""
        if self._best_few is None:
            return False
        count, few = self._best_few
        if order in few:
            return False
        last = few[-1] if len(few) == count else None
        return not self._correct[order] or (last is not None and self.mean(order) < self.mean(last))

    def _grow(self) -> None:
        for name in ("_mean", "_spread", "_judgements", "_known", "_correct", "_freshness"):
            column = getattr(self, name)
            setattr(self, name, np.concatenate([column, np.zeros_like(column)]))
        self._doubt = np.concatenate([self._doubt, np.ones_like(self._doubt)])
        self._last_asked = np.concatenate([self._last_asked, np.full(len(self._last_asked), -1.0)])
        self._ages = np.arange(len(self._mean), dtype=np.float64)


def first_of(pool: Orders, count: int, keys: Sequence[Floats]) -> list[int]:
    """Return the `count` rows of the pool that come first: the largest by the first key, and so on.

    One pass for each key in place of a sort: rows above the last one wanted are in, those
    below are out, and equals go on to the next key.
    """
    chosen: list[Orders] = []
    wanted = count
    for key in keys:
        if len(pool) <= wanted or wanted <= 0:
            break
        values = key[pool]
        last = _largest(values, wanted)
        above = pool[values > last]
        chosen.append(above)
        wanted -= len(above)
        pool = pool[values == last]
    rows = np.concatenate([*chosen, pool[: max(wanted, 0)]])
    order = np.lexsort([-key[rows] for key in reversed(keys)])
    return [int(row) for row in rows[order]]


def _largest(values: Floats, place: int) -> float:
    """Return the value that comes at a place, counted from 1, from the largest down.

    Of many values, some of each group's largest bound it from below, so that few are left to be
    put in order; where many are equal to the largest of all, none is.
    """
    groups = len(values) // GROUP
    if groups >= place:
        heads = values[: groups * GROUP].reshape(GROUP, groups).max(axis=0)
        bound = np.partition(heads, groups - place)[groups - place]
        if bound == values.max():
            return float(bound)
        values = values[values >= bound]
    return float(np.partition(values, len(values) - place)[len(values) - place])


def _relative_spread(verdicts: Sequence[Verdict]) -> float:
    """Return half the width of the mean's 95 % interval as a share of it, from the speedups'.

    Any metric's noise is taken to be that of the measured speedup. 0 where none was measured.
    """
    squares = [
        ((v.speedup.high - max(v.speedup.low, 0.0)) / 2 / v.speedup.value) ** 2
        for v in verdicts
        if v.speedup is not None and v.speedup.value > 0 and math.isfinite(v.speedup.high)
    ]
    return math.sqrt(math.fsum(squares)) / len(squares) if squares else 0.0
