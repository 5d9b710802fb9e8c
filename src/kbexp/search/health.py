"""When to give up for now: failures in a row that are no kernel's fault, and no more progress."""

from __future__ import annotations

from kbexp.candidate import Proposal
from kbexp.errors import EvaluatorUnavailable, KbexpError, ModelUnavailable
from kbexp.search.archive import Archive, scored
from kbexp.search.board import mean_score
from kbexp.search.score import Score
from kbexp.search_config import SearchConfig
from kbexp.verdict import Verdict


class Paused(Exception):
    """The run should stop here: what it needs fails again and again; `error` says what."""

    def __init__(self, error: KbexpError) -> None:
        super().__init__(str(error))
        self.error = error


class Health:
    """Counts failures in a row of this session; a run that goes on begins at none.

    Calls that are in flight when a server goes down fail together, so twice the calls in flight
    must fail in a row before it counts.
    """

    def __init__(self, config: SearchConfig, calls: int) -> None:
        self._evaluations_limit = config.max_failures
        self._calls_limit = max(config.max_failures, 2 * calls)
        self._evaluations = 0
        self._calls = 0

    def judged(self, verdict: Verdict) -> None:
        """Take a verdict in; raises Paused where too many in a row say nothing of a kernel."""
        self._evaluations = 0 if scored([verdict]) else self._evaluations + 1
        if self._evaluations >= self._evaluations_limit:
            why = verdict.reasons[0] if verdict.reasons else "no reason was given."
            raise Paused(
                EvaluatorUnavailable(
                    f"{self._evaluations} evaluations in a row ended in infrastructure errors: the "
                    "run is paused; mend the evaluator, then resume it. "
                    f"The last one said: {why}"
                )
            )

    def answered(self, proposal: Proposal) -> None:
        """Take an answer in; raises Paused where too many calls in a row brought no answer."""
        silent = proposal.error and not proposal.reply and not proposal.usage.output_tokens
        self._calls = self._calls + 1 if silent and proposal.kernel is None else 0
        if self._calls >= self._calls_limit:
            raise Paused(
                ModelUnavailable(
                    f"{self._calls} calls to the model in a row failed: the run is paused; "
                    f"see to the model, then resume it. The last one said: {proposal.error}"
                )
            )


class Plateau:
    """Whether the best has improved lately; counts kernels in the order in which they came.

    Small gains add up: what counts is the best since the last one that was large enough.
    """

    def __init__(self, config: SearchConfig, score: Score) -> None:
        self._limit = config.plateau
        self._gain = config.plateau_gain
        self._score = score
        self._best: float | None = None
        self._since = 0
        self._read = 0

    def reached(self, archive: Archive) -> str | None:
        """Return a sentence once too many kernels were judged since the best improved."""
        if self._limit is None:
            return None
        # A search in steps looks between them, when every candidate is judged: their order does
        # not hang on which evaluation was faster.
        order = archive.judged[self._read :]
        if archive.ordered:
            order = [candidate.kernel.id for candidate in archive.in_order[self._read :]]
        for kernel_id in order:
            if self._since >= self._limit:
                break
            self._take(archive, kernel_id)
            self._read += 1
        if self._since < self._limit:
            return None
        return (
            f"The best has not improved by more than {self._gain * 100:g} % over "
            f"{self._limit} judged kernels."
        )

    def _take(self, archive: Archive, kernel_id: str) -> None:
        candidate = archive.candidates[kernel_id]
        value = mean_score(candidate, self._score)
        correct = any(verdict.correct for verdict in candidate.verdicts)
        if not correct or value is None:
            self._since += 1
        elif self._best is None or value > self._best * (1 + self._gain):
            self._best, self._since = value, 0
        else:
            self._since += 1
