"""What an algorithm is: a choice of parents for the next proposals; the two simplest ones."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from kbexp.candidate import Candidate
from kbexp.search.board import Board
from kbexp.search_config import AlgorithmConfig

BEST_OTHERS = 2
"""How many of the best candidates a request shows beside the one to improve."""


@dataclass(frozen=True, slots=True)
class Choice:
    """What one proposal is asked from: the candidate to improve, then others to learn from.

    `chain` names the chain that the proposal carries on, None for algorithms without chains.
    """

    parents: tuple[Candidate, ...]
    chain: int | None = None


class Algorithm(Protocol):
    """A kind of search. It reads the board and changes nothing.

    What it chooses follows from the board alone. Whatever it keeps from one choice to the next it
    can make anew from the archive behind the board, so that a run goes on after being cut.
    """

    def step(self, board: Board) -> list[Choice]:
        """Return all choices of the step that begins, `num_candidates` times `num_proposals`.

        The board is that of the step's start: nothing of the step itself is in it.
        """
        ...

    def next(self, board: Board) -> Choice | None:
        """Return the next choice of a stream, or None where it must wait for what is in flight."""
        ...


def width(config: AlgorithmConfig) -> int:
    """Return how many proposals a step asks for."""
    return config.num_candidates * config.num_proposals


class Priority:
    """Improves the `num_candidates` candidates of highest priority, in turns.

    Where there are fewer, those there are take turns, the best first. Candidates without a score
    are left out; where none has one, the first kernel is improved unseen.
    """

    def __init__(self, config: AlgorithmConfig) -> None:
        self._config = config

    def step(self, board: Board) -> list[Choice]:
        """Return `num_proposals` choices of each, all of them with what is shown beside them."""
        chosen = self._chosen(board)
        best = board.top_correct(BEST_OTHERS + 1)
        shown = [with_others(board, order, best) for order in chosen]
        return [Choice(shown[i % len(shown)]) for i in range(width(self._config))]

    def next(self, board: Board) -> Choice:
        """Return the one of them that was asked least recently."""
        order = board.least_recently_asked(self._chosen(board))
        return Choice(with_others(board, order, board.top_correct(BEST_OTHERS + 1)))

    def _chosen(self, board: Board) -> list[int]:
        config = self._config
        return board.top(config.num_candidates, config.score_function, config.ucb_c) or [0]


class BestOfN:
    """Improves the first kernel, again and again, as if nothing else were known."""

    def __init__(self, config: AlgorithmConfig) -> None:
        self._config = config

    def step(self, board: Board) -> list[Choice]:
        """Return the first kernel as often as a step asks."""
        return [self.next(board)] * width(self._config)

    def next(self, board: Board) -> Choice:
        """Return the first kernel."""
        return Choice((board.candidate(0),))


def with_others(board: Board, order: int, best: list[int]) -> tuple[Candidate, ...]:
    """Return the candidate to improve, then the best ones and a failure beside it.

    The failure is the newest that came of improving this candidate, or else the newest of all.
    """
    orders = [order, *[other for other in best if other != order][:BEST_OTHERS]]
    failure = board.failure_beside(order)
    if failure is not None and failure not in orders:
        orders.append(failure)
    return tuple(board.candidate(o) for o in orders)
