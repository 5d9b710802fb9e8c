"""Beam search: level by level, each from the survivors of the one before.

A level asks for `num_candidates` times `num_proposals` proposals. Of the kernels that came of it
the `num_candidates` best correct ones survive; where there are fewer, survivors of the level before
fill the places. A better kernel of an older level is not gone back to: that is what sets a beam
apart from priority search.
"""

from __future__ import annotations

from kbexp.candidate import Candidate
from kbexp.search.board import Board
from kbexp.search.choice import Choice, width
from kbexp.search_config import AlgorithmConfig


class Beam:
    """Chooses the survivors of the last level, in turns, the best first."""

    def __init__(self, config: AlgorithmConfig) -> None:
        self._config = config
        self._level = -1
        self._survivors: list[int] = []

    def step(self, board: Board) -> list[Choice]:
        """Return the choices of a level: a level is a step."""
        self._climb(board, board.archive.steps_done)
        return [self._choice(board, index) for index in range(width(self._config))]

    def next(self, board: Board) -> Choice | None:
        """Return the next choice of the level; None until the level before is judged."""
        number = len(board.archive.asked)
        level, index = divmod(number, width(self._config))
        if level != self._level:
            if not self._judged(board, level - 1):
                return None
            self._climb(board, level)
        return self._choice(board, index)

    def _choice(self, board: Board, index: int) -> Choice:
        order = self._survivors[index % len(self._survivors)]
        failure = board.failure_beside(order)
        orders = [order] if failure is None else [order, failure]
        return Choice(tuple(board.candidate(o) for o in orders))

    def _numbers(self, level: int) -> range:
        return range(level * width(self._config), (level + 1) * width(self._config))

    def _judged(self, board: Board, level: int) -> bool:
        """True where every proposal of a level is dealt with and its kernel judged."""
        archive = board.archive
        for number in self._numbers(level) if level >= 0 else ():
            proposal = archive.proposals.get(number)
            if proposal is None or number in archive.undecided:
                return False
            if proposal.kernel is not None and proposal.kernel.id in archive.unjudged:
                return False
        return True

    def _climb(self, board: Board, level: int) -> None:
        """Find the survivors that a level starts from."""
        if level == self._level:
            return
        archive, count = board.archive, self._config.num_candidates
        children: list[Candidate] = []
        earlier: list[int] = []
        for number in self._numbers(level - 1) if level > 0 else ():
            kernel = archive.proposals[number].kernel
            candidate = archive.candidates.get(kernel.id) if kernel else None
            if candidate is not None and number not in archive.duplicates:
                children.append(candidate)
            earlier.append(archive.candidates[archive.asked[number].parents[0]].order)
        correct = [child.order for child in children if board.correct(child.order)]
        ranked = sorted(correct, key=lambda o: (-board.mean(o), o))
        kept = list(dict.fromkeys([*ranked, *earlier]))[:count]
        self._survivors, self._level = kept or [0], level
