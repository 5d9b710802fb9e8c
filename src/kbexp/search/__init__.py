"""Search: decides which kernels to ask for and which to judge; knows no device and no model."""

from kbexp.search.algorithm import validate
from kbexp.search.archive import Archive
from kbexp.search.board import best_candidate
from kbexp.search.loop import new_archive, search
from kbexp.search.outcome import Outcome, RunState
from kbexp.search.score import SCORES, Score, score_named

__all__ = [
    "SCORES",
    "Archive",
    "Outcome",
    "RunState",
    "Score",
    "best_candidate",
    "new_archive",
    "score_named",
    "search",
    "validate",
]
