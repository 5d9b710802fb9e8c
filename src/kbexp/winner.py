"""Which kernel a run has won with, from what its search saw and what judging it again came to.

The best of many measured figures is the best partly by luck, so it shrinks when it is measured
again. The winner is therefore chosen among the few best by figures that had no part in finding
them; where none of those stands, by the search's.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from kbexp.verdict import Status, Verdict


@dataclass(frozen=True, slots=True)
class Judged:
    """A correct kernel with its latest verdict; `score` is the mean over all that say something.

    `evaluation` counts verdicts from 1. `number` is that of the proposal, None for the first
    kernel of a run.
    """

    verdict: Verdict
    score: float
    evaluation: int
    number: int | None
    source: str


@dataclass(frozen=True, slots=True)
class Confirmation:
    """What judging a kernel again came to; `sizes` are the task's constants set otherwise."""

    verdict: Verdict
    sizes: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Winner:
    """The kernel that a run came to: as the search saw it, and as judged again (None: not yet).

    `score` is by the confirmed verdict where there is one.
    """

    searched: Judged
    confirmed: Verdict | None
    score: float

    @property
    def verdict(self) -> Verdict:
        """The verdict to rely on: the confirmed one, or else the search's."""
        return self.searched.verdict if self.confirmed is None else self.confirmed

    @property
    def shrunk(self) -> float | None:
        """The share of the searched speedup that was not there when it was judged again.

        Below 0 where the kernel was faster then; None where it was not confirmed.
        """
        before = self.searched.verdict.speedup
        after = self.confirmed.speedup if self.confirmed else None
        if before is None or after is None or before.value <= 0:
            return None
        return 1 - after.value / before.value


def winner(
    ranked: Sequence[Judged],
    confirmed: Mapping[str, Verdict],
    score: Callable[[Verdict], float | None],
) -> Winner | None:
    """Return the winner of a run, or None where no kernel was correct or still is.

    `ranked` are the kernels that the search found correct, its best first; `confirmed` are the
    verdicts of those that were judged again, by kernel id; `score` is None for what is not
    correct or lacks the figure that counts. A kernel that failed then has lost. One that was not
    judged again wins only where it ranks above all that were (its turn is still to come), or where
    none of them stands.
    """
    standing: list[Winner] = []
    unknown: Winner | None = None
    for judged in ranked:
        again = confirmed.get(judged.verdict.kernel_id)
        value = None if again is None else score(again)
        if value is not None:
            standing.append(Winner(judged, again, value))
        elif again is None or again.correct or again.status is Status.INFRASTRUCTURE_ERROR:
            unknown = unknown or Winner(judged, None, judged.score)
            if again is None and not standing:
                return unknown
    return max(standing, key=lambda won: won.score, default=unknown)
