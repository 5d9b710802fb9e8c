"""Chains of refinement: each proposal improves what its own chain has come to.

A chain sees nothing of the others. Which chain a request carries on is in its event, so that the
chains can be read back from a journal. A chain judges a candidate by its first verdict: what it
did once it would do again, whatever is learned of the candidate later.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field

from kbexp.search.archive import scored
from kbexp.search.board import Board
from kbexp.search.choice import Choice, width
from kbexp.search_config import AlgorithmConfig, ScoreFunction


@dataclass(slots=True)
class Chain:
    """One chain: the order of the candidate it has come to, and of its newest failure.

    `open` are its requests whose outcome was not taken in yet, `failures` how many proposals in
    a row were no better.
    """

    at: int = 0
    failure: int | None = None
    failures: int = 0
    open: deque[int] = field(default_factory=deque)


class Chains:
    """As many chains as `num_candidates`, each from the first kernel.

    A chain follows its newest kernel, or moves only to a better one; after `restart_after`
    proposals in a row that moved it nowhere it begins again at the first kernel (None: never).
    """

    def __init__(self, config: AlgorithmConfig, *, newest: bool, restart_after: int | None) -> None:
        self._config = config
        self._newest = newest
        self._restart_after = restart_after
        self._chains = [Chain() for _ in range(config.num_candidates)]
        self._asked = [0] * config.num_candidates
        self._read = 0

    def step(self, board: Board) -> list[Choice]:
        """Return `num_proposals` choices of every chain."""
        self._catch_up(board, board.archive.step_start.number)
        count = len(self._chains)
        return [self._choice(board, i % count) for i in range(width(self._config))]

    def next(self, board: Board) -> Choice | None:
        """Return the next choice of the chain that has waited longest; None where none is ready."""
        archive = board.archive
        self._catch_up(board, len(archive.asked))
        ready = [c for c, chain in enumerate(self._chains) if not chain.open]
        if not ready:
            return None
        return self._choice(board, min(ready, key=lambda c: (self._asked[c], c)))

    def _choice(self, board: Board, number: int) -> Choice:
        chain = self._chains[number]
        orders = [chain.at]
        if chain.failure is not None and chain.failure != chain.at:
            orders.append(chain.failure)
        return Choice(tuple(board.candidate(order) for order in orders), chain=number)

    def _catch_up(self, board: Board, numbers: int) -> None:
        """Take in requests below a number, then the outcomes that are there, chain by chain."""
        archive = board.archive
        while self._read < numbers and (asked := archive.asked.get(self._read)) is not None:
            chain = (asked.chain or 0) % len(self._chains)
            self._chains[chain].open.append(self._read)
            self._asked[chain] += 1
            self._read += 1
        for line in self._chains:
            while line.open and self._outcome(board, line, line.open[0]):
                line.open.popleft()

    def _outcome(self, board: Board, chain: Chain, number: int) -> bool:
        """Move a chain by what came of a request; False where that is not known yet."""
        archive = board.archive
        proposal = archive.proposals.get(number)
        if proposal is None or number in archive.undecided:
            return False
        if proposal.kernel is None or number in archive.duplicates:
            self._fail(chain)
            return True
        candidate = archive.candidates.get(proposal.kernel.id)
        if candidate is None or proposal.kernel.id in archive.unjudged:
            return False
        verdicts = scored(candidate.verdicts)
        if not verdicts:
            self._fail(chain)
            return True
        correct = verdicts[0].correct
        chain.failure = None if correct else candidate.order
        better = correct and board.score(verdicts[0]) > self._first_score(board, chain)
        if self._newest or better:
            chain.at, chain.failures = candidate.order, 0
        else:
            self._fail(chain)
        return True

    def _fail(self, chain: Chain) -> None:
        chain.failures += 1
        if self._restart_after is not None and chain.failures >= self._restart_after:
            chain.at, chain.failure, chain.failures = 0, None, 0

    def _first_score(self, board: Board, chain: Chain) -> float:
        verdicts = scored(board.candidate(chain.at).verdicts)
        return board.score(verdicts[0]) if verdicts else 0.0


class Sequential(Chains):
    """Sequential refinement: a chain that never begins anew.

    With `score_function=newest` each proposal improves the last kernel, right or wrong, else the
    best one so far.
    """

    def __init__(self, config: AlgorithmConfig) -> None:
        newest = config.score_function is ScoreFunction.newest
        super().__init__(config, newest=newest, restart_after=None)


class RandomRestart(Chains):
    """Hill climbing with restarts: a chain that gets nowhere begins again at the first kernel."""

    def __init__(self, config: AlgorithmConfig) -> None:
        super().__init__(config, newest=False, restart_after=config.restart_after)
